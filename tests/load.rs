//! How models are loaded: which of a bundle's variants, at which priority, and what ends a load.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{again, is_child, model, output};
use gstvigil::bundle::{Bundle, ModelSource, digest};
use gstvigil::cancel::Cancel;
use gstvigil::engine::Engine;
use gstvigil::engine::EngineError;
use gstvigil::engine::lanes::{Lane, User};
use gstvigil::model::ladder::{Rung, climb};
use gstvigil::model::{Background, Isolated, Model, ModelError, Request};
use gstvigil::priority::NICENESS;

const LONG: Duration = Duration::from_secs(120);

fn weights(name: &str) -> Vec<u8> {
    fs::read(model(name)).unwrap()
}

/// A bundle of red.onnx's kind; each variant with its providers.
fn bundle(variants: &[(&str, &[u8], &[&str])]) -> ModelSource {
    let mut manifest = String::from(
        r#"format = 1
name = "colours"
release = "1"
task = "detect"
labels = "labels.txt"

[input]
layout = "nchw"
size = [32, 32]
color = "rgb"
resize = "stretch"
mean = [0, 0, 0]
std = [255, 255, 255]

[output]
decoder = "yolov8"
"#,
    );
    let mut files = BTreeMap::from([("labels.txt".to_owned(), b"red\nblue\n".to_vec())]);
    for (file, bytes, providers) in variants {
        let sha256 = digest::of_bytes(bytes);
        manifest += &format!("\n[[variant]]\nfile = \"{file}\"\nsha256 = \"{sha256}\"\nproviders = {providers:?}\n");
        files.insert((*file).to_owned(), bytes.to_vec());
    }
    files.insert("bundle.toml".into(), manifest.into_bytes());
    ModelSource::Bundle(Box::new(Bundle::from_files(Path::new("colours"), files).unwrap()))
}

fn request(provider: &str) -> Request {
    Request { provider: provider.into(), threads: 1, ..Request::default() }
}

fn beside_video(limit: Duration) -> Option<Background> {
    Some(Background { limit, cancel: Cancel::default() })
}

#[test]
fn the_first_variant_that_works_is_taken() {
    let (red, other, nan) = (weights("red"), weights("colors"), weights("nan"));
    let all: &[(&str, &[u8], &[&str])] =
        &[("absent.onnx", &nan, &["tensorrt", "cuda"]), ("other.onnx", &other, &["cpu"]), ("red.onnx", &red, &["cpu"])];
    for provider in ["auto", "cpu"] {
        let loaded = Model::from_source(bundle(all), &request(provider)).unwrap();
        assert_eq!((loaded.id().digest.as_str(), loaded.provider()), (&*digest::of_bytes(&red), "cpu"));
        let failed: Vec<_> = loaded.failed().iter().map(|f| (f.file.as_str(), f.provider.as_str())).collect();
        let other = ("other.onnx", "cpu");
        match provider {
            "auto" => assert_eq!(failed, [("absent.onnx", "tensorrt"), ("absent.onnx", "cuda"), other]),
            _ => assert_eq!(failed, [other]),
        }
        assert!(matches!(loaded.failed().last().unwrap().error, ModelError::Contract { .. }));
    }
}

#[test]
fn what_failed_while_it_ran_is_left_out() {
    let (red, nan) = (weights("red"), weights("nan"));
    let all: &[(&str, &[u8], &[&str])] = &[("red.onnx", &red, &["cpu"]), ("nan.onnx", &nan, &["cpu"])];
    let without = vec![(digest::of_bytes(&red), "cpu".to_owned())];
    let loaded = Model::from_source(bundle(all), &Request { without, ..request("auto") }).unwrap();
    assert_eq!(loaded.id().digest, digest::of_bytes(&nan));
    // Another provider's failure says nothing.
    let without = vec![(digest::of_bytes(&red), "cuda".to_owned())];
    let loaded = Model::from_source(bundle(all), &Request { without, ..request("auto") }).unwrap();
    assert_eq!(loaded.id().digest, digest::of_bytes(&red));
    let without = [&red, &nan].map(|bytes| (digest::of_bytes(bytes), "cpu".to_owned())).to_vec();
    let error = Model::from_source(bundle(all), &Request { without: without.clone(), ..request("auto") }).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("red.onnx on cpu: it failed while it ran") && text.contains("nan.onnx on cpu"), "{text}");
    let bare = Request { model: model("red"), without, ..request("auto") };
    let text = Model::load(&bare).unwrap_err().to_string();
    assert!(text.contains("red.onnx") && text.contains("it failed while it ran"), "{text}");
}

#[test]
fn a_bundle_without_a_variant_that_works_says_what_is_wrong_with_each() {
    let (other, liar) = (weights("colors"), weights("liar"));
    let error = |variants: &[(&str, &[u8], &[&str])], provider| {
        Model::from_source(bundle(variants), &request(provider)).unwrap_err()
    };
    let both = error(
        &[("absent.onnx", &liar, &["cuda"]), ("other.onnx", &other, &["cpu"]), ("liar.onnx", &liar, &["cpu"])],
        "auto",
    );
    let text = both.to_string();
    assert!(text.starts_with("model colours: none of its variants can be used: absent.onnx on cuda: "), "{text}");
    assert!(text.contains("; other.onnx on cpu: ") && text.contains("; liar.onnx on cpu: "), "{text}");
    assert_eq!(text.matches("colours").count(), 1, "{text}");
    assert!(matches!(both.cause(), ModelError::Contract { .. }), "{:?}", both.cause());
    // With one attempt it is that one's error.
    let one = error(&[("other.onnx", &other, &["cpu"])], "auto");
    assert!(
        matches!(one, ModelError::Contract { .. }) && matches!(one.cause(), ModelError::Contract { .. }),
        "{one:?}"
    );
    let absent = error(&[("other.onnx", &other, &["cuda", "tensorrt"])], "auto").to_string();
    let words = ["none of its execution providers can be used: cuda: ", "; tensorrt: "];
    assert!(words.iter().all(|word| absent.contains(word)), "{absent}");
    let none = error(&[("other.onnx", &other, &["cpu"])], "cuda").to_string();
    assert!(none.contains("cuda: the bundle has variants for cpu only"), "{none}");
}

#[test]
fn a_model_that_cannot_be_loaded_makes_room_for_the_one_before_or_the_fallback() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("cut.onnx"), &weights("red")[..500]).unwrap();
    fs::copy(model("nan"), path("previous.onnx")).unwrap();
    let asked = Request { model: path("cut.onnx"), ..request("auto") };
    let previous = |asked: &str| {
        assert_eq!(asked, path("cut.onnx"));
        Some(path("previous.onnx"))
    };
    let found = climb(&asked, &previous, Some(&model("red"))).unwrap();
    assert_eq!((found.rung, found.name.as_str()), (Rung::Previous, &*path("previous.onnx")));
    assert_eq!(found.model.id().name, "previous");
    assert!(matches!(&found.failed[..], [(Rung::Asked, name, ModelError::Bundle(_))] if *name == path("cut.onnx")));
    fs::remove_file(path("previous.onnx")).unwrap();
    let found = climb(&asked, &previous, Some(&model("red"))).unwrap();
    assert_eq!((found.rung, found.model.id().name.as_str()), (Rung::Fallback, "red"));
    let failed = climb(&asked, &previous, None).unwrap_err();
    assert_eq!(failed.iter().map(|(rung, ..)| *rung).collect::<Vec<_>>(), [Rung::Asked, Rung::Previous]);
}

/// Niceness of the threads of this process, by name.
fn niceness() -> Vec<(String, i32)> {
    let read = |task: fs::DirEntry| -> Option<(String, i32)> {
        let text = fs::read_to_string(task.path().join("stat")).ok()?;
        // The name may hold anything but ends at the last bracket; niceness is the 19th field, the 17th behind it.
        let (name, rest) = text.split_once('(')?.1.rsplit_once(')')?;
        Some((name.to_owned(), rest.split_whitespace().nth(16)?.parse().ok()?))
    };
    fs::read_dir("/proc/self/task").unwrap().filter_map(|task| read(task.unwrap())).collect()
}

/// Notes the niceness of the threads while a lane works.
struct Looks(std::sync::mpsc::Sender<Vec<(String, i32)>>);

impl User for Looks {
    fn work(&self, lane: &Lane<'_>) {
        let mut io = gstvigil::engine::Io::new(lane.engine().spec(), &[]);
        lane.run(&mut io, 0, Some(LONG)).unwrap();
        self.0.send(niceness()).unwrap();
    }

    fn overdue(&self, _: u64, error: &EngineError) {
        panic!("{error}");
    }

    fn refused(&self, _: &dyn Engine, error: &EngineError) {
        panic!("{error}");
    }
}

#[test]
fn an_engine_that_is_asked_for_alone_is_shared_with_nobody() {
    let load = |private| Model::load(&Request { model: model("red"), private, ..request("cpu") }).unwrap();
    let models = [load(false), load(true), load(true), load(false)];
    let engines = models.each_ref().map(|model| std::ptr::from_ref(model.lanes().engine()).addr());
    assert_eq!(engines[0], engines[3], "the others share theirs");
    assert!(engines[0] != engines[1] && engines[1] != engines[2] && engines[0] != engines[2], "{engines:?}");
}

#[test]
fn a_load_beside_video_leaves_no_thread_behind_that_is_nice() {
    const NAME: &str = "a_load_beside_video_leaves_no_thread_behind_that_is_nice";
    if !is_child(NAME) {
        // Alone in its process, since other tests' loads have threads too.
        output(&mut again(NAME));
        return;
    }
    let before = niceness().iter().map(|(_, nice)| *nice).max().unwrap();
    assert!(before < i32::from(NICENESS), "this test runs at {before}");
    // One thread for each lane, and a pool beside the lanes.
    for (threads, lanes) in [(1, 1), (3, 3), (3, 1)] {
        let request = Request { model: model("red"), threads, lanes, background: beside_video(LONG), ..request("cpu") };
        let loaded = Model::load(&request).unwrap();
        let (sender, looked) = std::sync::mpsc::channel();
        let looks: Arc<dyn User> = Arc::new(Looks(sender));
        // Those of the load are in the list for a moment after they have ended.
        let begun = Instant::now();
        let seen = loop {
            loaded.lanes().request(&looks);
            let seen = looked.recv_timeout(LONG).unwrap();
            if begun.elapsed() > LONG || seen.iter().all(|(_, nice)| *nice == before) {
                break seen;
            }
        };
        assert!(seen.iter().filter(|(name, _)| name.starts_with("vigil-lane")).count() >= lanes, "{seen:?}");
        assert!(seen.iter().all(|(_, nice)| *nice == before), "{seen:?}");
        // As a streaming thread would be that starts now.
        let later = std::thread::spawn(niceness).join().unwrap();
        assert!(later.iter().all(|(_, nice)| *nice == before), "{later:?}");
    }
}

#[test]
fn a_load_beside_video_stands_back() {
    let path = model("red");
    for (background, low) in [(None, false), (beside_video(LONG), true)] {
        let request = Request { model: path.clone(), background, ..request("cpu") };
        let begun = Instant::now();
        // A look may come between two loads, so there are some; one that is never low has as many.
        let seen = (0..if low { usize::MAX } else { 20 }).any(|_| {
            std::thread::scope(|scope| {
                let load = scope.spawn(|| Model::load(&request).unwrap());
                let mut seen = false;
                while !load.is_finished() {
                    seen |= niceness().iter().any(|(name, nice)| name == "vigil-low" && *nice >= i32::from(NICENESS));
                }
                seen || begun.elapsed() > LONG
            })
        });
        assert_eq!(seen && begun.elapsed() < LONG, low);
    }
}

#[test]
fn a_worker_that_is_to_stand_back_and_one_in_the_background_load_models() {
    for niceness in [0, 10] {
        let isolation = Some(Isolated { niceness, ..Isolated::default() });
        let request = Request { model: model("red"), isolation, background: beside_video(LONG), ..request("cpu") };
        let loaded = Model::load(&request).unwrap();
        let worker = loaded.lanes().engine().worker().unwrap();
        assert_eq!(worker.state, "running");
        let stat = fs::read_dir(format!("/proc/{}/task", worker.pid.unwrap())).unwrap();
        let nice = stat.filter_map(|task| {
            let text = fs::read_to_string(task.unwrap().path().join("stat")).ok()?;
            text.rsplit_once(')')?.1.split_whitespace().nth(16)?.parse::<u8>().ok()
        });
        let nice: Vec<u8> = nice.collect();
        assert!(!nice.is_empty() && nice.iter().all(|nice| *nice == niceness), "{nice:?}");
    }
}

/// red.onnx with `bytes` of weights that nothing uses. Messages of protobuf one after the other are one message.
fn heavy(bytes: usize) -> Vec<u8> {
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let mut length = content.len();
        let mut out = vec![number << 3 | 2];
        while length >= 0x80 {
            out.push(length as u8 | 0x80);
            length >>= 7;
        }
        out.push(length as u8);
        out.extend(content);
        out
    }
    let floats = (bytes / 4) as u32;
    let mut tensor = vec![0x08];
    tensor.extend((0..5).map(|i| (floats >> (7 * i)) as u8 & 0x7f | if i < 4 { 0x80 } else { 0 }));
    tensor.extend([0x10, 1]);
    tensor.extend(field(8, b"heavy"));
    tensor.extend(field(9, &vec![0; bytes]));
    let mut model = weights("red");
    model.extend(field(7, &field(5, &tensor)));
    model
}

#[test]
fn a_load_without_enough_memory_is_told_from_a_model_that_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("heavy.onnx");
    fs::write(&path, heavy(100 << 20)).unwrap();
    let load = |memory_max| {
        let isolation = Some(Isolated { memory_max, ..Isolated::default() });
        Model::load(&Request { model: path.display().to_string(), isolation, ..request("cpu") })
    };
    let error = load(60_000_000).unwrap_err();
    println!("{error:?}");
    assert!(error.to_string().contains("60000000 bytes of memory (engine-memory-max)"), "{error}");
    assert!(matches!(error, ModelError::Engine { source: EngineError::Memory(_), .. }), "{error:?}");
    load(1_000_000_000).unwrap();
}

/// Pages of memory that this process has.
fn resident() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap();
    text.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn memory_is_as_large_after_a_hundred_replaced_models_as_after_five() {
    const NAME: &str = "memory_is_as_large_after_a_hundred_replaced_models_as_after_five";
    if !is_child(NAME) {
        // Alone in its process, since the memory of other tests would count.
        println!("{}", output(&mut again(NAME)).0);
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let paths = [1 << 20, 3 << 20].map(|bytes| {
        let path = folder.path().join(format!("{bytes}.onnx"));
        fs::write(&path, heavy(bytes)).unwrap();
        path.display().to_string()
    });
    for isolation in [None, Some(Isolated::default())] {
        let (mut current, mut after_five) = (None, 0);
        for swap in 1..=100 {
            let request = Request {
                model: paths[swap % 2].clone(),
                isolation: isolation.clone(),
                background: beside_video(LONG),
                ..request("cpu")
            };
            // Each on a thread of its own, as elements do it; both are there until the old one goes.
            let next = std::thread::spawn(move || Model::load(&request).unwrap()).join().unwrap();
            drop(current.replace(next));
            if swap == 5 {
                after_five = resident();
            }
        }
        let after_all = resident();
        println!("isolated {}: {after_five} pages, then {after_all}", isolation.is_some());
        // A few pages more, since a process without the runtime has few.
        assert!(after_all <= after_five + after_five / 10 + 512, "{after_five} pages, then {after_all}");
    }
}

/// Pages that this thread has taken from the system so far.
fn faults() -> u64 {
    let stat = fs::read_to_string("/proc/thread-self/stat").unwrap();
    stat.rsplit(')').next().unwrap().split_whitespace().nth(7).unwrap().parse().unwrap()
}

#[test]
fn a_warm_engine_keeps_the_memory_that_its_runs_need() {
    if !gstvigil::paths::bundle_dirs().iter().any(|folder| folder.join("people/bundle.toml").is_file()) {
        eprintln!("skipped: the bundle people is not installed (make setup)");
        return;
    }
    // As in a process in which models are swapped: the C library gives back at once what is freed.
    gstvigil::engine::heap::keep_little();
    let model = Model::load(&Request { model: "people".into(), lanes: 1, ..request("cpu") }).unwrap();
    let mut io = model.io();
    let mut run = || model.lanes().engine().run(&mut io, None).unwrap();
    (0..3).for_each(|_| run());
    let before = faults();
    (0..10).for_each(|_| run());
    // What the model computes in between takes 12 MB, 3000 pages.
    let each = (faults() - before) / 10;
    assert!(each < 300, "a run takes {each} pages from the system");
}
