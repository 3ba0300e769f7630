//! Plans of sites as GStreamer takes them: launch lines that are parsed back, pipelines that play, `vigil plan`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod common;

use std::path::Path;
use std::process::{Command, Output};

use common::init;
use gst::prelude::*;
use gstvigil::site::live::introspect::Registry;
use gstvigil::site::plan::{CameraPlan, Plan, Value};
use gstvigil::site::read::read_text;
use gstvigil::site::resolve::resolve;
use gstvigil::site::show;
use proptest::prelude::*;

/// However slow the machine is.
const GUARD: gst::ClockTime = gst::ClockTime::from_seconds(60);

fn plan_in(folder: &Path, text: &str) -> Plan {
    init();
    let text = format!("format = 1\nname = \"yard\"\n{text}");
    let (document, problems) = read_text(&text, "site.toml", folder);
    assert_eq!(problems.to_string(), "");
    resolve(&document.unwrap(), &Registry::new()).unwrap_or_else(|problems| panic!("{problems}")).0
}

fn plan(text: &str) -> Plan {
    plan_in(Path::new(env!("CARGO_MANIFEST_DIR")), text)
}

fn parsed(description: &str) -> gst::Pipeline {
    init();
    let made = gst::parse::launch_full(description, None, gst::ParseFlags::FATAL_ERRORS);
    made.unwrap_or_else(|e| panic!("{e}\n{description}")).downcast().unwrap()
}

/// Plays a camera's pipeline until `frames` have come out; their caps and times.
fn play(camera: &CameraPlan, frames: usize) -> (gst::Caps, Vec<gst::ClockTime>) {
    let description = show::camera_description(camera);
    let pipeline = parsed(&description);
    let feed = pipeline.by_name("feed").unwrap().downcast::<gst_app::AppSink>().unwrap();
    // Here each frame counts.
    feed.set_drop(false);
    pipeline.set_state(gst::State::Playing).unwrap();
    let mut caps = None;
    let mut times = Vec::new();
    while times.len() < frames {
        let Some(sample) = feed.try_pull_sample(GUARD) else {
            let error = pipeline.bus().unwrap().pop_filtered(&[gst::MessageType::Error]);
            panic!("{} frames of {frames}: {error:?}\n{description}", times.len());
        };
        times.push(sample.buffer().unwrap().pts().unwrap());
        caps = sample.caps_owned();
    }
    pipeline.set_state(gst::State::Null).unwrap();
    (caps.unwrap(), times)
}

fn text_property(element: &gst::Element, name: &str) -> String {
    element.property::<Option<String>>(name).unwrap_or_default()
}

/// A text that launch lines can have.
fn odd_text() -> impl Strategy<Value = String> {
    let odd = "[ \t\n!'\"\\\\(){},;=.:$#%a-cé\u{1F4F7}]{0,12}";
    prop_oneof!["[^\0]{0,12}", odd].prop_filter("the parser takes it for something else", |text| {
        !text.ends_with('\\') && text != "NULL" && !(text.starts_with('"') && text.ends_with('"'))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// A text stays what it is, in a property and in the property of an element that stands in a watchdog's chain.
    #[test]
    fn any_text_is_parsed_back(outside in odd_text(), inside in odd_text()) {
        let mut camera = camera_of_stages();
        camera.open[0].properties.insert("camera".into(), Value::Text(outside.clone()));
        camera.guarded[0].properties.insert("camera".into(), Value::Text(inside.clone()));
        let pipeline = parsed(&show::camera_description(&camera));
        let open = pipeline.by_name("open").unwrap();
        prop_assert_eq!(text_property(&open, "camera"), outside);
        let chain = text_property(&pipeline.by_name("watchdog").unwrap(), "chain");
        prop_assert_eq!(&chain, &show::chain_description(&camera));
        let chain = gst::parse::bin_from_description(&chain, true).unwrap();
        prop_assert_eq!(text_property(&chain.by_name("inner").unwrap(), "camera"), inside);
    }
}

fn camera_of_stages() -> CameraPlan {
    let text = r#"
        [profile.words]
        stage = [
            { element = "vigilexport", name = "inner", guarded = true },
            { element = "vigilexport", name = "open" },
        ]
        [camera.gate]
        uri = "test:"
        profile = "words"
    "#;
    plan(text).cameras["gate"].clone()
}

const SITE: &str = r#"
    [profile.people]
    stage = [
        { element = "vigilinfer", model = "tests/models/blob.onnx" },
        { element = "vigiltrack", max-lost-time = "3s" },
        { element = "vigiloverlay" },
    ]
    watchdog = { deadline = "2s" }
    [camera.analysed]
    uri = "test:ball"
    profile = "people"
    [camera.slow]
    uri = "test:"
    caps = "video/x-raw,width=64,height=48,framerate=50/1"
    max-fps = 12.5
    [camera.raw]
    launch = "videotestsrc is-live=true ! video/x-raw,width=64,height=48,framerate=25/1 ! capssetter caps=video/x-raw,framerate=0/1"
    max-fps = 5
    [camera.encoded]
    launch = "videotestsrc is-live=true ! video/x-raw,width=64,height=48 ! jpegenc"
    [camera.chosen]
    launch = "videotestsrc is-live=true ! video/x-raw,format=I420,width=64,height=48 ! x264enc tune=zerolatency"
    decode = { element = "avdec_h264" }
"#;

#[test]
fn every_camera_of_a_plan_plays() {
    let plan = plan(SITE);
    for (id, camera) in &plan.cameras {
        let (caps, times) = play(camera, 5);
        let structure = caps.structure(0).unwrap();
        assert_eq!(structure.name(), "video/x-raw", "{id}");
        assert!(times.is_sorted(), "{id}: {times:?}");
    }
}

#[test]
fn what_can_be_set_while_frames_flow_is_known_from_the_elements() {
    let plan = plan(SITE);
    let camera = &plan.cameras["analysed"];
    let infer = &camera.guarded[0];
    assert!(infer.live.contains("model") && infer.live.contains("confidence"), "{:?}", infer.live);
    assert!(!infer.live.contains("provider") && !infer.live.contains("name"), "{:?}", infer.live);
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/blob.onnx").display().to_string();
    assert_eq!(infer.properties["model"], Value::Text(model));
    assert_eq!(infer.properties["when-busy"], Value::Text("hold".into()));
    let watchdog = camera.watchdog.as_ref().unwrap();
    assert!(watchdog.live.contains("deadline") && !watchdog.live.contains("chain"), "{:?}", watchdog.live);
}

#[test]
fn the_frame_rate_is_limited_whether_the_source_tells_its_own_or_not() {
    let plan = plan(SITE);
    for (id, period) in [("slow", 80_000_000), ("raw", 200_000_000)] {
        let (_, times) = play(&plan.cameras[id], 6);
        let passed = (times[5] - times[0]).nseconds();
        // Whichever frames of the source are nearest: one of its periods (40 ms at most) more or less.
        assert!(passed >= 5 * period - 40_000_000, "{id}: {times:?}");
    }
}

/// Writes a file of ten frames, ten a second, with sound.
fn film(file: &Path) {
    let made = format!(
        "matroskamux name=m ! filesink location={} videotestsrc num-buffers=10 ! \
         video/x-raw,width=64,height=48,framerate=10/1 ! jpegenc ! m. \
         audiotestsrc num-buffers=40 ! audioconvert ! audio/x-raw,format=S16LE ! m.",
        show::quoted(file.to_str().unwrap())
    );
    let pipeline = parsed(&made);
    pipeline.set_state(gst::State::Playing).unwrap();
    let bus = pipeline.bus().unwrap();
    let end = bus.timed_pop_filtered(GUARD, &[gst::MessageType::Eos, gst::MessageType::Error]);
    assert_eq!(end.unwrap().type_(), gst::MessageType::Eos);
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn a_file_with_sound_is_played_at_its_own_pace_and_without_the_sound() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a b.mkv");
    film(&file);
    let plan = plan_in(folder.path(), "camera.gate.uri = \"a b.mkv\"");
    let begin = std::time::Instant::now();
    let (_, times) = play(&plan.cameras["gate"], 10);
    assert!(begin.elapsed().as_millis() >= 850, "the last frame is due after 900 ms: {:?}", begin.elapsed());
    assert_eq!((times[9] - times[0]).mseconds(), 900);
}

#[test]
fn a_file_begins_anew_by_a_seek_and_keeps_its_pace() {
    let folder = tempfile::tempdir().unwrap();
    film(&folder.path().join("a b.mkv"));
    let plan = plan_in(folder.path(), "[camera.gate]\nuri = \"a b.mkv\"\nloop = true");
    let pipeline = parsed(&show::camera_description(&plan.cameras["gate"]));
    let feed = pipeline.by_name("feed").unwrap().downcast::<gst_app::AppSink>().unwrap();
    feed.set_drop(false);
    pipeline.set_state(gst::State::Playing).unwrap();
    for _ in 0..2 {
        let mut frames = 0;
        let begin = std::time::Instant::now();
        while feed.try_pull_sample(GUARD).is_some() {
            frames += 1;
        }
        assert!(feed.is_eos());
        assert_eq!(frames, 10);
        assert!(begin.elapsed().as_millis() >= 850, "{:?}", begin.elapsed());
        pipeline.seek_simple(gst::SeekFlags::FLUSH | gst::SeekFlags::KEY_UNIT, gst::ClockTime::ZERO).unwrap();
    }
    pipeline.set_state(gst::State::Null).unwrap();
}

/// Runs a command line in a shell without the plugin; GStreamer tells the states of the elements.
///
/// (`gst-launch-1.0 -v` would tell of the elements by messages of which it prints as many as it comes to.)
fn shell(line: &str) -> Output {
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("exec timeout 60 {line}"));
    command.env("GST_DEBUG", "GST_STATES:4").env("GST_DEBUG_NO_COLOR", "1").output().unwrap()
}

#[test]
fn the_shell_runs_what_is_printed() {
    let name = r#"it's "so" ! $HOME `x` \ a;b (c) *"#;
    let text = r#"
        [profile.words]
        stage = [{ element = "identity", name = NAME }]
        watchdog.enabled = false
        [camera.gate]
        launch = '''videotestsrc num-buffers=15 name="a ! b  \"c\"" ! video/x-raw,width=64,height=48'''
        profile = "words"
    "#;
    let text = text.replace("NAME", &format!("'''{name}'''"));
    let line = show::shell_line(&plan(&text).cameras["gate"]);
    let output = shell(&line);
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}\n{said}");
    for element in [name, "a ! b  \"c\"", "feed"] {
        assert!(
            said.contains(&format!("<{element}> completed state change to PLAYING")),
            "{element}\nis not in\n{said}"
        );
    }
}

/// `vigil plan` with a description in a folder of its own.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.path().join(name), format!("format = 1\nname = \"yard\"\n{text}")).unwrap();
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vigil"));
        command.arg("plan").args(args).current_dir(self.0.path()).output().unwrap()
    }

    fn good(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn bad(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {}", String::from_utf8_lossy(&output.stdout));
        assert!(output.stdout.is_empty());
        String::from_utf8(output.stderr).unwrap()
    }
}

const YARD: &str = r#"
    [profile.people]
    stage = [{ element = "vigilinfer", model = "people" }, { element = "vigiloverlay" }]
    [camera.gate]
    uri = "rtsp://cam/1"
    user = "admin"
    password = { env = "GATE" }
    profile = "people"
    output = [{ kind = "rtsp", mount = "/gate" }]
    [camera.door]
    uri = "test:"
    [tile.all]
    output = [{ kind = "hls", folder = "hls" }]
"#;

#[test]
fn the_command_prints_a_line_for_each_camera() {
    let place = Place::new();
    place.write("site.toml", YARD);
    let all = place.good(&["site.toml"]);
    let lines: Vec<_> = all.lines().collect();
    assert_eq!(lines[0], "# door: test:");
    assert!(lines[1].starts_with("gst-launch-1.0 videotestsrc "), "{}", lines[1]);
    assert_eq!(lines[2], "# gate: rtsp://cam/1");
    assert!(lines[3].starts_with("# put in what stands in <>"), "{}", lines[3]);
    assert!(lines[4].contains(" 'user-pw=\"<environment GATE>\"' "), "{}", lines[4]);
    assert_eq!(place.good(&["site.toml", "--camera", "door"]), format!("{}\n{}\n", lines[0], lines[1]));
    let unknown = place.bad(&["site.toml", "--camera", "gaet"]);
    assert!(unknown.contains("there is no camera \"gaet\"; did you mean `gate`?"), "{unknown}");
}

#[test]
fn the_command_prints_graphs() {
    let place = Place::new();
    place.write("site.toml", YARD);
    let dot = place.good(&["site.toml", "--format", "dot"]);
    assert!(dot.starts_with("digraph \"yard\" {") && dot.contains("label=\"gate\\nrtsp://cam/1\""), "{dot}");
    assert!(dot.contains("label=\"tile all"), "{dot}");
    let one = place.good(&["site.toml", "--format", "mermaid", "--camera", "gate"]);
    assert!(one.starts_with("flowchart LR\n") && one.contains("infer<br>vigilinfer"), "{one}");
    assert!(!one.contains("door") && !one.contains("tile"), "{one}");
}

#[test]
fn the_command_says_what_would_be_done() {
    let place = Place::new();
    place.write("site.toml", YARD);
    let other = YARD.replace("model = \"people\"", "model = \"people@2\"").replace("camera.door", "camera.yard");
    place.write("other.toml", &other);
    let expected = "- camera door\n\
                    ~ camera gate: infer swaps its model for people@2, while frames flow\n\
                    + camera yard: test:, no profile, to no output\n";
    let told = place.good(&["site.toml", "--diff", "other.toml"]);
    assert!(told.starts_with(expected), "{told}");
    assert!(told.ends_with(&format!("~ tile all: gate, yard, to hls {}/hls\n", place.0.path().display())), "{told}");
    assert_eq!(place.good(&["site.toml", "--diff", "site.toml"]), "nothing changes\n");
}

#[test]
fn the_command_tells_all_that_is_wrong_with_both_descriptions() {
    let place = Place::new();
    place.write("site.toml", "camera.a.uri = \"ftp://x\"\ncamera.b.max-fps = 5\n");
    place.write("other.toml", "[camera.a]\nuri = \"test:\"\nprofile = \"x\"\n");
    let told = place.bad(&["site.toml", "--diff", "other.toml"]);
    for part in
        ["site.toml:3:", "`camera.a.uri`", "site.toml:4:", "`camera.b`", "other.toml:5:", "there is no profile \"x\""]
    {
        assert!(told.contains(part), "{part}\nis not in\n{told}");
    }
}
