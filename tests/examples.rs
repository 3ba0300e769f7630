//! The programs in examples/ that show how to read results: they build, run, and say the same in every language.
//!
//! They need what `make setup` installs: the runtime, the bundle `people`, the clip, Python's GStreamer bindings.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

const SOURCE: &str = env!("CARGO_MANIFEST_DIR");

/// Runs a command; its standard output.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}\n{out}\n{err}");
    out.into()
}

/// The folder that this test was built in: `target/debug` or that of another profile.
fn built() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned()
}

/// A `cargo` command for that folder, where next to nothing is left to build.
fn cargo(command: &str) -> Command {
    let built = built();
    let profile = match built.file_name().unwrap().to_str().unwrap() {
        "debug" => "dev",
        other => other,
    };
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(SOURCE).args([command, "--quiet", "--offline", "--profile", profile]);
    cargo.arg("--target-dir").arg(built.parent().unwrap());
    cargo
}

/// An example's surroundings: the plugin, a registry of its own, and the first two seconds of the set-up's clip.
struct Stage {
    folder: TempDir,
}

impl Stage {
    fn new() -> Self {
        let clip = gstvigil::paths::home().unwrap().join("clips/vtest.avi");
        assert!(clip.exists(), "there is no {}: run `make setup` first", clip.display());
        run(cargo("build").arg("--lib"));
        let stage = Self { folder: tempfile::tempdir().unwrap() };
        let line = "avidemux ! identity eos-after=20 ! mux.video_0 avimux name=mux !";
        run(stage
            .command("gst-launch-1.0")
            .args(["-q", "filesrc", &format!("location={}", clip.display()), "!"])
            .args(line.split(' '))
            .args(["filesink", &format!("location={}", stage.clip().display())]));
        stage
    }

    fn clip(&self) -> PathBuf {
        self.folder.path().join("clip.avi")
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        self.dress(Command::new(program))
    }

    fn dress(&self, mut command: Command) -> Command {
        command.env("GST_PLUGIN_PATH", built()).env("GST_REGISTRY", self.folder.path().join("registry.bin"));
        command
    }
}

/// What the Rust example prints, which reads the whole frame result.
fn rust() -> &'static str {
    static PRINTED: OnceLock<String> = OnceLock::new();
    PRINTED.get_or_init(|| {
        let stage = Stage::new();
        run(stage.dress(cargo("run")).args(["--example", "embed", "--"]).arg(stage.clip()))
    })
}

#[test]
fn the_rust_example_prints_the_people_on_each_frame() {
    let lines: Vec<&str> = rust().lines().collect();
    let [frames @ .., summary] = lines.as_slice() else { panic!("nothing was printed") };
    // 20 frames in the file, of which the decoder keeps at most one back.
    assert!((19..=20).contains(&frames.len()), "{lines:#?}");
    assert_eq!(*summary, format!("{} fresh, 0 held, 0 absent", frames.len()));
    for (i, line) in frames.iter().enumerate() {
        // The clip has 10 frames a second.
        let people = line.strip_prefix(&format!("{} ms: ", i * 100)).unwrap_or_else(|| panic!("{line}"));
        // About eight people cross the scene in the clip's first two seconds; the model may miss some and see doubles.
        let found: Vec<(u64, u32)> = people.split(" #").map(|p| numbers(p.trim_start_matches('#'))).collect();
        assert!((2..=12).contains(&found.len()), "{line}");
        assert!(found.iter().all(|(number, confidence)| *number > 0 && (35..=100).contains(confidence)), "{line}");
    }
}

/// `7 52%` as numbers.
fn numbers(person: &str) -> (u64, u32) {
    let (number, confidence) = person.split_once(' ').unwrap();
    (number.parse().unwrap(), confidence.trim_end_matches('%').parse().unwrap())
}

#[test]
fn the_c_example_reads_the_same() {
    let stage = Stage::new();
    let program = stage.folder.path().join("embed");
    let flags = run(Command::new("pkg-config").args(["--cflags", "--libs", "gstreamer-1.0", "gstreamer-video-1.0"]));
    run(Command::new("cc")
        .args(["-Wall", "-Werror", "-o"])
        .args([&program, &Path::new(SOURCE).join("examples/embed.c")])
        .args(flags.split_whitespace()));
    assert_eq!(run(stage.command(&program).arg(stage.clip())), rust());
}

#[test]
fn the_python_example_reads_the_same() {
    // Debian's own, which has the bindings; another Python may come first in PATH.
    let python = "/usr/bin/python3";
    let bindings = "import gi; gi.require_version('Gst', '1.0'); gi.require_version('GstVideo', '1.0'); \
                    from gi.repository import Gst, GstVideo";
    let has_bindings = Command::new(python).args(["-c", bindings]).output().is_ok_and(|o| o.status.success());
    assert!(
        has_bindings,
        "{python} lacks GStreamer's bindings: run `make setup`, which installs python3-gi and gir1.2-gst-plugins-base-1.0"
    );
    let stage = Stage::new();
    let script = Path::new(SOURCE).join("examples/embed.py");
    assert_eq!(run(stage.command(python).arg(script).arg(stage.clip())), rust());
}

#[test]
fn an_example_says_what_is_wrong() {
    let stage = Stage::new();
    let missing = stage.folder.path().join("no.avi");
    let script = Path::new(SOURCE).join("examples/embed.py");
    let output = stage.command("/usr/bin/python3").env("LC_ALL", "C.UTF-8").arg(script).arg(missing).output().unwrap();
    assert!(!output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr).trim(), "Resource not found.");
}

#[test]
fn the_readme_shows_lines_of_the_examples() {
    let readme = std::fs::read_to_string(Path::new(SOURCE).join("README.md")).unwrap();
    for (language, file) in [("c", "embed.c"), ("python", "embed.py"), ("rust", "embed.rs")] {
        let example = std::fs::read_to_string(Path::new(SOURCE).join("examples").join(file)).unwrap();
        let shown = readme.split(&format!("```{language}\n")).nth(1).unwrap().split("```").next().unwrap();
        for line in shown.lines().map(str::trim) {
            assert!(example.lines().any(|l| l.trim() == line), "{file} has no line {line}");
        }
    }
}
