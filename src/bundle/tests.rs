use std::fs;

use super::*;

/// Name and content of the files of a bundle.
pub(crate) type Content = BTreeMap<String, Vec<u8>>;

/// A valid bundle of three classes with the smallest model.
pub(crate) fn small_bundle() -> Content {
    let manifest = format!(
        r#"format = 1
name = "people"
release = "2026.11.1"
task = "detect"
labels = "labels.txt"
license = "Apache-2.0"

[input]
layout = "nchw"
size = [640, 480]
color = "rgb"
resize = "letterbox"
mean = [0, 0, 0]
std = [255.0, 255, 255]

[output]
decoder = "yolov8"
per-class = {{ person = 0.3 }}

[[variant]]
file = "model.onnx"
sha256 = "{}"
precision = "fp32"
providers = ["cpu"]
"#,
        digest::of_bytes(onnx_file::TINY)
    );
    [
        ("bundle.toml", manifest.into_bytes()),
        ("labels.txt", b"bicycle\nperson\ncar\n".to_vec()),
        ("model.onnx", onnx_file::TINY.to_vec()),
    ]
    .map(|(name, content)| (name.to_owned(), content))
    .into()
}

pub(crate) fn write_folder(dir: &Path, files: &Content) {
    for (name, content) in files {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

/// The files with the first `from` in the manifest replaced.
pub(crate) fn edited(from: &str, to: &str) -> Content {
    let mut files = small_bundle();
    let text = String::from_utf8(files["bundle.toml"].clone()).unwrap();
    assert!(text.contains(from), "{from}");
    files.insert("bundle.toml".into(), text.replacen(from, to, 1).into_bytes());
    files
}

fn error(files: Content) -> String {
    Bundle::from_files(Path::new("people"), files).unwrap_err().to_string()
}

#[test]
fn a_folder_and_its_archive_are_the_same_bundle() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("people");
    write_folder(&folder, &small_bundle());
    fs::create_dir(folder.join(".git")).unwrap();
    fs::write(folder.join(".git/config"), "hidden").unwrap();
    let opened = Bundle::open(&folder).unwrap();
    let archive = dir.path().join(pack::default_file_name(&opened));
    assert_eq!(archive.file_name().unwrap(), "people-2026.11.1.vigil");
    pack::write_file(&opened, &archive).unwrap();
    let unpacked = Bundle::open(&archive).unwrap();
    assert_eq!(unpacked.digest, opened.digest);
    assert_eq!(unpacked.files().collect::<Vec<_>>(), ["bundle.toml", "labels.txt", "model.onnx"]);
    for bundle in [&opened, &unpacked] {
        assert_eq!(bundle.name, "people");
        assert_eq!(bundle.output.per_class, [(1, 0.3)]);
        let cpu = bundle.variant_for("cpu").unwrap();
        assert_eq!(*bundle.weights(cpu).unwrap(), *onnx_file::TINY);
        assert_eq!(bundle.variant_for("cuda"), None);
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing is left beside the archive");
}

#[test]
fn packing_ignores_times_modes_and_order_of_creation() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    write_folder(&a, &small_bundle());
    fs::create_dir(&b).unwrap();
    for (name, content) in small_bundle().iter().rev() {
        fs::write(b.join(name), content).unwrap();
        fs::set_permissions(b.join(name), fs::Permissions::from_mode(0o700)).unwrap();
        let file = fs::File::options().write(true).open(b.join(name)).unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
    }
    let bytes = [a, b].map(|d| pack::write(&Bundle::open(&d).unwrap(), Vec::new()).unwrap());
    assert_eq!(bytes[0], bytes[1]);
}

#[test]
fn an_archive_is_not_written_into_its_own_folder() {
    let dir = tempfile::tempdir().unwrap();
    write_folder(dir.path(), &small_bundle());
    let bundle = Bundle::open(dir.path()).unwrap();
    let text = pack::write_file(&bundle, &dir.path().join("x.vigil")).unwrap_err().to_string();
    assert!(text.ends_with("lies in the bundle itself; name a file outside of it with -o"), "{text}");
}

#[test]
fn files_that_the_manifest_names_must_be_there() {
    let without = |name: &str| {
        let mut files = small_bundle();
        files.remove(name);
        error(files)
    };
    let no_file = |file: &str, key: &str| {
        format!("people: bundle.toml names \"{file}\" (key `{key}`), but there is no such file in the bundle")
    };
    assert_eq!(without("labels.txt"), no_file("labels.txt", "labels"));
    assert_eq!(without("model.onnx"), no_file("model.onnx", "variant.file"));
    let reference = "[reference]\nimages = [\"reference/*.png\"]\nexpected = \"reference/expected.json\"\n[output]";
    let mut files = edited("[output]", reference);
    assert_eq!(error(files.clone()), no_file("reference/expected.json", "reference.expected"));
    files.insert("reference/expected.json".into(), b"{}".to_vec());
    files.insert("reference/deep/1.png".into(), Vec::new());
    assert_eq!(error(files.clone()), no_file("reference/*.png", "reference.images"));
    files.insert("reference/1.png".into(), Vec::new());
    let bundle = Bundle::from_files(Path::new("people"), files).unwrap();
    assert_eq!(bundle.reference_images(), ["reference/1.png"]);
}

#[test]
fn a_wrong_digest_names_the_file_and_both_digests() {
    let mut files = small_bundle();
    files.insert("model.onnx".into(), b"abc".to_vec());
    assert_eq!(
        error(files),
        format!(
            "people: model.onnx is not the file that was promised: SHA-256 {} expected, \
             ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad found; it is damaged, or was replaced \
             without a new digest",
            digest::of_bytes(onnx_file::TINY)
        )
    );
}

#[test]
fn a_file_that_changes_after_opening_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    write_folder(dir.path(), &small_bundle());
    let bundle = Bundle::open(dir.path()).unwrap();
    fs::write(dir.path().join("model.onnx"), [onnx_file::TINY, b"x"].concat()).unwrap();
    let text = bundle.weights(&bundle.variants[0]).unwrap_err().to_string();
    assert!(text.contains("model.onnx is not the file that was promised"), "{text}");
    fs::remove_file(dir.path().join("model.onnx")).unwrap();
    let text = bundle.weights(&bundle.variants[0]).unwrap_err().to_string();
    assert_eq!(text, format!("{}: no such file or folder", dir.path().join("model.onnx").display()));
}

#[test]
fn weights_that_are_no_model_are_refused() {
    let text_sha = digest::of_bytes(b"just text");
    let mut files = edited(&digest::of_bytes(onnx_file::TINY), &text_sha);
    files.insert("model.onnx".into(), b"just text".to_vec());
    let bundle = Bundle::from_files(Path::new("people"), files).unwrap();
    let text = bundle.weights(&bundle.variants[0]).unwrap_err().to_string();
    assert_eq!(text, "people/model.onnx: not an ONNX model: its structure is not that of a model");
}

#[test]
fn links_in_a_folder_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    write_folder(dir.path(), &small_bundle());
    std::os::unix::fs::symlink("/etc/hostname", dir.path().join("extra")).unwrap();
    let text = Bundle::open(dir.path()).unwrap_err().to_string();
    assert!(text.ends_with("extra: links are not allowed in a bundle; put the file itself there"), "{text}");
}

#[test]
fn a_bare_model_goes_with_every_provider() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("yolo.onnx");
    fs::write(&path, onnx_file::TINY).unwrap();
    let from = Bundle::from_files(Path::new("people"), small_bundle()).unwrap();
    let sha256 = digest::of_bytes(onnx_file::TINY);
    let size = onnx_file::TINY.len() as u64;
    let bundle = Bundle::bare(&path, (sha256.clone(), size), Task::Detect, from.labels, from.input, from.output);
    assert_eq!((bundle.name.as_str(), bundle.release.as_str(), &bundle.digest), ("yolo", "", &sha256));
    assert_eq!(*bundle.weights(bundle.variant_for("cuda").unwrap()).unwrap(), *onnx_file::TINY);
}

#[test]
fn verify_reports_every_mistake() {
    let dir = tempfile::tempdir().unwrap();
    let mut files = small_bundle();
    write_folder(dir.path(), &files);
    let good = verify::verify(dir.path(), &[]);
    assert!(good.to_string().contains("  0.4 for all but 1 class\n"), "{good}");
    assert!(good.ok, "{good}");
    assert_eq!(good.checks.len(), 6);
    assert!(good.to_string().contains("ok   signature           not signed, and no public key"), "{good}");
    assert_eq!(good.digest, Some(Bundle::open(dir.path()).unwrap().digest));

    files.insert("labels.txt".into(), b"a\n\nb".to_vec());
    files.insert("model.onnx".into(), b"abc".to_vec());
    write_folder(dir.path(), &files);
    let bad = verify::verify(dir.path(), &[]);
    let failed: Vec<&str> = bad.checks.iter().filter(|c| !c.ok).map(|c| c.check.as_str()).collect();
    assert_eq!(failed, ["labels", "variant model.onnx"]);
    assert!(!bad.ok);
    let key = sign::SecretKey::generate().unwrap().public();
    let unsigned = verify::verify(dir.path(), &[key]);
    assert!(unsigned.checks.iter().any(|c| c.check == "signature" && !c.ok), "{unsigned}");
    let absent = verify::verify(&dir.path().join("absent"), &[]);
    assert_eq!((absent.ok, absent.digest, absent.checks.len()), (false, None, 1));
}

#[test]
fn the_summary_tells_the_essentials() {
    let bundle = Bundle::from_files(Path::new("people"), small_bundle()).unwrap();
    let text = summary::Text(&bundle).to_string();
    assert!(text.contains("input      640x480 rgb nchw, letterbox (center, pad 114)"), "{text}");
    assert!(text.contains("output     yolov8, confidence 0.4, IoU 0.5, person 0.3"), "{text}");
    assert!(text.contains("labels     3: bicycle, person, car\n"), "{text}");
    assert!(text.contains("signed     no\n"), "{text}");
    let json = summary::to_json(&bundle);
    assert_eq!(json["labels"][1], "person");
    assert_eq!(json["input"]["size"], serde_json::json!([640, 480]));
    assert_eq!(json["digest"], bundle.digest);
    assert_eq!(json["signed-by"], serde_json::json!([]));
}
