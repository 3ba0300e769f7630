//! Descriptions and the plans that they become.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::site::catalog::{ElementInfo, PropertyInfo, PropertyKind, Unit};
use crate::site::problem::About;
use crate::site::read::read_text;
use crate::site::show;

/// The elements that these tests know.
pub struct Few(BTreeMap<&'static str, Vec<PropertyInfo>>);

fn property(name: &str, kind: PropertyKind, unit: Unit, in_playing: bool) -> PropertyInfo {
    PropertyInfo { name: name.into(), kind, unit, writable: true, in_playing, blurb: String::new() }
}

impl Few {
    pub fn new() -> Self {
        let text = |name, live| property(name, PropertyKind::Text, Unit::None, live);
        let words = |name, words: &[&str], live| {
            property(name, PropertyKind::Enum(words.iter().map(|w| (*w).to_owned()).collect()), Unit::None, live)
        };
        let number =
            |name, unit| property(name, PropertyKind::Integer { min: 0, max: i128::from(u64::MAX) }, unit, true);
        let float = |name| property(name, PropertyKind::Float { min: -1.0, max: 1.0 }, Unit::None, true);
        let mut few = BTreeMap::from([
            (
                "vigilinfer",
                vec![
                    text("model", true),
                    words("when-busy", &["wait", "hold"], true),
                    float("confidence"),
                    text("provider", false),
                    text("object-class", true),
                ],
            ),
            ("vigiltrack", vec![number("max-lost-time", Unit::Nanoseconds)]),
            ("vigiloverlay", vec![text("font", false)]),
            ("vigilexport", vec![text("uri", false), text("camera", false)]),
            ("vigildrift", vec![text("baseline", false), text("camera", false)]),
            ("vigilwatchdog", vec![text("chain", false), number("deadline", Unit::Nanoseconds)]),
            ("videotestsrc", vec![words("pattern", &["smpte", "ball"], false)]),
            ("avdec_h264", vec![number("max-threads", Unit::None)]),
        ]);
        for plain in [
            "rtspsrc",
            "souphttpsrc",
            "filesrc",
            "v4l2src",
            "decodebin",
            "parsebin",
            "clocksync",
            "queue",
            "videoconvert",
            "capssetter",
            "videorate",
        ] {
            few.insert(plain, Vec::new());
        }
        Self(few)
    }
}

impl Catalog for Few {
    fn element(&self, factory: &str) -> Option<Arc<ElementInfo>> {
        let properties = self.0.get(factory)?.clone();
        Some(Arc::new(ElementInfo { factory: factory.into(), filter: true, properties }))
    }

    fn factories(&self) -> Vec<String> {
        self.0.keys().map(|name| (*name).to_owned()).collect()
    }
}

fn resolved(text: &str) -> Result<Plan, Problems> {
    let text = format!("format = 1\nname = \"yard\"\n{text}");
    let (document, problems) = read_text(&text, "site.toml", Path::new("/etc/vigil"));
    assert_eq!(problems.to_string(), "");
    let (plan, lacks) = resolve(&document.unwrap(), &Few::new())?;
    assert_eq!(lacks.to_string(), "");
    Ok(plan)
}

fn plan(text: &str) -> Plan {
    resolved(text).unwrap_or_else(|problems| panic!("{problems}"))
}

fn line(text: &str) -> String {
    show::launch_line(&plan(text).cameras["gate"])
}

fn problems(text: &str) -> String {
    resolved(text).map(|_| ()).unwrap_err().to_string()
}

const PEOPLE: &str = r#"
    [profile.people]
    stage = [
        { element = "vigilinfer", model = "models/people.onnx" },
        { element = "vigiltrack", max-lost-time = "3s" },
        { element = "vigiloverlay" },
        { element = "vigilexport", uri = "file:records/{camera}.jsonl?keep=5" },
    ]
    watchdog = { deadline = "300ms" }
"#;

#[test]
fn an_rtsp_camera_comes_over_tcp_and_its_password_stays_where_it_is() {
    let text = r#"
        [camera.gate]
        uri = "rtsp://cam/1"
        user = "admin"
        password = { file = "secrets/gate" }
        tls-ca = "ca.pem"
    "#;
    let camera = &plan(text).cameras["gate"];
    let feed = "appsink name=feed caps=video/x-raw sync=false qos=false max-buffers=1 drop=true enable-last-sample=false \
                wait-on-eos=false";
    let rest = "! capsfilter caps=application/x-rtp,media=video \
                ! decodebin name=decode caps=\"video/x-raw(ANY)\" expose-all-streams=false \
                ! queue name=queue leaky=downstream max-size-buffers=5 max-size-bytes=0 max-size-time=0 !";
    let source = "rtspsrc name=source drop-on-latency=true latency=200 location=rtsp://cam/1 protocols=tcp";
    assert_eq!(show::camera_description(camera), format!("{source} user-id=admin {rest} {feed}"));
    let shown = format!(
        "{source} tls-database=\"<file /etc/vigil/ca.pem>\" user-id=admin user-pw=\"<file /etc/vigil/secrets/gate>\" {rest} {feed}"
    );
    assert_eq!(show::launch_line(camera), shown);
    assert_eq!(camera.decoder_threads, 1);
    assert_eq!(camera.policy.silent_after, SILENT_AFTER.0);
    assert_eq!((camera.policy.ends, camera.policy.repeats), (false, false));
}

#[test]
fn what_a_camera_says_is_before_the_profile_and_the_defaults() {
    let text = r#"
        [defaults]
        profile = "people"
        latency = "1s"
        max-fps = 12.5
        [profile.people.camera]
        transport = "udp"
        stage.infer = { confidence = 0.5 }
        [camera.gate]
        uri = "rtsp://cam/1"
        latency = "300ms"
        stage.infer = { model = "people@2" }
        watchdog = { deadline = "1s" }
    "#;
    let plan = plan(&format!("{PEOPLE}{text}"));
    let camera = &plan.cameras["gate"];
    let line = show::camera_description(camera);
    for part in [
        "latency=300 ",
        "protocols=udp ",
        "! capssetter name=any-rate caps=video/x-raw,framerate=1000/1 ! videorate name=rate drop-only=true \
         skip-to-first=true ! capsfilter caps=video/x-raw,framerate=25/2 ! videoconvert name=convert ! vigilwatchdog",
        "! vigilwatchdog name=watchdog deadline=1000000000 chain=\"vigilinfer name=infer confidence=0.5 model=people@2 \
         when-busy=hold ! vigiltrack name=track max-lost-time=3000000000\" ! vigiloverlay name=overlay ! vigilexport \
         name=export camera=gate uri=\\\"",
    ] {
        let part = part.replace("uri=\\\"", "uri=\"");
        assert!(line.contains(&part), "{part}\nis not in\n{line}");
    }
    assert!(line.contains("uri=\"file:/etc/vigil/records/gate.jsonl?keep=5\""), "{line}");
    assert_eq!(camera.profile, "people");
    let live = |node: &Node| node.live.iter().cloned().collect::<Vec<_>>();
    assert_eq!(live(&camera.guarded[0]), ["confidence", "model", "object-class", "when-busy"]);
    assert_eq!(live(camera.watchdog.as_ref().unwrap()), ["deadline"]);
}

#[test]
fn a_file_is_paced_and_begins_anew_if_it_is_told_to() {
    let once = plan("camera.gate.uri = \"clips/a b.mp4\"");
    let gate = &once.cameras["gate"];
    let line = show::camera_description(gate);
    assert!(line.starts_with("filesrc name=source location=\"/etc/vigil/clips/a b.mp4\" ! decodebin"), "{line}");
    assert!(line.contains("! clocksync name=pace ! appsink"), "{line}");
    assert_eq!((gate.policy.ends, gate.policy.repeats), (true, false));
    assert_eq!(gate.shown_uri, "file:/etc/vigil/clips/a b.mp4");
    let again = plan("[camera.gate]\nuri = \"file:///a%20b.mp4\"\nloop = true");
    let gate = &again.cameras["gate"];
    assert_eq!((gate.policy.ends, gate.policy.repeats), (false, true));
    assert_eq!(gate.shown_uri, "file:/a b.mp4");
}

#[test]
fn the_other_sources_have_their_elements() {
    let device = line("[camera.gate]\nuri = \"v4l2:/dev/video0\"\ncaps = \"image/jpeg,width=640\"");
    assert!(
        device.starts_with("v4l2src name=source device=/dev/video0 ! capsfilter caps=image/jpeg,width=640 ! decodebin")
    );
    let test = line("camera.gate.uri = \"test:ball\"");
    assert!(
        test.starts_with(
            "videotestsrc name=source is-live=true pattern=ball ! capsfilter caps=video/x-raw,format=I420"
        )
    );
    let launch = line("camera.gate.launch = \"  videotestsrc   pattern=ball ! x264enc \"");
    assert!(launch.starts_with("videotestsrc pattern=ball ! x264enc ! decodebin name=decode"), "{launch}");
    let named = line("defaults.launch = \"rtspsrc location=rtsp://10.0.0.7/{camera}\"\n[camera.gate]");
    assert!(named.starts_with("rtspsrc location=rtsp://10.0.0.7/gate ! "), "{named}");
    let http = line("camera.gate.uri = \"https://cam/mjpeg?a=1\"");
    assert!(
        http.starts_with(
            "souphttpsrc name=source do-timestamp=true is-live=true location=\"https://cam/mjpeg?a=1\" ! decodebin"
        ),
        "{http}"
    );
    let tunnel = line("[camera.gate]\nuri = \"rtsps://cam/1\"\ntransport = \"http\"");
    assert!(tunnel.contains("location=rtspsh://cam/1 protocols=tcp+http"), "{tunnel}");
    let decoder = line("[camera.gate]\nuri = \"rtsp://cam/1\"\ndecode = { element = \"avdec_h264\", threads = 2 }");
    assert!(decoder.contains("! parsebin name=decode ! avdec_h264 name=decoder max-threads=2 ! queue"), "{decoder}");
}

#[test]
fn without_a_watchdog_the_stages_stand_open() {
    let text = format!("{PEOPLE}watchdog.enabled = false\n[camera.gate]\nuri = \"test:\"\nprofile = \"people\"");
    let text = text.replace("watchdog = { deadline = \"300ms\" }\n", "");
    let plan = plan(&text);
    let line = show::camera_description(&plan.cameras["gate"]);
    assert!(
        line.contains("! videoconvert name=convert ! vigilinfer name=infer model=/etc/vigil/models/people.onnx"),
        "{line}"
    );
    assert_eq!(plan.cameras["gate"].watchdog, None);
}

#[test]
fn a_stage_that_compares_predictions_knows_its_camera_and_keeps_what_is_usual() {
    let text = r#"
        [profile.p]
        stage = [
            { element = "vigildrift" },
            { element = "vigildrift", name = "own", camera = "yard-{camera}", baseline = "usual/{camera}.json" },
        ]
        [camera.gate]
        uri = "test:"
        profile = "p"
    "#;
    let line = line(text);
    let state = crate::paths::state_dir().map(|state| state.join("drift/yard/gate.json"));
    let kept = state.map_or(String::new(), |file| format!("baseline={} ", file.display()));
    assert!(line.contains(&format!("! vigildrift name=drift {kept}camera=gate !")), "{line}");
    assert!(line.contains("! vigildrift name=own baseline=/etc/vigil/usual/gate.json camera=yard-gate !"), "{line}");
}

#[test]
fn outputs_and_tiles_have_absolute_paths_and_names() {
    let text = r#"
        [defaults]
        output = [
            { kind = "file", path = "clips/{camera}-%05d.mp4", segment = "1m" },
            { kind = "rtsp", mount = "/{camera}" },
            { kind = "snapshot", path = "/srv/{camera}.jpg", every = "5s" },
        ]
        [camera.gate]
        uri = "test:"
        [camera.door]
        uri = "test:"
        output = []
        [camera.yard]
        uri = "test:"
        [tile.all]
        output = [{ kind = "hls", folder = "hls/{camera}" }]
        [tile.two]
        cameras = ["yard", "door"]
        columns = 1
    "#;
    let plan = plan(text);
    let words = show::changes(&crate::site::diff::diff(&Plan { cameras: BTreeMap::new(), ..plan.clone() }, &plan));
    let gate = "+ camera gate: test:, no profile, to file /etc/vigil/clips/gate-%05d.mp4, rtsp /gate, snapshot /srv/gate.jpg every 5s\n";
    assert!(words.contains(gate), "{words}");
    assert!(words.contains("+ camera door: test:, no profile, to no output\n"), "{words}");
    let all = &plan.tiles["all"];
    assert_eq!((all.cameras.join(" ").as_str(), all.columns), ("door gate yard", 2));
    assert_eq!(
        show::changes(&[crate::site::diff::Change::AddTile { name: "all".into(), plan: all.clone() }]),
        "+ tile all: door, gate, yard, to hls /etc/vigil/hls/all\n"
    );
    assert_eq!((plan.tiles["two"].cameras.join(" ").as_str(), plan.tiles["two"].columns), ("yard door", 1));
}

#[test]
fn what_cannot_be_planned_is_told_all_at_once_with_its_place() {
    let text = r#"
        [profile.odd]
        stage = [
            { element = "vigiloverlay" },
            { element = "vigilinfer", chain = "x", confidence = 3.0 },
            { element = "vigilinfer" },
            { element = "vigilinfer", name = "feed" },
            { element = "vigilmagic" },
            { element = "vigiltrack", name = "t", "name " = "x" },
        ]
        [camera.a]
        uri = "rtsp://admin:secret@cam/1"
        profile = "odd"
        [camera.b]
        [camera.c]
        uri = "ftp://x/y"
        [camera.d]
        uri = "test:bal"
        max-fps = 0.0001
        profile = "none"
        [camera.e]
        launch = 'x location=a\'
        [tile.all]
        cameras = ["a", "z"]
    "#;
    let told = problems(text);
    for part in [
        "stage.1.chain`: vigilinfer has no property \"chain\"",
        "stage.1.confidence`: ",
        "stage.1`: stages that the watchdog guards come before",
        "stage.2`: two stages are called \"infer\"",
        "stage.3`: a stage cannot be called \"feed\"",
        "`camera.a.uri`: it has a password in it",
        "`camera.b`: it has neither `uri` nor `launch`",
        "`camera.c.uri`: cameras cannot have \"ftp:\"",
        "`camera.d.uri`: unknown value \"bal\"",
        "`camera.d.max-fps`: a number of frames a second from 0.001 on",
        "`camera.d.profile`: there is no profile \"none\"",
        "`camera.e.launch`: it cannot end in \\",
        "`tile.all.cameras`: there is no camera \"z\"",
    ] {
        assert!(told.contains(part), "{part}\nis not in\n{told}");
    }
    assert!(told.contains("site.toml:"), "{told}");
    assert!(!told.contains("secret"), "{told}");
}

#[test]
fn what_the_machine_lacks_is_planned_as_it_is_written() {
    let text = format!(
        "format = 1\nname = \"yard\"\n{}{}",
        PEOPLE.replace("\"vigiltrack\", max-lost-time", "\"fancytrack\", name = \"track\", patience"),
        "[camera.gate]\nuri = \"rtsp://cam/1\"\nprofile = \"people\"\ndecode.element = \"omxh264dec\"\n"
    );
    let (document, problems) = read_text(&text, "site.toml", Path::new("/etc/vigil"));
    assert_eq!(problems.to_string(), "");
    let mut few = Few::new();
    few.0.remove("parsebin");
    let (plan, lacks) = resolve(&document.unwrap(), &few).unwrap();
    let line = show::launch_line(&plan.cameras["gate"]);
    assert!(line.contains("! fancytrack name=track patience=3s\""), "{line}");
    assert!(line.contains("! parsebin name=decode ! omxh264dec name=decoder ! "), "{line}");
    // Stages and what the user names are told by the check.
    let [lack] = lacks.0.as_slice() else { panic!("{lacks}") };
    assert_eq!((lack.about, lack.key.as_str()), (About::Machine, "camera.gate"));
    assert!(lack.text.contains("\"parsebin\""), "{lack}");
}
