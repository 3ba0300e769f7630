use proptest::prelude::*;

use super::super::contract::{Activation, Align, AnchorConfig, Color, DecoderKind, Layout};
use super::*;

fn draft() -> Draft {
    let input = InputContract {
        layout: Layout::Nchw,
        width: 640,
        height: 384,
        color: Color::Rgb,
        resize: Resize::Letterbox,
        antialias: false,
        crop_fraction: 1.0,
        align: Align::Center,
        pad: 114,
        mean: [0.0; 3],
        std: [255.0; 3],
        quantization: None,
    };
    Draft {
        name: "people".into(),
        release: "1".into(),
        license: None,
        task: Task::Detect,
        labels: ["person", "it's \"it\""].map(Into::into).into(),
        input,
        output: OutputContract::new(DecoderKind::Yolov8),
        precision: Some(Precision::Fp32),
        known: [("input.size", Known::Read), ("output.decoder", Known::Recognised)]
            .map(|(k, v)| (k.into(), Reason::new(v, "a test")))
            .into(),
    }
}

fn model(dir: &Path) -> PathBuf {
    let path = dir.join("m.onnx");
    fs::write(&path, onnx_file::TINY).unwrap();
    path
}

#[test]
fn a_new_bundle_opens_and_says_what_the_draft_said() {
    let dir = tempfile::tempdir().unwrap();
    let draft = draft();
    let out = dir.path().join("deep/people");
    let bundle = write_new(&model(dir.path()), &draft, &out).unwrap();
    assert_eq!(bundle.origin, out);
    assert_eq!((&bundle.name, &bundle.release, bundle.task), (&draft.name, &draft.release, draft.task));
    assert_eq!((&bundle.input, &bundle.output, &bundle.labels), (&draft.input, &draft.output, &draft.labels));
    assert_eq!(bundle.files().collect::<Vec<_>>(), ["bundle.toml", "labels.txt", "model.onnx"]);
    assert_eq!(*bundle.weights(&bundle.variants[0]).unwrap(), *onnx_file::TINY);
    let text = fs::read_to_string(out.join("bundle.toml")).unwrap();
    assert!(text.contains("\nsize = [640, 384]\n"), "{text}");
    assert!(text.contains("\nstd = [255.0, 255.0, 255.0]  # assumed\n"), "{text}");
    let top = "name = \"people\"  # assumed\nrelease = \"1\"  # assumed\ntask = \"detect\"\nlabels = \"labels.txt\"  # assumed\n";
    assert!(text.contains(top), "the task is recognised with the decoder: {text}");
    assert_eq!(fs::read_dir(dir.path().join("deep")).unwrap().count(), 1, "nothing is left beside the folder");
}

#[test]
fn refusals_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let (model, out) = (model(dir.path()), dir.path().join("out"));
    let refused = |draft: &Draft, model: &Path| {
        let text = write_new(model, draft, &out).unwrap_err().to_string();
        assert_eq!(fs::read_dir(dir.path()).unwrap().filter(|e| e.as_ref().unwrap().path().is_dir()).count(), 0);
        text
    };
    let text = refused(&Draft { labels: Labels::new(), ..draft() }, &model);
    assert!(text.ends_with("the labels are not known: give a file with one per line (--labels)"), "{text}");
    let text = refused(&Draft { name: "a b".into(), ..draft() }, &model);
    let message =
        "m.onnx: the name \"a b\" contains ' '; letters, digits and . _ - + are allowed; give another one with --name";
    assert!(text.ends_with(message), "{text}");
    let mut wrong = draft();
    wrong.input.std = [0.0; 3];
    assert!(refused(&wrong, &model).contains("`input.std`: "));
    let picture = dir.path().join("p.onnx");
    fs::write(&picture, b"\x89PNG\r\n").unwrap();
    assert!(refused(&draft(), &picture).contains("not an ONNX model: it is a PNG picture"));

    fs::write(&out, "mine").unwrap();
    let text = write_new(&model, &draft(), &out).unwrap_err().to_string();
    assert!(text.ends_with("exists already; name another folder with -o, or remove it first"), "{text}");
    assert_eq!(fs::read_to_string(&out).unwrap(), "mine");
}

#[test]
fn values_that_come_together_are_known_together() {
    let mut draft = draft();
    draft.known.insert("input.resize".into(), Reason::new(Known::Recognised, "a test"));
    let known = |key: &str| draft.values().iter().find(|v| v.key == key).unwrap().known;
    assert_eq!((known("input.resize"), known("input.pad")), (Known::Recognised, Known::Recognised));
    assert_eq!(known("task"), Known::Recognised, "it follows from the decoder");
    assert_eq!((known("input.size"), known("input.mean")), (Known::Read, Known::Assumed));
}

fn given(texts: &[&str]) -> Vec<Given> {
    texts.iter().map(|t| t.parse().unwrap()).collect()
}

#[test]
fn what_the_user_gives_is_taken_and_known() {
    let mut draft = draft();
    let texts = [
        "output.decoder=yolov5",
        "output.yolo-anchors=[[10, 13, 16, 30, 33, 23]]",
        "input.resize=stretch",
        "output.per-class.person=0.3",
        "output.confidence = 0.2",
    ];
    draft.give(&given(&texts)).unwrap();
    assert_eq!((draft.output.decoder, draft.output.confidence), (DecoderKind::Yolov5, 0.2));
    assert_eq!(draft.output.per_class, [(0, 0.3)]);
    assert_eq!(draft.output.yolo_anchors, Some(vec![vec![[10.0, 13.0], [16.0, 30.0], [33.0, 23.0]]]));
    assert_eq!(draft.input.resize, Resize::Stretch);
    let known = |key: &str| draft.values().into_iter().find(|v| v.key == key).unwrap();
    for key in ["output.decoder", "output.yolo-anchors", "input.resize", "output.per-class", "output.confidence"] {
        assert_eq!((known(key).known, known(key).because.as_str()), (Known::Given, "you said so"), "{key}");
    }
    assert_eq!((known("input.size").known, known("input.size").because.as_str()), (Known::Read, "a test"));
    assert_eq!(known("output.iou").because, "Vigil's default");
    assert_eq!(manifest::parse(draft.manifest("m", &"0".repeat(64)).as_bytes(), "m").unwrap().input, draft.input);
}

#[test]
fn what_the_user_gives_is_checked_like_any_bundle() {
    let refused = |text: &str| draft().give(&given(&[text])).unwrap_err();
    let text = refused("output.decoder=yolov9");
    assert!(text.starts_with("--set: `output.decoder`: unknown value \"yolov9\"; did you mean"), "{text}");
    let text = refused("output.confidence=7");
    assert_eq!(text, "--set: `output.confidence`: 7 is not allowed; it lies in 0..1");
    let text = refused("output.confidense=0.5");
    assert!(text.contains("`output.confidense`: unknown key; did you mean `confidence`?"), "{text}");
    let text = refused("output.decoder.x=1");
    assert_eq!(text, "--set output.decoder.x: `output.decoder` is no table");
    for key in ["format", "labels", "variant", "reference"] {
        let text = format!("{key}=1").parse::<Given>().unwrap_err();
        assert!(text.contains(key) && text.contains("cannot be set"), "{text}");
    }
    for text in ["", "output.decoder", "=1", "a..b=1"] {
        assert!(text.parse::<Given>().unwrap_err().contains("KEY=VALUE"), "{text}");
    }
}

fn anchors() -> impl Strategy<Value = AnchorConfig> {
    (prop::collection::vec(1u32..80, 1..6), 0.01f32..0.5, any::<bool>(), any::<bool>()).prop_map(
        |(feature_maps, min_scale, reduce_lowest, interpolated_scale)| AnchorConfig {
            feature_maps,
            min_scale,
            max_scale: min_scale * 2.0,
            aspect_ratios: vec![1.0, 2.0, 1.0 / 3.0],
            reduce_lowest,
            interpolated_scale,
            box_scales: [10.0, 10.0, 5.0, 1e-3],
        },
    )
}

proptest! {
    #[test]
    fn a_written_manifest_reads_back_equal(
        (width, height) in (1u32..=8192, 1u32..=8192),
        (gray, nhwc, stretch, pad) in (any::<bool>(), any::<bool>(), any::<bool>(), any::<u8>()),
        (antialias, fraction) in (any::<bool>(), 0.01f32..=1.0),
        (mean, std) in (-300f32..300.0, 0.001f32..300.0),
        (confidence, iou, class) in (0f32..=1.0, 0f32..=1.0, 0f32..=1.0),
        (max_objects, class_agnostic, class_offset) in (1usize..=10_000, any::<bool>(), 0u32..=1000),
        anchors in prop::option::of(anchors()),
    ) {
        let mut draft = draft();
        let input = &mut draft.input;
        (input.width, input.height) = (width, height);
        if gray { input.color = Color::Gray }
        if nhwc { input.layout = Layout::Nhwc }
        if stretch {
            (input.resize, input.crop_fraction) = (Resize::Crop, fraction);
        } else {
            input.pad = pad;
        }
        input.antialias = antialias;
        (input.mean, input.std) = ([mean; 3], [std; 3]);
        let decoder = if anchors.is_some() { DecoderKind::SsdAnchors } else { DecoderKind::Yolox };
        draft.output = OutputContract {
            confidence, iou, max_objects, class_agnostic, class_offset, anchors,
            per_class: vec![(1, class)],
            activation: Some(Activation::Sigmoid),
            ..OutputContract::new(decoder)
        };
        let text = draft.manifest("a.onnx", &"0".repeat(64));
        let read = manifest::parse(text.as_bytes(), "m").unwrap();
        prop_assert_eq!(&read.input, &draft.input);
        prop_assert_eq!(read.output(&draft.labels).unwrap(), draft.output);
    }
}
