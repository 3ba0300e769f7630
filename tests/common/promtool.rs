//! Prometheus's own judge of metrics, rules and configurations.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs `promtool`; its exit status and all that it says. `None` if it is not installed.
pub fn promtool(args: &[&str], folder: &Path, input: &str) -> Option<(bool, String)> {
    let mut tool = Command::new("promtool");
    tool.args(args).current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut tool = match tool.spawn() {
        Ok(tool) => tool,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("left out: promtool is not installed");
            return None;
        }
        Err(e) => panic!("promtool: {e}"),
    };
    tool.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = tool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Some((output.status.success(), said))
}

/// What `promtool` has against a page; nothing if it is not installed.
pub fn complaints(page: &str) -> String {
    promtool(&["check", "metrics"], Path::new("."), page)
        .map(|(success, said)| if success { String::new() } else { format!("it fails: {said}") })
        .unwrap_or_default()
}
