//! A program that a test runs beside itself, and what it says.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Longer than anything here takes on a busy machine.
const GUARD: Duration = Duration::from_secs(30);

/// Lines as they come, and whether there will be no more.
type Lines = Arc<(Mutex<(Vec<String>, bool)>, Condvar)>;

/// A running program; it ends with the value.
pub struct Program {
    child: Child,
    output: Lines,
    errors: Lines,
    threads: Vec<JoinHandle<()>>,
}

impl Program {
    /// Starts it with nothing on its standard input.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
        let (output, errors) = (Lines::default(), Lines::default());
        let threads = vec![
            read(child.stdout.take().unwrap(), Arc::clone(&output)),
            read(child.stderr.take().unwrap(), Arc::clone(&errors)),
        ];
        Self { child, output, errors, threads }
    }

    /// One of the examples in Python, by the system's interpreter.
    pub fn example(name: &str, args: &[&str]) -> Self {
        Self::start(Command::new("/usr/bin/python3").arg(example(name)).args(args))
    }

    /// The first line on standard error that has `text`.
    pub fn hear(&self, text: &str) -> String {
        let found = wait(&self.errors, |lines| lines.iter().any(|line| line.contains(text)));
        let line = found.iter().find(|line| line.contains(text));
        line.unwrap_or_else(|| panic!("it never said {text}: {found:?}")).clone()
    }

    /// The lines of standard output once they are enough.
    pub fn wait(&self, enough: impl Fn(&[String]) -> bool) -> Vec<String> {
        let found = wait(&self.output, &enough);
        assert!(enough(&found), "it printed {found:?} and said {:?}", self.errors.0.lock().unwrap().0);
        found
    }

    /// The lines of standard output up to now.
    pub fn output(&self) -> Vec<String> {
        self.output.0.lock().unwrap().0.clone()
    }

    /// Ends it by SIGTERM; all lines of its standard output.
    pub fn end(mut self) -> Vec<String> {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
        let said = &self.errors.0.lock().unwrap().0;
        assert!(!said.iter().any(|line| line.contains("Traceback")), "{said:?}");
        self.output()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(from: impl Read + Send + 'static, into: Lines) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            into.0.lock().unwrap().0.push(line);
            into.1.notify_all();
        }
        into.0.lock().unwrap().1 = true;
        into.1.notify_all();
    })
}

/// What came until it is enough, there is no more, or the time is over.
fn wait(lines: &Lines, enough: impl Fn(&[String]) -> bool) -> Vec<String> {
    let found = lines.0.lock().unwrap();
    let found = lines.1.wait_timeout_while(found, GUARD, |(lines, over)| !enough(lines) && !*over).unwrap().0;
    found.0.clone()
}

/// The file of an example.
pub fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

/// Whether the system's Python has a module; a message if not. `package` is Debian's name for it.
pub fn python_has(module: &str, package: &str) -> bool {
    let found = Command::new("/usr/bin/python3").args(["-c", &format!("import {module}")]).output();
    let found = found.is_ok_and(|out| out.status.success());
    if !found {
        println!("SKIPPED: Python lacks {module} (Debian: {package})");
    }
    found
}
