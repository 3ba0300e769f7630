use super::*;

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// What a file comes to: the keys that it says about the bundle, as text.
fn said(infer: &Infer) -> Vec<(String, String)> {
    infer.said.iter().map(|s| (s.given.key.clone(), s.given.value.to_string())).collect()
}

fn value(infer: &Infer, key: &str) -> Option<String> {
    said(infer).into_iter().rev().find(|(k, _)| k == key).map(|(_, v)| v)
}

#[test]
fn a_detector_has_its_input_thresholds_and_labels() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "labels.txt", "person\ncar\n\n");
    let text = "[property]\ngpu-id=0\nnet-scale-factor=0.0039215697906911373\noffsets=1;2.5;3\nmodel-color-format=1\n\
                onnx-file=../m/yolo.onnx\nlabelfile-path=labels.txt\ninfer-dims=3;384;640\nnum-detected-classes=2\n\
                maintain-aspect-ratio=1\nsymmetric-padding=1\ncluster-mode=2\ninterval=4\ngie-unique-id=7\n\
                parse-bbox-func-name=NvDsInferParseYolo\nnetwork-mode=2\nmade-up=1\n\
                [class-attrs-all]\npre-cluster-threshold=0.25\nnms-iou-threshold=0.45\ntopk=300\n\
                [class-attrs-1]\npre-cluster-threshold=0.6\ntopk=5\n[class-attrs-9]\npre-cluster-threshold=0.6\n";
    let path = write(folder.path(), "c.txt", text);
    let mut findings = Findings::default();
    let infer = read(&path, 25.0, &mut findings).unwrap();
    assert_eq!((infer.name.as_str(), infer.id, infer.secondary), ("yolo", Some(7), false));
    assert_eq!(infer.model.clone().unwrap(), folder.path().parent().unwrap().join("m/yolo.onnx"));
    assert_eq!(infer.labels.as_deref().unwrap(), &["person".into(), "car".into()]);
    for (key, expected) in [
        ("input.std", "[255.0, 255.0, 255.0]"),
        ("input.mean", "[1.0, 2.5, 3.0]"),
        ("input.color", "\"bgr\""),
        ("input.size", "[640, 384]"),
        ("input.resize", "\"letterbox\""),
        ("input.align", "\"center\""),
        ("input.pad", "0"),
        ("output.confidence", "0.25"),
        ("output.iou", "0.45"),
        ("output.max-objects", "300"),
        ("output.per-class", "{ car = 0.6 }"),
    ] {
        assert_eq!(value(&infer, key).as_deref(), Some(expected), "{key}");
    }
    assert_eq!(value(&infer, "output.decoder"), None, "the model's shapes tell");
    assert_eq!(infer.properties.get("interval"), Some(&Scalar::Integer(4)));
    let told: Vec<String> = findings.0.iter().filter(|f| f.level == Level::Lost).map(|f| f.what.clone()).collect();
    assert_eq!(
        told,
        ["[class-attrs-1] topk = 5", "[class-attrs-9] pre-cluster-threshold = 0.6", "[property] made-up = 1"]
    );
}

#[test]
fn what_nvinfer_means_without_a_word_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "plain.txt", "[property]\nonnx-file=a.onnx\n");
    let infer = read(&path, 25.0, &mut Findings::default()).unwrap();
    for (key, expected) in [
        ("input.std", "[1.0, 1.0, 1.0]"),
        ("input.mean", "[0.0, 0.0, 0.0]"),
        ("input.color", "\"rgb\""),
        ("input.resize", "\"stretch\""),
        ("output.confidence", "0.2"),
        ("output.iou", "0.3"),
    ] {
        assert_eq!(value(&infer, key).as_deref(), Some(expected), "{key}");
    }
}

#[test]
fn a_secondary_classifier_looks_at_objects_and_names_its_attribute() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "labels.txt", "red;green;dark blue;\n");
    let text = "property:\n  onnx-file: c.onnx\n  labelfile-path: labels.txt\n  network-type: 1\n  process-mode: 2\n  \
                classifier-threshold: 0.51\n  classifier-type: colour\n  operate-on-gie-id: 1\n  \
                operate-on-class-ids: 0;2\n  input-object-min-width: 64\n  input-object-min-height: 48\n  \
                secondary-reinfer-interval: 90\n  model-color-format: 2\n  net-scale-factor: 0.5\n  offsets: '128'\n";
    let path = write(folder.path(), "c.yml", text);
    let mut findings = Findings::default();
    let mut infer = read(&path, 30.0, &mut findings).unwrap();
    assert_eq!((infer.name.as_str(), infer.secondary, infer.operates_on), ("colour", true, Some(1)));
    assert_eq!(infer.labels.as_deref().unwrap(), &["red".into(), "green".into(), "dark blue".into()]);
    assert_eq!(value(&infer, "task").as_deref(), Some("\"classify\""));
    assert_eq!(value(&infer, "output.confidence").as_deref(), Some("0.51"));
    assert_eq!(value(&infer, "input.mean").as_deref(), Some("[128.0]"), "gray has one channel");
    assert_eq!(value(&infer, "input.std").as_deref(), Some("[2.0]"));
    infer.look_at(&["person".into(), "bag".into(), "face".into()].into());
    let text = |key: &str| match infer.properties.get(key) {
        Some(Scalar::Text(text)) => text.clone(),
        other => format!("{other:?}"),
    };
    assert_eq!((text("object-class"), text("reinfer-time")), ("person,face".into(), "3s".into()));
    assert_eq!(infer.properties.get("object-min-size"), Some(&Scalar::Integer(48)));
}

#[test]
fn models_that_only_tensorrt_runs_are_told() {
    let folder = tempfile::tempdir().unwrap();
    for (line, expected) in [
        ("model-engine-file=a.engine", "an engine of TensorRT runs on the GPU"),
        ("tlt-encoded-model=a.etlt", "a.etlt is a model for TensorRT only"),
        ("model-file=a.caffemodel", "a.caffemodel is a model for TensorRT only"),
        ("uff-file=a.uff", "a.uff is a model for TensorRT only"),
        ("batch-size=1", "there is no `onnx-file`"),
    ] {
        let path = write(folder.path(), "c.txt", &format!("[property]\n{line}\n"));
        let error = read(&path, 25.0, &mut Findings::default()).unwrap().model.unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    let path = write(folder.path(), "c.txt", "[property]\nmodel-file=a.onnx\nmodel-engine-file=a.engine\n");
    assert!(read(&path, 25.0, &mut Findings::default()).unwrap().model.is_ok(), "older files name ONNX models so");
    let path = write(folder.path(), "c.txt", "[other]\n");
    assert!(read(&path, 25.0, &mut Findings::default()).unwrap_err().contains("no group [property]"));
}

#[test]
fn names_are_names_of_bundles() {
    for name in ["yolo v8/s.b1", "..hidden", "_x", "", "ä"] {
        let name = name_of(name);
        assert_eq!(crate::bundle::names::check_name(&name), Ok(()), "{name}");
    }
    assert_eq!((duration(2.0), duration(0.04), duration(0.0)), ("2s".into(), "40ms".into(), "1ms".into()));
}
