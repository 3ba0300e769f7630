//! The bundles that tests of swaps use are what their names say.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::bundles::{BRIGHT, DARK, Draft, Fault, Scene, good, good_other};
use common::{caps, init, result};
use gst_check::Harness;
use gst_video::VideoFormat;
use gstvigil::bundle::ModelSource;
use gstvigil::bundle::sign::SecretKey;
use gstvigil::cancel::Cancel;
use gstvigil::model::{Isolated, Model, ModelError, Request};
use gstvigil::result::FrameResult;
use gstvigil::swap::prove::prove;

/// What the element says about pictures of a scene each.
fn see(model: &Path, properties: &str, scenes: &[Scene]) -> Vec<Arc<FrameResult>> {
    init();
    let element = gst::parse::launch(&format!("vigilinfer model={} {properties}", model.display())).unwrap();
    let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
    harness.play();
    harness.set_src_caps(caps(VideoFormat::Rgb, 160, 120));
    let frames = (0..).zip(scenes).map(|(n, scene)| {
        let mut buffer = gst::Buffer::from_slice(scene.rgb());
        buffer.get_mut().unwrap().set_pts(gst::ClockTime::from_mseconds(40 * n));
        harness.push(buffer).unwrap();
        result(&harness.pull().unwrap())
    });
    frames.collect()
}

fn load(model: &Path, isolation: Option<Isolated>) -> Result<Model, ModelError> {
    Model::load(&Request {
        model: model.display().to_string(),
        provider: "auto".into(),
        isolation,
        ..Request::default()
    })
}

/// Where what is red was found, pixels from the truth.
fn off(seen: &FrameResult, scene: &Scene) -> f32 {
    let [object] = seen.objects.as_slice() else { panic!("{:?}", seen.objects) };
    assert_eq!(&*object.label, "red");
    let (w, h) = (scene.size.0 as f32, scene.size.1 as f32);
    let b = object.bbox;
    let (x, y, width, height) = scene.red;
    let truth = [x, y, x + width, y + height].map(|v| v as f32);
    [b.x * w, b.y * h, b.x2() * w, b.y2() * h].iter().zip(truth).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn the_good_ones_find_what_is_red_wherever_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (good("1"), good_other("2"));
    for (path, class) in [one.folder(folder.path()), other.archive(folder.path())].into_iter().zip([0, 1]) {
        let seen = see(&path, "", &[DARK, BRIGHT]);
        for (seen, scene) in seen.iter().zip([DARK, BRIGHT]) {
            assert!(off(seen, &scene) < 1.5, "{}: {:?}", path.display(), seen.objects);
            assert_eq!(seen.objects[0].class_id, class);
        }
    }
    let sizes =
        [one.folder(folder.path()), other.folder(folder.path())].map(|path| load(&path, None).unwrap().input().width);
    assert_eq!(sizes, [160, 96]);
}

#[test]
fn the_good_ones_are_proven() {
    let folder = tempfile::tempdir().unwrap();
    for bundle in [good("1"), good_other("2")] {
        let proof = prove(&load(&bundle.folder(folder.path()), None).unwrap(), &Cancel::default()).unwrap().unwrap();
        assert_eq!((proof.pictures, proof.objects), (2, 2));
    }
}

#[test]
fn signatures_are_those_of_the_key_and_the_bundle() {
    let folder = tempfile::tempdir().unwrap();
    let [ours, theirs] = [0, 1].map(|_| SecretKey::generate().unwrap());
    let keys = [ours.public()];
    let check = |bundle: &Draft| {
        let path = bundle.folder(folder.path());
        ModelSource::open(&path.display().to_string())
            .unwrap()
            .check_signature(&keys)
            .map(|_| ())
            .map_err(|e| e.to_string())
    };
    check(&good("1").signed(&ours)).unwrap();
    for (bundle, part) in [
        (good("2"), "is not signed"),
        (good("3").signed(&theirs), "is signed by"),
        (good("4").signed_for_another(&ours, "5"), "was changed after it was signed"),
    ] {
        let text = check(&bundle).unwrap_err();
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn the_proof_finds_what_loading_cannot() {
    for (fault, failure) in [
        (Fault::NonFinite, "non-finite"),
        (Fault::Blind, "mismatch"),
        (Fault::Slow, "latency"),
        (Fault::OutdatedReference, "mismatch"),
        (Fault::CrashingAtRun, "engine"),
    ] {
        let (_folder, path) = written(fault);
        let isolated = (fault == Fault::CrashingAtRun).then(Isolated::default);
        let failed = prove(&load(&path, isolated).unwrap(), &Cancel::default()).unwrap_err();
        assert_eq!(failed.as_str(), failure, "{fault:?}: {failed}");
    }
}

fn written(fault: Fault) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = fault.write("3", folder.path());
    (folder, path)
}

#[test]
fn broken_files_are_no_bundles() {
    for fault in [Fault::Truncated, Fault::BitFlipped] {
        let (_folder, path) = written(fault);
        assert!(matches!(load(&path, None), Err(ModelError::Bundle(_))), "{fault:?}");
    }
}

#[test]
fn contracts_that_do_not_fit_the_model_are_refused() {
    for fault in [Fault::WrongShape, Fault::WrongClassCount] {
        let (_folder, path) = written(fault);
        assert!(matches!(load(&path, None), Err(ModelError::Contract { .. })), "{fault:?}");
    }
}

#[test]
fn moody_models_are_well_in_the_dark_and_wrong_in_the_light() {
    for fault in [Fault::NonFinite, Fault::Blind, Fault::CrashingAtRun] {
        let (_folder, path) = written(fault);
        let isolation = if fault == Fault::CrashingAtRun { "isolation=process" } else { "" };
        let seen = see(&path, isolation, &[DARK, BRIGHT]);
        assert!(off(&seen[0], &DARK) < 1.5, "{fault:?}");
        assert_eq!(seen[1].objects.len(), 0, "{fault:?}");
    }
    // It needs no clock of a certain pace that a run with work takes longer than one without.
    let (_folder, path) = written(Fault::Slow);
    let model = load(&path, None).unwrap();
    let run = |scene: &Scene| {
        let mut io = model.io();
        let gstvigil::engine::TensorData::F32(values) = &mut io.inputs[0].data else { panic!("no floats") };
        values.fill(f32::from(scene.grey) / 255.0);
        let times = (0..5).map(|_| {
            let start = std::time::Instant::now();
            model.lanes().engine().run(&mut io, None).unwrap();
            start.elapsed()
        });
        times.min().unwrap()
    };
    assert!(run(&BRIGHT) > run(&DARK) * 4);
}

#[test]
fn models_that_kill_or_starve_the_runtime_do_it_in_a_process_of_its_own() {
    let isolated = Isolated { memory_max: 700 << 20, ..Isolated::default() };
    for fault in [Fault::CrashingAtLoad, Fault::Hungry] {
        let (_folder, path) = written(fault);
        assert!(matches!(load(&path, Some(isolated.clone())), Err(ModelError::Engine { .. })), "{fault:?}");
    }
    let (_folder, path) = written(Fault::OutdatedReference);
    load(&path, Some(isolated)).unwrap();
}
