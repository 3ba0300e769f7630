//! The programs in examples/ that show how to read results and how to replace a model: they build, run, and say the same in
//! every language.
//!
//! They need what `make setup` installs: the runtime, the bundle `people`, the clip, Python's GStreamer bindings.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use common::bundles::{Fault, good, good_other};
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
        let stage = Self::without_clip();
        let line = "avidemux ! identity eos-after=20 ! mux.video_0 avimux name=mux !";
        run(stage
            .command("gst-launch-1.0")
            .args(["-q", "filesrc", &format!("location={}", clip.display()), "!"])
            .args(line.split(' '))
            .args(["filesink", &format!("location={}", stage.clip().display())]));
        stage
    }

    fn without_clip() -> Self {
        run(cargo("build").args(["--lib", "--bins", "--examples"]));
        Self { folder: tempfile::tempdir().unwrap() }
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

/// An example in C, built with these packages.
fn compiled(stage: &Stage, name: &str, packages: &[&str]) -> PathBuf {
    let program = stage.folder.path().join(name);
    let flags = run(Command::new("pkg-config").args(["--cflags", "--libs"]).args(packages));
    run(Command::new("cc")
        .args(["-Wall", "-Werror", "-o"])
        .args([&program, &Path::new(SOURCE).join(format!("examples/{name}.c"))])
        .args(flags.split_whitespace()));
    program
}

#[test]
fn the_c_example_reads_the_same() {
    let stage = Stage::new();
    let program = compiled(&stage, "embed", &["gstreamer-1.0", "gstreamer-video-1.0"]);
    assert_eq!(run(stage.command(&program).arg(stage.clip())), rust());
}

#[test]
fn the_python_example_reads_the_same() {
    let python = python();
    let stage = Stage::new();
    let script = Path::new(SOURCE).join("examples/embed.py");
    assert_eq!(run(stage.command(python).arg(script).arg(stage.clip())), rust());
}

/// A Python with GStreamer's bindings.
fn python() -> &'static str {
    // Debian's own, which has the bindings; another Python may come first in PATH.
    let python = "/usr/bin/python3";
    let bindings = "import gi; gi.require_version('Gst', '1.0'); gi.require_version('GstVideo', '1.0'); \
                    from gi.repository import Gst, GstVideo";
    let has_bindings = Command::new(python).args(["-c", bindings]).output().is_ok_and(|o| o.status.success());
    assert!(
        has_bindings,
        "{python} lacks GStreamer's bindings: run `make setup`, which installs python3-gi and gir1.2-gst-plugins-base-1.0"
    );
    python
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

/// What a swap's example prints and its exit code, with a good bundle to swap to and back, or with one that is refused.
fn swaps(language: &str) {
    let stage = Stage::without_clip();
    let folder = stage.folder.path();
    let program = |new: &Path| {
        let mut program = match language {
            "c" => stage.command(compiled(&stage, "swap", &["gstreamer-1.0"])),
            "python" => {
                let mut python = stage.command(python());
                python.arg(Path::new(SOURCE).join("examples/swap.py"));
                python
            }
            _ => {
                let mut cargo = stage.dress(cargo("run"));
                cargo.args(["--example", "swap", "--"]);
                cargo
            }
        };
        program.arg(good("1").folder(folder)).arg(new);
        program
    };
    let printed = run(&mut program(&good_other("2").archive(folder)));
    let there_and_back = [("reds 1", "reds 2"), ("reds 2", "reds 1")].map(|(old, new)| {
        let step = |phase: &&str| format!("{phase}: {old} -> {new}\n");
        let steps = ["staged", "verified", "loaded", "proven", "activated", "probation", "confirmed"];
        format!("requested: {old}\n") + &steps.iter().map(step).collect::<String>()
    });
    assert_eq!(printed, there_and_back.concat());

    let output = program(&Fault::OutdatedReference.write("3", folder)).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let printed = String::from_utf8_lossy(&output.stdout);
    let last = printed.lines().last().unwrap();
    assert!(last.starts_with("rejected: reds 1 -> reds 3 (reference-mismatch: "), "{printed}");
}

#[test]
fn the_rust_example_swaps_a_model() {
    swaps("rust");
}

#[test]
fn the_c_example_swaps_a_model() {
    swaps("c");
}

#[test]
fn the_python_example_swaps_a_model() {
    swaps("python");
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
