//! Models, bundles and runtimes that cannot be used: one error each, which says why, and nothing left behind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::{again, caps, compile, descriptors, frame, init, is_child, model, output, result, threads};
use gst::prelude::*;
use gst_check::Harness;
use gst_video::VideoFormat;
use gstvigil::bundle::archive::Packer;
use gstvigil::bundle::digest;

/// The one ERROR that a start of `vigilinfer` with `model` gives.
#[track_caller]
fn refusal(model: &str) -> String {
    init();
    let element = gst::ElementFactory::make("vigilinfer").property("model", model).build().unwrap();
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    assert!(element.set_state(gst::State::Paused).is_err(), "{model} is taken");
    element.set_state(gst::State::Null).unwrap();
    let told: Vec<gst::Message> = std::iter::from_fn(|| bus.pop()).collect();
    let errors: Vec<String> = told
        .iter()
        .filter_map(|message| match message.view() {
            gst::MessageView::Error(e) => Some(e.error().message().to_owned()),
            gst::MessageView::Warning(w) => panic!("a warning too: {w:?}"),
            _ => None,
        })
        .collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    let text = errors.into_iter().next().unwrap();
    assert!(!text.contains('\n') && text.len() < 2000, "{text}");
    text
}

/// A good model runs, whatever was refused before.
fn a_good_model_runs() {
    let caps = caps(VideoFormat::Rgb, 32, 32);
    let element = gst::ElementFactory::make("vigilinfer").property("model", model("red")).build().unwrap();
    let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
    harness.play();
    harness.set_src_caps(caps.clone());
    harness.push(frame(&caps, (255, 0, 0), 0)).unwrap();
    assert_eq!(result(&harness.pull().unwrap()).objects.len(), 1);
    drop(harness);
    element.set_state(gst::State::Null).unwrap();
}

/// Runs `refusals` in a process of its own and checks that what was open before is open after.
fn in_a_clean_process(name: &str, refusals: impl FnOnce()) {
    if !is_child(name) {
        output(&mut again(name));
        return;
    }
    // GStreamer and the runtime keep some things open for good.
    a_good_model_runs();
    // A thread of GStreamer's pool waits for its next task, under the name of the last one.
    let own = || threads().into_iter().filter(|name| !name.starts_with("vigilinfer")).collect::<Vec<_>>();
    let before = (descriptors(), own());
    refusals();
    a_good_model_runs();
    // A model that a streaming thread let go of last is ended by another thread.
    let begun = Instant::now();
    while (descriptors(), own()) != before && begun.elapsed() < LONG {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!((descriptors(), own()), before, "nothing is left open");
}

/// Name and content of the files of a bundle.
type Files = BTreeMap<String, Vec<u8>>;

/// Longest that a test waits for another thread.
const LONG: Duration = Duration::from_secs(60);

const MANIFEST: &str = r#"format = 1
name = "tried"
release = "1"
task = "detect"
labels = "labels.txt"

[input]
layout = "nchw"
size = [32, 32]
color = "rgb"
resize = "letterbox"
mean = [0, 0, 0]
std = [255, 255, 255]

[output]
decoder = "yolov8"
per-class = { red = 0.3 }

[[variant]]
file = "model.onnx"
sha256 = "DIGEST"
"#;

/// A good bundle around `weights`, whose digest it states.
fn bundle(weights: &[u8]) -> Files {
    let manifest = MANIFEST.replace("DIGEST", &digest::of_bytes(weights));
    [("bundle.toml", manifest.into_bytes()), ("labels.txt", b"red\nblue\n".to_vec()), ("model.onnx", weights.to_vec())]
        .map(|(name, content)| (name.to_owned(), content))
        .into()
}

fn red() -> Vec<u8> {
    fs::read(model("red")).unwrap()
}

/// The good bundle with one place of its manifest changed.
fn edited(from: &str, to: &str) -> Files {
    let mut files = bundle(&red());
    let text = String::from_utf8(files["bundle.toml"].clone()).unwrap();
    assert!(text.contains(from), "{from}");
    files.insert("bundle.toml".into(), text.replacen(from, to, 1).into_bytes());
    files
}

/// The good bundle with one file changed, or taken out.
fn with_file(name: &str, content: Option<&[u8]>) -> Files {
    let mut files = bundle(&red());
    match content {
        Some(content) => files.insert(name.into(), content.to_vec()),
        None => files.remove(name),
    };
    files
}

fn archive(files: &Files) -> Vec<u8> {
    let mut packer = Packer::new(Vec::new()).unwrap();
    for (name, content) in files {
        packer.add(name, content).unwrap();
    }
    packer.finish().unwrap()
}

/// The bundle as a folder and as an archive.
fn both(dir: &Path, files: &Files) -> [String; 2] {
    let (folder, file) = (dir.join("bundle"), dir.join("bundle.vigil"));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).unwrap();
    for (name, content) in files {
        fs::write(folder.join(name), content).unwrap();
    }
    fs::write(&file, archive(files)).unwrap();
    [folder, file].map(|path| path.display().to_string())
}

#[test]
fn bundles_that_disagree_with_themselves_are_refused() {
    in_a_clean_process("bundles_that_disagree_with_themselves_are_refused", || {
        let good = red();
        let cases: Vec<(Files, &[&str])> = vec![
            (with_file("bundle.toml", None), &["no bundle.toml"]),
            (with_file("labels.txt", None), &["labels.txt", "no such file", "`labels`"]),
            (with_file("model.onnx", None), &["model.onnx", "no such file", "`variant.file`"]),
            (with_file("model.onnx", Some(b"")), &["model.onnx", "SHA-256", "damaged"]),
            (with_file("model.onnx", Some(&fs::read(model("half")).unwrap())), &["SHA-256", "replaced"]),
            (bundle(b""), &["not an ONNX model", "empty"]),
            (bundle(b"\xff\xd8\xff\xe0JFIF"), &["not an ONNX model", "JPEG"]),
            (bundle(&good[..good.len() / 2]), &["not an ONNX model", "truncated"]),
            (with_file("labels.txt", Some(b"red\nblue\ngreen\n")), &["2 classes", "3 labels"]),
            (with_file("labels.txt", Some(b"red\n")), &["2 classes", "1 label"]),
            (with_file("labels.txt", Some(b"r\xffd\n")), &["labels.txt", "UTF-8"]),
            (edited("size = [32, 32]", "size = [64, 64]"), &["input", "32", "64"]),
            (edited("\"nchw\"", "\"nhwc\""), &["input", "shape"]),
            (edited("\"yolov8\"", "\"classify\""), &["bundle.toml:16", "decoder"]),
            (edited("\"yolov8\"", "\"yolox\""), &["output0", "yolox"]),
            (edited("red = 0.3", "rad = 0.3"), &["bundle.toml:17", "rad", "did you mean", "red"]),
            (edited("resize", "rezise"), &["bundle.toml:11", "rezise", "did you mean `resize`"]),
            (edited("\"yolov8\"", "\"yolo8\""), &["bundle.toml:16", "did you mean \"yolov8\""]),
            (edited("format = 1", "format = 2"), &["bundle.toml:1", "format"]),
            (edited("format = 1", "format 1"), &["bundle.toml:1"]),
            (edited("std = [255, 255, 255]", "std = [255, 0, 255]"), &["bundle.toml:13", "std"]),
            (edited("file = \"model.onnx\"", "file = \"../model.onnx\""), &["bundle.toml:20", ".."]),
            (bundle(&fs::read(model("ints")).unwrap()), &["output0", "i32", "float"]),
            (bundle(&fs::read(model("liar")).unwrap()), &["hidden"]),
        ];
        let dir = tempfile::tempdir().unwrap();
        for (files, words) in cases {
            for path in both(dir.path(), &files) {
                let text = refusal(&path);
                assert!(text.contains(&path), "{text} does not name {path}");
                assert!(words.iter().all(|word| text.contains(word)), "{text}: {words:?}");
            }
        }
        for path in both(dir.path(), &bundle(&red())) {
            let element = gst::ElementFactory::make("vigilinfer").property("model", &path).build().unwrap();
            element.set_state(gst::State::Paused).expect("what all of these were made from is good");
            element.set_state(gst::State::Null).unwrap();
        }
    });
}

/// A field of a protobuf message that has a length (wire type 2).
fn field(number: u64, content: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), varint(content.len() as u64), content.to_vec()].concat()
}

/// A field of a protobuf message that is a number (wire type 0).
fn number(number: u64, value: u64) -> Vec<u8> {
    [varint(number << 3), varint(value)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// An ONNX model (onnx/onnx.proto) with the graph `graph`, opset 17.
fn onnx(graph: &[u8]) -> Vec<u8> {
    [number(1, 9), field(7, graph), field(8, &number(2, 17))].concat()
}

/// A graph whose output is the constant `tensor` (a TensorProto without its name).
fn constant(tensor: &[u8]) -> Vec<u8> {
    let shape = field(2, &[field(1, &number(1, 1)), field(1, &number(1, 4))].concat());
    let float = field(1, &[number(1, 1), shape].concat());
    let value = |name: &[u8]| [field(1, name), field(2, &float)].concat();
    let node = [field(1, b"x"), field(1, b"c"), field(2, b"y"), field(4, b"Add")].concat();
    let named = [tensor.to_vec(), field(8, b"c")].concat();
    [field(1, &node), field(2, b"g"), field(5, &named), field(11, &value(b"x")), field(12, &value(b"y"))].concat()
}

#[test]
fn hostile_models_are_refused() {
    in_a_clean_process("hostile_models_are_refused", || {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("secret"), [0u8; 16]).unwrap();
        let float = number(2, 1);
        let external = |place: &str| {
            let entry = field(13, &[field(1, b"location"), field(2, place.as_bytes())].concat());
            onnx(&constant(&[number(1, 4), float.clone(), entry, number(14, 1)].concat()))
        };
        let mut deep = Vec::new();
        for _ in 0..20_000 {
            // A node with an attribute that is a graph (If, Loop) with such a node.
            deep = field(1, &field(5, &[field(1, b"body"), field(6, &deep), number(20, 5)].concat()));
        }
        let cases = [
            ("graph-of-noise", onnx(&[0xff; 64])),
            ("empty-graph", onnx(b"")),
            ("huge-tensor", onnx(&constant(&[number(1, 1 << 40), float.clone(), field(9, &[0; 16])].concat()))),
            ("negative-size", onnx(&constant(&[number(1, u64::MAX), float.clone(), field(9, &[0; 16])].concat()))),
            ("deep", onnx(&deep)),
            ("file-of-the-host", external("/etc/hostname")),
            ("file-outside", external("../secret")),
            ("file-beside", external("secret")),
        ];
        // The graph around the tensor is sound: with a sound tensor it is refused only for not taking a picture.
        let no_picture = "four dimensions";
        let sound = onnx(&constant(&[number(1, 4), float.clone(), field(9, &[0; 16])].concat()));
        for (name, bytes) in cases.into_iter().chain([("sound", sound)]) {
            let path = dir.path().join(format!("{name}.onnx"));
            fs::write(&path, bytes).unwrap();
            let text = refusal(path.to_str().unwrap());
            assert!(text.contains(name), "{text}");
            assert_eq!(text.contains(no_picture), name == "sound", "{text}");
        }
    });
}

#[test]
fn what_is_no_model_at_all_is_refused() {
    in_a_clean_process("what_is_no_model_at_all_is_refused", || {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let file = |name: &str, content: &[u8]| {
            fs::write(dir.path().join(name), content).unwrap();
            path(name)
        };
        // Whoever opens a pipe that nobody writes to waits for ever.
        for name in ["pipe.onnx", "pipe.vigil"] {
            let pipe = CString::new(path(name)).unwrap();
            // SAFETY: the path ends with a NUL.
            assert_eq!(unsafe { libc::mkfifo(pipe.as_ptr(), 0o600) }, 0);
        }
        std::os::unix::fs::symlink("loop.onnx", dir.path().join("loop.onnx")).unwrap();
        fs::create_dir(dir.path().join("folder.onnx")).unwrap();
        let good = archive(&bundle(&red()));
        let cases = [
            (path("nothing.onnx"), "no such file"),
            (path("nothing.vigil"), "no such file"),
            ("no-such-bundle-is-installed".into(), "no bundle of that name"),
            (path("pipe.onnx"), "neither a file nor a folder"),
            (path("pipe.vigil"), "neither a file nor a folder"),
            (path("loop.onnx"), "loop.onnx"),
            (path("folder.onnx"), "bundle.toml"),
            ("/dev/zero".into(), "neither a file nor a folder"),
            (file("empty.onnx", b""), "empty"),
            (file("text.onnx", b"a text, no model"), "not that of a model"),
            (file("cut.onnx", &red()[..700]), "truncated"),
            (file("empty.vigil", b""), "empty"),
            (file("zip.vigil", b"PK\x03\x04"), "not compressed with zstd"),
            (file("cut.vigil", &good[..good.len() / 2]), "truncated"),
            (file("tail.vigil", &[&good[..], b"x"].concat()), "after the end"),
        ];
        for (model, word) in cases {
            let text = refusal(&model);
            assert!(text.contains(word) && text.contains(&model), "{model}: {text}");
        }
    });
}

/// The header of a tar entry (POSIX.1-1988 ustar) that no bundle has; a link points to /etc/passwd.
fn tar_entry(name: &str, kind: u8, size: u64) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_link_name("/etc/passwd").unwrap();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    header.as_bytes().to_vec()
}

#[test]
fn hostile_archives_are_refused() {
    in_a_clean_process("hostile_archives_are_refused", || {
        let dir = tempfile::tempdir().unwrap();
        let packed = |entries: &[u8]| zstd::encode_all(&[entries, &[0; 1024]].concat()[..], 3).unwrap();
        let many: Vec<u8> = (0..5000).flat_map(|i| tar_entry(&format!("f{i}"), b'0', 0)).collect();
        let zeros = tar_entry("zeros", b'0', 1 << 30);
        let mut bomb = zstd::Encoder::new(Vec::new(), 3).unwrap();
        bomb.write_all(&zeros).unwrap();
        std::io::copy(&mut std::io::Read::take(std::io::repeat(0), 1 << 28), &mut bomb).unwrap();
        let mut window = zstd::Encoder::new(Vec::new(), 1).unwrap();
        window.window_log(28).unwrap();
        window.set_pledged_src_size(Some(1 << 28)).unwrap();
        std::io::copy(&mut std::io::Read::take(std::io::repeat(0), 1 << 28), &mut window).unwrap();
        let cases = [
            ("up", packed(&tar_entry("../../evil", b'0', 0)), "leads out of the bundle"),
            ("absolute", packed(&tar_entry("/tmp/evil", b'0', 0)), "absolute path"),
            ("symlink", packed(&tar_entry("labels.txt", b'2', 0)), "a link"),
            ("hardlink", packed(&tar_entry("labels.txt", b'1', 0)), "a link"),
            ("device", packed(&tar_entry("model.onnx", b'3', 0)), "a device"),
            ("pipe", packed(&tar_entry("model.onnx", b'6', 0)), "a pipe"),
            ("many", packed(&many), "more than the allowed 4096 entries"),
            ("twice", packed(&[tar_entry("a", b'0', 0), tar_entry("a", b'0', 0)].concat()), "two entries"),
            ("bomb", bomb.finish().unwrap(), "unpacks to more than the allowed"),
            ("window", window.finish().unwrap(), "more memory"),
        ];
        for (name, bytes, words) in cases {
            let path = dir.path().join(format!("{name}.vigil"));
            fs::write(&path, bytes).unwrap();
            let text = refusal(path.to_str().unwrap());
            assert!(text.contains(words) && text.contains(name), "{text}");
        }
        let names: Vec<_> = fs::read_dir(dir.path()).unwrap().flatten().map(|e| e.path()).collect();
        assert!(names.iter().all(|n| n.extension().is_some_and(|e| e == "vigil")), "nothing is unpacked: {names:?}");

        let link = dir.path().join("folder");
        fs::create_dir(&link).unwrap();
        for (name, content) in bundle(&red()) {
            fs::write(link.join(name), content).unwrap();
        }
        fs::remove_file(link.join("model.onnx")).unwrap();
        std::os::unix::fs::symlink(model("red"), link.join("model.onnx")).unwrap();
        let text = refusal(link.to_str().unwrap());
        assert!(text.contains("links are not allowed"), "{text}");
    });
}

/// A library that says it is ONNX Runtime `version`; a null pointer in place of its API without one.
fn pretender(version: Option<&str>) -> String {
    let answer = if version.is_some() { "&base" } else { "0" };
    let version = version.unwrap_or_default();
    format!(
        "static const void *api(unsigned n) {{ return 0; }}\n\
         static const char *version(void) {{ return \"{version}\"; }}\n\
         static const struct {{ const void *(*api)(unsigned); const char *(*version)(void); }} base = {{ api, version }};\n\
         const void *OrtGetApiBase(void) {{ return {answer}; }}\n"
    )
}

#[test]
fn runtimes_that_cannot_be_used_are_told_apart() {
    const NAME: &str = "runtimes_that_cannot_be_used_are_told_apart";
    if is_child(NAME) {
        println!("refused: {}", refusal(&model("red")));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let library = |name: &str, source: &str| -> PathBuf {
        let path = dir.path().join(name);
        compile(source, &path);
        path
    };
    let text = dir.path().join("text.so");
    fs::write(&text, "no library ".repeat(100)).unwrap();
    let cases = [
        (dir.path().join("missing.so"), "No such file"),
        (dir.path().to_path_buf(), "directory"),
        (text, "invalid ELF header"),
        (library("other.so", "int other(void) { return 1; }"), "this is not ONNX Runtime (it has no OrtGetApiBase)"),
        (library("null.so", &pretender(None)), "it offers no API"),
        (library("old.so", &pretender(Some("1.17.3"))), "it is version 1.17.3, 1.24 or later is needed"),
        (library("next.so", &pretender(Some("2.0.0"))), "it is version 2.0.0"),
        (library("odd.so", &pretender(Some("unknown"))), "it is version unknown"),
        (library("hollow.so", &pretender(Some("1.31.1"))), "does not offer that version's API"),
    ];
    for (path, words) in cases {
        let (out, _) = output(again(NAME).env("VIGIL_ORT_LIBRARY", &path));
        let told: Vec<&str> = out.lines().filter_map(|line| line.split_once("refused: ")).map(|l| l.1).collect();
        let [told] = told.as_slice() else { panic!("{out}") };
        assert!(told.contains(words) && told.contains(path.to_str().unwrap()), "{told}");
    }
}
