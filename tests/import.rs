//! `vigil import`: DeepStream's configuration becomes a site and bundles, and nothing of it is dropped in silence.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use gst_check::Harness;
use gst_video::VideoFormat;
use gstvigil::bundle::Bundle;
use gstvigil::bundle::contract::{Align, Color, DecoderKind, Resize, Task};
use gstvigil::secret::Secret;
use gstvigil::site::description::{Description, Scalar, Transport};
use gstvigil::site::import::app;
use gstvigil::site::output::Output as Sink;
use gstvigil::site::units::{Span, TextOrSecret};

fn files() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import_files")
}

fn vigil(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vigil")).arg("import").args(args).current_dir(folder).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Imports a file of `tests/import_files` into `out` of a temporary folder; what it printed, and the site.
fn import(file: &str) -> (tempfile::TempDir, String, String, Description) {
    let folder = tempfile::tempdir().unwrap();
    let done = vigil(folder.path(), &["deepstream-app", files().join(file).to_str().unwrap(), "--out", "out"]);
    assert!(done.status.success(), "{}{}", text(&done.stdout), text(&done.stderr));
    let site = std::fs::read_to_string(folder.path().join("out/site.toml")).unwrap();
    let description = toml::from_str(&site).unwrap_or_else(|e| panic!("{e}\n{site}"));
    (folder, text(&done.stdout), site, description)
}

fn word(text: &str) -> Scalar {
    Scalar::Text(text.into())
}

/// `vigil check` of the site that was written: whether it is good, and what it says.
fn checked(folder: &Path) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vigil"));
    let done = command.args(["check", "out/site.toml"]).current_dir(folder).output().unwrap();
    (done.status.success(), text(&done.stdout) + &text(&done.stderr))
}

#[test]
fn an_application_becomes_a_site_with_bundles() {
    let (folder, printed, site, description) = import("app.txt");
    let ids: Vec<&str> = description.camera.keys().map(String::as_str).collect();
    assert_eq!(ids, ["source0", "source1-0", "source1-1", "source2"]);

    let gate = &description.camera["source0"];
    assert_eq!(gate.uri.as_deref(), Some("rtsp://192.0.2.10:554/live?channel=1"));
    assert_eq!(gate.user, Some(TextOrSecret::Text("operator".into())));
    assert_eq!(gate.password, Some(Secret::Env("SOURCE0_PASSWORD".into())));
    assert_eq!((gate.transport, gate.latency), (Some(Transport::Tcp), Some(Span::from_millis(300))));
    assert_eq!(gate.silent_after, Some(Span::from_secs(20)));
    let clip = &description.camera["source1-1"];
    assert_eq!(clip.uri, Some(format!("file:{}", files().parent().unwrap().join("clips/clip1.mp4").display())));
    assert_eq!(clip.repeat, Some(true), "from [tests] file-loop");
    let local = &description.camera["source2"];
    assert_eq!(local.uri.as_deref(), Some("v4l2:/dev/video2"));
    assert_eq!(local.caps.as_deref(), Some("video/x-raw,width=1280,height=720,framerate=30/1"));

    let stages = &description.profile["main"].stage;
    let names: Vec<&str> = stages.iter().map(|s| s.name.as_deref().unwrap_or(&s.element)).collect();
    assert_eq!(names, ["vigilinfer", "vigiltrack", "secondary0", "vigiloverlay", "vigilexport"]);
    assert_eq!(stages[0].properties["model"], word("bundles/red"));
    assert_eq!(stages[0].properties["interval"], Scalar::Integer(2), "the application's word is before the file's");
    let track = &stages[1].properties;
    assert_eq!((&track["min-hits"], &track["class-aware"]), (&Scalar::Integer(3), &Scalar::Bool(false)));
    assert_eq!((&track["low-confidence"], &track["high-confidence"]), (&Scalar::Float(0.15), &Scalar::Float(0.35)));
    assert_eq!(track["max-lost-time"], word("2s"));
    let second = &stages[2].properties;
    assert_eq!((&second["model"], &second["object-class"]), (&word("bundles/colour"), &word("blue thing")));
    assert_eq!((&second["inference-region"], &second["reinfer-time"]), (&word("objects"), &word("2s")));
    let overlay = &stages[3].properties;
    assert_eq!((&overlay["line-width"], &overlay["show-masks"]), (&Scalar::Integer(2), &Scalar::Bool(false)));
    assert_eq!(overlay["show-tracks"], Scalar::Bool(false), "from [tracker] display-tracking-id");

    let tile = &description.tile["all"];
    assert_eq!((tile.columns, tile.size, tile.fps), (Some(2), [1920, 1080], 25));
    assert_eq!(tile.cameras, ["source0", "source1-0", "source1-1", "source2"]);
    let [Sink::Display {}, Sink::File { path, encode, .. }, Sink::Rtsp { mount, .. }] = tile.output.as_slice() else {
        panic!("{:?}", tile.output);
    };
    assert_eq!((path.to_str(), encode.bitrate, mount.as_str()), (Some("out.mp4"), 4000, "/ds-test"));
    assert_eq!(description.rtsp.listen, "127.0.0.1:8600");

    for told in [
        "app.txt:4: [application] gie-kitti-output-dir = /tmp/kitti: no KITTI files",
        "app.txt:23: [source0] drop-frame-interval = 2: set `max-fps`",
        "[source0] smart-record = 2: there is no recording on demand",
        "analytics.txt:8: [line-crossing-stream-0] line-crossing-Entry = 100;250;300;250;200;100;200;400: zones, \
         lines and directions have no counterpart yet; in 0..1 of the picture: [0.1000, 0.5000], [0.3000, 0.5000], \
         [0.2000, 0.2000], [0.2000, 0.8000]",
        "tracker.yml:16: [ReID] reidType = 2: for identities by appearance",
        "[home-made]: Vigil does not know this group",
        "[sink3] topic = cameras: brokers of MQTT and Kafka are reached",
        "primary.txt:18: [property] infer-dims = 3;64;64: the model itself says [32, 32]",
    ] {
        assert!(printed.contains(told), "{told}\n---\n{printed}");
        assert!(site.contains(told), "{told}\n---\n{site}");
    }
    for secret in ["pa%40ss", "pa@ss", "verysecret"] {
        assert!(!printed.contains(secret) && !site.contains(secret), "{secret} is nobody's business");
    }
    let primary = Bundle::open(&folder.path().join("out/bundles/red")).unwrap();
    assert_eq!(primary.labels.as_slice(), ["red thing".into(), "blue thing".into()]);
    let (input, output) = (&primary.input, &primary.output);
    assert_eq!((input.color, input.resize, input.align, input.pad), (Color::Rgb, Resize::Letterbox, Align::Center, 0));
    assert_eq!((input.width, input.mean, input.std), (32, [0.0; 3], [255.0; 3]));
    assert_eq!((output.decoder, output.confidence, output.iou), (DecoderKind::Yolov8, 0.25, 0.45));
    assert_eq!((output.max_objects, output.per_class.as_slice()), (100, &[(1, 0.6)][..]));
    let second = Bundle::open(&folder.path().join("out/bundles/colour")).unwrap();
    assert_eq!((second.task, second.output.confidence, second.labels.len()), (Task::Classify, 0.4, 3));
    let (_, problems) = checked(folder.path());
    // The clips of the configuration are not on this machine; warnings are about what else is not.
    let errors = problems.lines().filter(|line| !line.contains(" warning: "));
    let others: Vec<&str> = errors.filter(|l| !l.contains("there is no file ") && !l.ends_with(" can start")).collect();
    assert!(others.is_empty() && problems.contains("clip1.mp4"), "{problems}");
}

/// Keys of an application's file of which the import makes something.
const USED: &str = "enable type uri num-sources latency select-rtp-protocol rtsp-reconnect-interval-sec \
                    camera-width camera-height camera-fps-n camera-fps-d camera-v4l2-dev-node rows columns width height \
                    gie-unique-id interval config-file operate-on-gie-id operate-on-class-ids ll-config-file \
                    display-tracking-id border-width text-size display-mask source-id codec bitrate output-file \
                    rtsp-port file-loop csv-file-path list sensor-name-list plugin-type";

#[test]
fn every_key_is_either_used_or_told() {
    for file in ["app.txt", "app.yml", "list.txt"] {
        let path = files().join(file);
        let imported = app::read(&path, 25.0).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let mut group_told = false;
        for (line, text) in (1..).zip(text.lines()) {
            let told = imported.findings.0.iter().any(|f| f.file == path.display().to_string() && f.line == line);
            if text.starts_with('[') {
                group_told = told;
            }
            let Some((key, _)) = text.trim().split_once(['=', ':']).filter(|_| !text.starts_with('#')) else {
                continue;
            };
            let used = USED.split_whitespace().any(|used| used == key) || text.ends_with(':');
            assert!(used || told || group_told, "{file}:{line}: {text}");
        }
    }
}

#[test]
fn a_key_that_nobody_knows_is_told_in_every_group() {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(files()).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let text = std::fs::read_to_string(files().join("app.txt")).unwrap().replace("enable=0", "enable=1");
    let odd: Vec<String> =
        text.lines().map(|l| if l.starts_with('[') { format!("{l}\nodd-key=7") } else { l.to_owned() }).collect();
    let path = folder.path().join("odd.txt");
    std::fs::write(&path, odd.join("\n")).unwrap();
    let imported = app::read(&path, 25.0).unwrap();
    for group in text.lines().filter(|line| line.starts_with('[') && *line != "[home-made]") {
        let what = format!("{group} odd-key = 7");
        assert!(imported.findings.0.iter().any(|f| f.what == what), "{what}");
    }
}

#[test]
fn yaml_with_a_table_of_sources_and_outputs_of_single_cameras() {
    let (folder, printed, _, description) = import("app.yml");
    let ids: Vec<&str> = description.camera.keys().map(String::as_str).collect();
    assert_eq!(ids, ["source0", "source1"], "the third one is off");
    assert_eq!(description.camera["source0"].latency, Some(Span(Duration::from_millis(200))));
    assert_eq!(description.camera["source1"].uri.as_deref(), Some("https://example.org/b.m3u8"));
    let outputs = |id: &str| description.camera[id].output.clone().unwrap();
    assert!(matches!(outputs("source0").as_slice(), [Sink::File { path, .. }] if path.to_str() == Some("first.mp4")));
    let second = outputs("source1");
    let [Sink::Rtsp { mount, .. }, Sink::Rtsp { mount: other, .. }] = second.as_slice() else { panic!("{second:?}") };
    assert_eq!((mount.as_str(), other.as_str()), ("/source1", "/source1-2"));
    assert!(printed.contains("[sink2] rtsp-port = 8555: there is one RTSP server, at 127.0.0.1:8554"), "{printed}");
    assert!(printed.contains("[sink3]: no camera is left that counts as 7"), "{printed}");
    assert!(description.tile.is_empty());

    assert_eq!(description.profile["main"].stage[0].properties["model"], word("bundles/engine-only"));
    assert!(!folder.path().join("out/bundles/engine-only").exists());
    assert!(
        printed.contains("engine-only.yml:2: an engine of TensorRT runs on the GPU that it was built on only"),
        "{printed}"
    );
}

#[test]
fn a_list_of_sources_keeps_the_names_of_its_sensors() {
    let (folder, printed, site, description) = import("list.txt");
    let ids: Vec<&str> = description.camera.keys().map(String::as_str).collect();
    assert_eq!(ids, ["gate", "gate-2", "yard-1"]);
    let gate = &description.camera["gate"];
    assert_eq!((gate.transport, gate.latency), (Some(Transport::Auto), Some(Span::from_millis(150))));
    assert_eq!(gate.password, Some(Secret::Env("GATE_PASSWORD".into())));
    assert_eq!(description.camera["yard-1"].password, None);
    assert!(description.profile.is_empty() && description.defaults.profile.is_none(), "{site}");
    assert!(printed.contains("[source-list] http-port = 9000: cameras are added and removed by"), "{printed}");
    let (good, problems) = checked(folder.path());
    assert!(good, "{problems}");
}

#[test]
fn what_gives_nothing_is_exit_code_1_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |args: &[&str], expected: &str| {
        let done = vigil(folder.path(), args);
        assert_eq!(done.status.code(), Some(1));
        assert!(text(&done.stderr).contains(expected), "{}", text(&done.stderr));
    };
    let path = |name: &str| files().join(name).display().to_string();
    refused(&["deepstream-app", &path("nothing.txt"), "--out", "out"], "no camera came out of it");
    refused(&["deepstream-app", &path("no-such-file.txt")], "No such file");
    refused(&["nvinfer", &path("engine-only.yml")], "an engine of TensorRT runs on the GPU");
    refused(&["nvinfer", &path("app.txt")], "there is no group [property]");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);

    std::fs::create_dir(folder.path().join("list")).unwrap();
    std::fs::write(folder.path().join("list/site.toml"), "mine").unwrap();
    refused(&["deepstream-app", &path("list.txt")], "exists already; name another folder with --out");
    assert_eq!(std::fs::read_to_string(folder.path().join("list/site.toml")).unwrap(), "mine");
}

#[test]
fn an_nvinfer_file_becomes_a_bundle_that_runs() {
    let folder = tempfile::tempdir().unwrap();
    let config = files().join("primary.txt").display().to_string();
    let args = ["nvinfer", &config, "--out", "b", "--name", "things", "--license", "MIT", "--set", "output.iou=0.6"];
    let done = vigil(folder.path(), &args);
    let printed = text(&done.stdout);
    assert!(done.status.success(), "{printed}{}", text(&done.stderr));
    let bundle = Bundle::open(&folder.path().join("b")).unwrap();
    assert_eq!((bundle.name.as_str(), bundle.license.as_deref(), bundle.output.iou), ("things", Some("MIT"), 0.6));
    assert!(printed.contains("runs     inputs and outputs agree"), "{printed}");
    assert!(printed.contains(&format!("(net-scale-factor at {config}:3)")), "what says so is told: {printed}");

    let again = vigil(folder.path(), &args);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("b: exists already"), "{}", text(&again.stderr));
    let second = vigil(folder.path(), &["nvinfer", &files().join("secondary.yml").display().to_string()]);
    let printed = text(&second.stdout);
    assert!(second.status.success(), "{printed}{}", text(&second.stderr));
    assert!(
        printed.contains("stage    vigilinfer model=colour inference-region=\"objects\" reinfer-time=\"2s\""),
        "{printed}"
    );
}

#[test]
fn rows_that_deepstream_would_reduce_are_reduced() {
    let folder = tempfile::tempdir().unwrap();
    let config = files().join("overlapping.txt").display().to_string();
    let done = vigil(folder.path(), &["nvinfer", &config, "-o", "b"]);
    assert!(done.status.success(), "{}{}", text(&done.stdout), text(&done.stderr));
    common::init();
    let model = folder.path().join("b").display().to_string();
    let element = gst::ElementFactory::make("vigilinfer").property("model", model).build().unwrap();
    let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
    harness.play();
    let caps = common::caps(VideoFormat::Rgb, 32, 32);
    harness.set_src_caps(caps.clone());
    harness.push(common::frame(&caps, (255, 0, 255), 0)).unwrap();
    let seen = common::result(&harness.pull().unwrap());
    let labels: Vec<&str> = seen.objects.iter().map(|object| &*object.label).collect();
    assert_eq!(labels, ["red thing", "blue thing"], "of the two that overlap the surer one is left");
    let left = &seen.objects[0].bbox;
    assert!((left.x - 2.0 / 32.0).abs() < 1e-3 && (left.y - 4.0 / 32.0).abs() < 1e-3, "{left:?}");
}

#[test]
fn records_to_a_broker_stay_records_to_a_broker() {
    let (_folder, said, site, _) = import("broker.txt");
    assert!(site.contains("uri = \"mqtt://broker.plant:1884/line-3\""), "{site}");
    assert!(site.contains("format = \"deepstream\""), "{site}");
    assert!(said.contains("through a spool on disk") && said.contains("TOPIC/CAMERA/KIND"), "{said}");
}
