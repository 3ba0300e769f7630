//! `vigil bundle install`, `list`, `use`, `rollback`, `gc`, `keygen` and `sign`, as a user runs them.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use gstvigil::bundle::{Bundle, digest};
use gstvigil::paths;
use gstvigil::store::Store;
use serde_json::Value;

/// A folder of its own with a home, and in it a store.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn store(&self) -> Store {
        Store::at(&self.path("home/store"))
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vigil"));
        command.arg("bundle").args(args).current_dir(self.dir.path());
        command.env("VIGIL_HOME", self.path("home"));
        for name in ["VIGIL_STORE", "VIGIL_PUBLIC_KEYS", "VIGIL_BUNDLE_PATH"] {
            command.env_remove(name);
        }
        // The runtime of whoever runs the tests may lie in their own home.
        if let Some(library) = paths::runtime_candidates(None, None).into_iter().find(|path| path.is_file()) {
            command.env("VIGIL_ORT_LIBRARY", library);
        }
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// What a command that must succeed prints.
    fn good(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    /// What a command that must fail says.
    fn bad(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {}", text(&output.stdout));
        text(&output.stderr)
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.good(args)).unwrap()
    }

    /// The folder of a bundle `red` of that release that runs.
    fn bundle(&self, release: &str) -> String {
        let folder = format!("red-{release}");
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/red.onnx").display().to_string();
        self.good(&["new", &model, "--name", "red", "--release", release, "-o", &folder]);
        folder
    }

    /// Current, previous and candidate of `red`.
    fn selection(&self) -> [Option<String>; 3] {
        let s = self.store().selection("red").unwrap();
        [s.current, s.previous, s.candidate]
    }

    fn releases(&self) -> Vec<String> {
        self.store().list().unwrap().into_iter().flat_map(|e| e.releases).map(|r| r.release).collect()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn some<const N: usize>(releases: [&str; N]) -> [Option<String>; N] {
    releases.map(|r| (!r.is_empty()).then(|| r.to_owned()))
}

#[test]
fn a_release_lives_from_installation_to_collection() {
    let place = Place::new();
    assert!(place.good(&["list"]).contains("is empty; vigil bundle install BUNDLE puts one there"));
    let (one, two) = (place.bundle("1"), place.bundle("2"));
    let said = place.good(&["install", &one]);
    assert_eq!(said, "red 1 installed\nit is current: model=red runs it\n");
    assert!(place.good(&["install", &one]).starts_with("red 1 was installed already\n"));

    place.good(&["pack", &two]);
    let said = place.good(&["install", "red-2.vigil"]);
    assert!(
        said.ends_with(
            "current is still 1; prove the new one here, and let those who play red try it: vigil bundle \
                            use red@2\n"
        ),
        "{said}"
    );
    assert!(place.good(&["show", "red"]).contains("release    1\n"), "model=red is the current release");
    assert!(place.good(&["show", "red@2"]).contains("release    2\n"));

    let said = place.good(&["use", "red@2"]);
    assert!(said.starts_with("red 2 is whole, loads"), "{said}");
    assert!(said.contains("it is the candidate") && said.contains("until then 1 stays current"), "{said}");
    assert_eq!(place.selection(), some(["1", "", "2"]));
    let said = place.good(&["use", "red@2", "--now"]);
    assert!(said.contains("1 is previous: vigil bundle rollback red goes back"), "{said}");
    assert_eq!(place.selection(), some(["2", "1", ""]));

    let said = place.good(&["rollback", "red"]);
    assert!(
        said.contains("red 1 is current again") && said.contains("vigil bundle use red@2 tries it again"),
        "{said}"
    );
    assert_eq!(place.selection(), some(["1", "", ""]));
    let listed = place.good(&["list"]);
    assert!(listed.contains("2  rejected") && listed.contains(": rolled back by hand\n"), "{listed}");

    // The very release that another process has open stays.
    let held = place.store().resolve("red", Some("2")).unwrap().unwrap();
    let listed = place.json(&["list", "--json"]);
    let second = &listed["bundles"][0]["releases"][1];
    assert_eq!(
        (&second["release"], &second["role"], &second["in-use"]),
        (&"2".into(), &"rejected".into(), &true.into())
    );
    assert_eq!(second["digest"], held.bundle.digest);
    assert!(place.good(&["gc"]).starts_with("0 B freed"));
    drop(held);
    assert!(place.good(&["gc"]).starts_with("removed red@2, "));
    assert_eq!(place.releases(), ["1"]);
}

#[test]
fn what_is_asked_for_wrongly_is_answered_with_advice() {
    let place = Place::new();
    assert!(place.bad(&["use", "red@1"]).contains("it is empty; vigil bundle install puts one there"));
    place.good(&["install", &place.bundle("1")]);
    assert!(place.bad(&["use", "red"]).contains("write red@RELEASE; vigil bundle list red shows them"));
    assert!(place.bad(&["use", "red@2"]).contains("the installed releases are 1"));
    assert!(place.bad(&["use", "../../etc@1"]).contains("the name \"../../etc\" contains '/'"));
    assert!(place.bad(&["rollback", "red"]).contains("red has no previous release to go back to"));
    assert!(place.bad(&["list", "blue"]).contains("blue is not in the store"));
    assert!(place.bad(&["show", "red@2"]).contains("the installed releases are 1"));
    assert!(place.bad(&["show", "rde"]).contains("did you mean \"red\"?"), "names of the store are known too");
    assert!(place.bad(&["install", "absent"]).contains("absent: no such file or folder"));
    assert_eq!(place.run(&["install", "--max-size", "4", "x"]).status.code(), Some(2));
    assert_eq!(place.selection(), some(["1", "", ""]));
}

#[test]
fn a_release_that_does_not_load_is_not_used() {
    let place = Place::new();
    place.good(&["install", &place.bundle("1")]);
    let two = place.bundle("2");
    // One label too many for the model: only loading it can tell.
    std::fs::write(place.path(&two).join("labels.txt"), "red\nblue\ngreen\n").unwrap();
    place.good(&["install", &two]);
    for now in [&["use", "red@2"][..], &["use", "red@2", "--now"]] {
        let said = place.bad(now);
        assert!(said.contains("red 2 is not used, 1 stays current") && said.contains("3 labels"), "{said}");
    }
    assert_eq!(place.selection(), some(["1", "", ""]));
}

#[test]
fn a_damaged_release_is_neither_used_nor_in_the_way() {
    let place = Place::new();
    for release in ["1", "2"] {
        place.good(&["install", &place.bundle(release)]);
    }
    let model = place.path("home/store/red/2/model.onnx");
    let mut bytes = std::fs::read(&model).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&model, bytes).unwrap();
    let said = place.bad(&["use", "red@2", "--now"]);
    assert!(said.contains("model.onnx is not the file that was promised"), "{said}");
    assert!(place.good(&["show", "red"]).contains("release    1\n"));
    let said = place.good(&["install", "red-2"]);
    assert!(said.starts_with("red 2 installed\n"), "mended: {said}");
    place.good(&["use", "red@2", "--now"]);
}

#[test]
fn only_signed_bundles_are_taken_where_a_key_is_configured() {
    let place = Place::new();
    let one = place.bundle("1");
    place.good(&["install", &one]);
    let said = place.good(&["keygen", "site"]);
    assert!(said.contains("site.key  secret") && said.contains("site.pub  public, fingerprint "), "{said}");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(place.path("site.key")).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert!(place.bad(&["keygen", "site"]).contains("a key is never overwritten"));
    std::fs::create_dir(place.path("home/keys")).unwrap();
    std::fs::copy(place.path("site.pub"), place.path("home/keys/site.pub")).unwrap();

    let two = place.bundle("2");
    assert!(place.bad(&["install", &two]).contains("it is not signed, and only bundles signed by"));
    assert!(place.bad(&["use", "red@1"]).contains("it is not signed"), "it was installed before there was a key");
    assert_eq!(place.releases(), ["1"]);

    place.good(&["sign", "--key", "site.key", &two]);
    assert!(place.good(&["verify", &two]).contains("ok   signature           signed by "));
    place.good(&["pack", &two]);
    assert!(place.good(&["install", "red-2.vigil"]).starts_with("red 2 installed, signed by "));
    assert!(place.good(&["list"]).contains("signed by "));
    place.good(&["use", "red@2", "--now"]);

    // Changed after it was signed; a signature moved from another bundle; the wrong key.
    let three = place.bundle("3");
    std::fs::copy(place.path(&two).join("bundle.sig"), place.path(&three).join("bundle.sig")).unwrap();
    assert!(place.bad(&["install", &three]).contains("the signature belongs to another bundle"));
    assert!(!place.run(&["verify", &three]).status.success());
    place.good(&["keygen", "other"]);
    place.good(&["sign", "--key", "other.key", &three]);
    assert!(place.bad(&["install", &three]).contains("it is signed by "));
    place.good(&["sign", "--key", "site.key", "--add", &three]);
    place.good(&["install", &three]);
    place.good(&["install", &three, "--public-keys", "other.pub"]);

    // The signature of an archive, and one for a release that was installed without.
    place.good(&["pack", &one]);
    place.good(&["sign", "--key", "site.key", "red-1.vigil"]);
    assert!(place.good(&["install", "red-1.vigil"]).starts_with("red 1 was installed already, signed by "));
    place.good(&["use", "red@1", "--now"]);
    // A key that cannot be read guards as well.
    std::fs::write(place.path("home/keys/broken.pub"), "no key").unwrap();
    assert!(place.bad(&["install", &three]).contains("broken.pub is no Ed25519 public key in PEM"));
}

#[test]
fn processes_that_change_the_store_at_once_wait_for_each_other() {
    let place = Place::new();
    let bundles: Vec<String> = ["1", "2", "3"].iter().map(|release| place.bundle(release)).collect();
    let start = |args: &[&str]| place.command(args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut children = Vec::new();
    for bundle in bundles.iter().chain(&bundles) {
        children.push(start(&["install", bundle]));
    }
    let wait = |children: Vec<std::process::Child>| {
        for child in children {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", text(&output.stderr));
        }
    };
    wait(children);
    assert_eq!(place.releases().len(), 3);
    wait(["red@1", "red@2", "red@3"].iter().map(|release| start(&["use", release, "--now"])).collect());
    let [current, previous, candidate] = place.selection();
    assert!(current.is_some() && previous.is_some() && current != previous, "{current:?} {previous:?}");
    assert_eq!(candidate, None);
    assert!(place.store().list().unwrap()[0].warnings.is_empty());
}

#[test]
fn a_size_limit_holds() {
    let place = Place::new();
    for release in ["1", "2"] {
        place.good(&["install", &place.bundle(release)]);
    }
    let used = place.store().size().unwrap();
    let three = place.bundle("3");
    let said = place.bad(&["install", &three, "--max-size", &format!("{}B", used / 2)]);
    assert!(said.contains("raise max-size"), "{said}");
    let said = place.good(&["install", &three, "--max-size", &format!("{}B", used + 100)]);
    assert!(said.contains("removed red@2 to make room\n"), "{said}");
    std::fs::write(place.path("home/store/store.toml"), "max-size = \"1B\"\n").unwrap();
    let said = place.good(&["gc"]);
    assert!(
        said.starts_with("removed red@3, ") && said.contains("that is more than 1 B: the rest is current"),
        "{said}"
    );
    assert_eq!(place.releases(), ["1"]);
    std::fs::write(place.path("home/store/store.toml"), "max-size = 1\n").unwrap();
    assert!(place.bad(&["gc"]).contains("store.toml:1:12: `max-size`"));
}

/// Runs a shell script in which `mount` may be used; `None`, said on standard error, where that is not allowed.
fn with_mounts(script: &str, arguments: &[&Path]) -> Option<Output> {
    let run = |script: &str| Command::new("unshare").args(["-rm", "sh", "-ec", script]).args(arguments).output();
    match run("mount -t tmpfs none \"$0\"") {
        Ok(probe) if probe.status.success() => Some(run(script).unwrap()),
        Ok(probe) => {
            eprintln!("skipped: no tmpfs can be mounted here: {}", text(&probe.stderr));
            None
        }
        Err(e) => {
            eprintln!("skipped: unshare cannot be run: {e}");
            None
        }
    }
}

#[test]
fn a_full_disk_says_how_much_is_missing_and_keeps_what_was_there() {
    let place = Place::new();
    let (one, two) = (place.bundle("1"), place.bundle("2"));
    let noise: Vec<u8> = (0..6000u32).flat_map(|i| digest::of_bytes(&i.to_le_bytes()).into_bytes()).collect();
    std::fs::write(place.path(&two).join("notes.txt"), noise).unwrap();
    let size = Bundle::open(&place.path(&two)).unwrap().size();
    assert!(size > 256 * 1024);
    let (disk, home) = (place.path("disk"), place.path("disk/home"));
    std::fs::create_dir(&disk).unwrap();
    let vigil = Path::new(env!("CARGO_BIN_EXE_vigil"));
    let script = "mount -t tmpfs -o size=256k none \"$0\"; export VIGIL_HOME=\"$1\"; unset VIGIL_STORE VIGIL_PUBLIC_KEYS\n\
                  \"$2\" bundle install \"$3\"\n\
                  if \"$2\" bundle install \"$4\"; then exit 9; fi\n\
                  ls -A \"$1/store/.staging\"; \"$2\" bundle list";
    let arguments = [&*disk, &*home, vigil, &place.path(&one), &place.path(&two)];
    let Some(output) = with_mounts(script, &arguments) else { return };
    let (said, failed) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{said}{failed}");
    assert!(
        failed.contains("no room on the disk of") && failed.contains("of them are missing; nothing was installed"),
        "{failed}"
    );
    assert!(said.contains("  1  current") && !said.contains("  2  "), "{said}");
}

#[test]
fn every_release_that_a_bundle_may_have_can_be_named() {
    let place = Place::new();
    let folder = place.bundle("2026.11.1+rc1_a-b");
    place.good(&["install", &folder]);
    assert!(place.good(&["show", "red@2026.11.1+rc1_a-b"]).contains("release    2026.11.1+rc1_a-b\n"));
}

#[test]
fn doctor_tells_what_is_installed_and_whose_bundles_are_taken() {
    let place = Place::new();
    for release in ["1", "2"] {
        place.good(&["install", &place.bundle(release)]);
    }
    place.good(&["use", "red@2", "--now"]);
    let doctor = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vigil"));
        command.args(["doctor", "--json"]).env("VIGIL_HOME", place.path("home")).env_remove("VIGIL_STORE");
        command.env_remove("VIGIL_PUBLIC_KEYS");
        let output = command.output().unwrap();
        let findings: Value = serde_json::from_slice(&output.stdout).unwrap();
        let findings = findings.as_array().unwrap().clone();
        move |what: &str| -> Vec<(String, String)> {
            let of = |f: &Value, key: &str| f[key].as_str().unwrap().to_owned();
            findings.iter().filter(|f| f["what"] == what).map(|f| (of(f, "state"), of(f, "text"))).collect()
        }
    };
    let said = doctor();
    let path = place.path("home/store/red/2");
    assert!(said("bundle").contains(&("good".into(), format!("red 2 at {}", path.display()))), "{:?}", said("bundle"));
    assert!(said("signatures").is_empty());

    std::fs::remove_file(path.join("model.onnx")).unwrap();
    place.good(&["keygen", "site"]);
    std::fs::create_dir(place.path("home/keys")).unwrap();
    std::fs::copy(place.path("site.pub"), place.path("home/keys/site.pub")).unwrap();
    let said = doctor();
    let damaged = |(state, text): &(String, String)| state == "note" && text.contains("1 is used instead");
    assert!(said("bundle").iter().any(damaged), "{:?}", said("bundle"));
    assert!(said("signatures")[0].1.starts_with("only bundles signed by "));
}
