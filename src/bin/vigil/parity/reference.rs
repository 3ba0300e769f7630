//! The reference: a Python script that this command carries with it, in a process of its own.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use gstvigil::bundle::{Bundle, summary};
use gstvigil::parity::Answer;
use gstvigil::paths;
use gstvigil::post::Thresholds;
use serde_json::json;

use super::Failure;
use super::frames::Frame;

/// Says for each family in Python what its tensors mean.
const SCRIPT: &str = include_str!("../../../../scripts/parity/reference.py");

/// The exit code of the script where a module is missing.
const MODULE_MISSING: i32 = 3;

/// A folder that goes when it is no longer needed.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, Failure> {
        let base = std::env::temp_dir();
        let names = (0..100).map(|n| base.join(format!("vigil-parity-{}-{n}", std::process::id())));
        // A folder that is there already is somebody else's.
        names
            .into_iter()
            .find(|path| fs::create_dir(path).is_ok())
            .map(Self)
            .ok_or_else(|| format!("no folder can be made in {}; name another one in TMPDIR", base.display()).into())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The running script.
pub struct Reference {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    python: PathBuf,
    folder: Folder,
}

impl Reference {
    /// Starts the script with the bundle's contract and weights.
    pub fn start(
        bundle: &Bundle,
        thresholds: &Thresholds,
        threads: usize,
        python: Option<&Path>,
    ) -> Result<Self, Failure> {
        let folder = Folder::new()?;
        let variant = bundle.variant_for("cpu").ok_or("the bundle has no variant for the CPU")?;
        let model = folder.0.join("model.onnx");
        fs::write(&model, bundle.weights(variant)?)?;
        let mut request = summary::to_json(bundle);
        request["model"] = json!(model);
        request["threads"] = json!(threads);
        request["run"] = json!({
            "confidence": thresholds.confidence, "iou": thresholds.iou, "max-objects": thresholds.max_objects,
        });
        let (script, contract) = (folder.0.join("reference.py"), folder.0.join("request.json"));
        fs::write(&script, SCRIPT)?;
        fs::write(&contract, request.to_string())?;
        let python = interpreter(python);
        let errors = fs::File::create(folder.0.join("errors.txt"))?;
        let mut child = Command::new(&python)
            .arg(&script)
            .arg(&contract)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .map_err(|e| {
                format!("the reference needs Python, but {} cannot be run: {e}. {ADVICE}", python.display())
            })?;
        let (input, output) = (child.stdin.take(), child.stdout.take().ok_or("the reference has no output")?);
        Ok(Self { child, input, output: BufReader::new(output), python, folder })
    }

    /// Gives it a picture: `pixels` in a format of GStreamer's name, planes without padding.
    pub fn send(&mut self, frame: &Frame, format: &str, pixels: &[u8]) -> Result<(), Failure> {
        let input = self.input.as_mut().ok_or("the reference has no input")?;
        let header = format!("{} {} {format}\n", frame.picture.width, frame.picture.height);
        let sent = input.write_all(header.as_bytes()).and_then(|()| input.write_all(pixels));
        let sent = sent.and_then(|()| input.flush());
        sent.map_err(|_| self.reason())
    }

    /// Its answer to the picture that it was given last.
    pub fn receive(&mut self) -> Result<Answer, Failure> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            return Err(self.reason());
        }
        Ok(serde_json::from_str(&line).map_err(|e| format!("the reference's answer cannot be read: {e}"))?)
    }

    /// Why it ended.
    fn reason(&mut self) -> Failure {
        drop(self.input.take());
        let code = self.child.wait().ok().and_then(|status| status.code());
        let errors = fs::read_to_string(self.folder.0.join("errors.txt")).unwrap_or_default();
        let last = errors.trim_end().lines().last().unwrap_or("it said nothing");
        if code == Some(MODULE_MISSING) {
            return format!("{} lacks what the reference needs ({last}). {ADVICE}", self.python.display()).into();
        }
        format!("the reference failed: {last}\n{}", errors.trim_end()).into()
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        // The end of its input ends it; a run that is under way is not waited for.
        drop(self.input.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What to do where there is no Python with the modules.
const ADVICE: &str = "scripts/parity/run installs it; or name a Python that has numpy, opencv-python-headless and \
                      onnxruntime with --python";

/// The Python that the user named, that of the set-up, or the system's.
fn interpreter(named: Option<&Path>) -> PathBuf {
    let installed = paths::home().map(|home| home.join("venv-parity/bin/python")).filter(|p| p.exists());
    named.map(Path::to_path_buf).or(installed).unwrap_or_else(|| "python3".into())
}
