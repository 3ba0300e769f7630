//! Sites that run: plans of cameras, and what is heard of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use gstvigil::site::description::{Api, NoSignal, RtspServer, TelemetryTo};
use gstvigil::site::live::Site;
use gstvigil::site::plan::{CameraPlan, Node, Plan, Policy, Step, Value};
use gstvigil::site::status::{CameraStatus, Event, Reason, State};

/// Longest wait for anything: what takes longer hangs.
pub const LONG: Duration = Duration::from_secs(60);

/// A node of this factory and name.
pub fn node(factory: &str, name: &str, properties: &[(&str, &str)]) -> Node {
    let properties = properties.iter().map(|(name, value)| ((*name).to_owned(), Value::Text((*value).to_owned())));
    Node { factory: factory.into(), name: name.into(), properties: properties.collect(), live: BTreeSet::new() }
}

/// What is done when a camera of a test is away: soon.
pub fn policy() -> Policy {
    Policy {
        silent_after: Duration::from_secs(2),
        reconnect_first: Duration::from_millis(100),
        reconnect_most: Duration::from_millis(400),
        ends: false,
        repeats: false,
        no_signal: NoSignal::Nothing,
    }
}

/// A camera from a launch fragment that gives raw video.
pub fn camera(fragment: &str) -> CameraPlan {
    CameraPlan {
        enabled: true,
        profile: String::new(),
        shown_uri: fragment.into(),
        source: vec![Step::Launch(fragment.into())],
        watchdog: None,
        guarded: Vec::new(),
        open: Vec::new(),
        decoder_threads: 1,
        policy: policy(),
        outputs: Vec::new(),
    }
}

/// A live test picture, `fps` frames a second.
pub fn test_camera(fps: u32) -> CameraPlan {
    camera(&format!(
        "videotestsrc is-live=true pattern=ball ! video/x-raw,format=NV12,width=64,height=48,framerate={fps}/1"
    ))
}

/// A site of these cameras.
pub fn plan(cameras: impl IntoIterator<Item = (&'static str, CameraPlan)>) -> Plan {
    Plan {
        name: "test".into(),
        api: Api::default(),
        rtsp: RtspServer::default(),
        telemetry: TelemetryTo::default(),
        cameras: cameras.into_iter().map(|(id, camera)| (id.to_owned(), camera)).collect(),
        tiles: BTreeMap::new(),
    }
}

/// Runs a pipeline to its end, which writes a file.
pub fn write(line: &str) {
    use gst::prelude::*;
    super::init();
    let pipeline = gst::parse::launch(line).unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let ends = [gst::MessageType::Eos, gst::MessageType::Error];
    let end = pipeline.bus().unwrap().timed_pop_filtered(gst::ClockTime::from_seconds(60), &ends).unwrap();
    assert_eq!(end.type_(), gst::MessageType::Eos, "{end:?}");
    pipeline.set_state(gst::State::Null).unwrap();
}

/// A site, and all that it tells.
pub struct Watched {
    pub site: Site,
    events: Receiver<Arc<Event>>,
    pub heard: Vec<Arc<Event>>,
}

impl Watched {
    pub fn start(plan: Plan) -> Self {
        super::init();
        let site = Site::new();
        let (_, events) = site.events().listen(0);
        site.apply(plan);
        Self { site, events, heard: Vec::new() }
    }

    /// Waits for an event, among those that have not been waited for.
    #[track_caller]
    pub fn event(&mut self, what: impl Fn(&Event) -> bool) -> Arc<Event> {
        let until = Instant::now() + LONG;
        loop {
            match self.events.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(event) => {
                    self.heard.push(Arc::clone(&event));
                    if what(&event) {
                        return event;
                    }
                }
                Err(_) => panic!("it did not come; heard: {:#?}; cameras: {:#?}", self.heard, self.site.cameras()),
            }
        }
    }

    /// Waits until a camera says that it is in this state.
    #[track_caller]
    pub fn state(&mut self, camera: &str, state: State) -> Arc<Event> {
        let word = serde_json::to_value(state).unwrap();
        self.event(|event| {
            event.kind == "camera" && event.camera.as_deref() == Some(camera) && event.data["state"] == word
        })
    }

    /// Waits until a camera is lost for this reason.
    #[track_caller]
    pub fn lost(&mut self, camera: &str, reason: Reason) -> Arc<Event> {
        let word = serde_json::to_value(reason).unwrap();
        self.event(|event| {
            event.kind == "camera"
                && event.camera.as_deref() == Some(camera)
                && event.data["state"] == "lost"
                && event.data["reason"] == word
        })
    }

    /// Waits until a camera's status is as wanted.
    #[track_caller]
    pub fn status(&self, camera: &str, what: impl Fn(&CameraStatus) -> bool) -> CameraStatus {
        let until = Instant::now() + LONG;
        loop {
            let status = self.site.camera(camera).unwrap();
            if what(&status) {
                return status;
            }
            assert!(Instant::now() < until, "it does not become so: {status:#?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn frames(&self, camera: &str) -> u64 {
        self.site.camera(camera).unwrap().frames
    }

    /// Waits for so many more frames of a camera.
    #[track_caller]
    pub fn more_frames(&self, camera: &str, frames: u64) {
        let from = self.frames(camera);
        self.status(camera, |status| status.frames >= from + frames);
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let stopped = self.site.stop(LONG);
        if !std::thread::panicking() {
            assert!(stopped, "the site stops in time");
        }
    }
}
