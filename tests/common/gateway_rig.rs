//! A gateway's process, as a test sees it: its log, its API, what it tells the service manager.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longer than anything takes that works.
pub const LONG: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Log {
    lines: Mutex<(Vec<Value>, bool)>,
    more: Condvar,
}

/// A gateway's process. It is ended with the value.
pub struct Gateway {
    child: Child,
    log: Arc<Log>,
    told: Mutex<Receiver<String>>,
    pub address: Option<SocketAddr>,
    pub token: Option<String>,
}

/// An answer of the API.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}\n{}", self.head, self.text());
        self
    }
}

/// Waits until `look` gives something.
#[track_caller]
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + LONG;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "it did not come to this: {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

impl Gateway {
    /// Starts `vigil run FILE ARGUMENTS`, with JSON logs and a service manager that listens.
    pub fn spawn(file: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let socket = file.with_extension("notify");
        let _ = std::fs::remove_file(&socket);
        let service = UnixDatagram::bind(&socket).unwrap();
        let (tell, told) = channel();
        // A service manager reads what it is told at once; whoever tells it waits otherwise.
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length) = service.recv(&mut buffer) {
                if length == 0 || tell.send(String::from_utf8_lossy(&buffer[..length]).into_owned()).is_err() {
                    return;
                }
            }
        });
        let mut command = Command::new(env!("CARGO_BIN_EXE_vigil"));
        command.arg("run").arg(file).args(["--log-format", "json"]).args(arguments);
        command.env("NOTIFY_SOCKET", &socket).env_remove("STATE_DIRECTORY").envs(environment.iter().copied());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let log = Arc::new(Log::default());
        let writer = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
                writer.lines.lock().unwrap().0.push(value);
                writer.more.notify_all();
            }
            writer.lines.lock().unwrap().1 = true;
            writer.more.notify_all();
        });
        Self { child, log, told: Mutex::new(told), address: None, token: None }
    }

    /// The same, once it is ready and its API listens.
    #[track_caller]
    pub fn start(file: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut gateway = Self::spawn(file, arguments, environment);
        let line = gateway.logged(|line| text(line, "message").starts_with("the API listens on"));
        gateway.address = text(&line, "message").rsplit_once('/').and_then(|(_, address)| address.parse().ok());
        gateway.told("READY=1");
        gateway
    }

    /// All lines of the log so far.
    pub fn log(&self) -> Vec<Value> {
        self.log.lines.lock().unwrap().0.clone()
    }

    /// The first line of the log that `matches`, also one that is to come.
    #[track_caller]
    pub fn logged(&self, matches: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + LONG;
        let mut lines = self.log.lines.lock().unwrap();
        loop {
            if let Some(line) = lines.0.iter().find(|line| matches(line)) {
                return line.clone();
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero() && !lines.1, "no such line in the log: {:#?}", lines.0);
            lines = self.log.more.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// Waits until the service manager is told something that has `line` in it, after what was asked for before.
    #[track_caller]
    pub fn told(&self, line: &str) {
        let mut all = Vec::new();
        let told = self.told.lock().unwrap();
        while let Ok(message) = told.recv_timeout(LONG) {
            if message.lines().any(|l| l == line) {
                return;
            }
            all.push(message);
        }
        panic!("the service manager was not told {line}: {all:#?}\n{:#?}", self.log());
    }

    /// The number of the process.
    #[allow(dead_code, reason = "not every test binary measures it")]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.child.id().cast_signed()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for its end.
    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
        until("the process ends", || self.child.try_wait().unwrap())
    }

    /// Ends it as a service manager does.
    #[track_caller]
    pub fn stop(self) {
        self.signal(rustix::process::Signal::TERM);
        self.stopped();
    }

    /// It was told to end, and must do so well.
    #[track_caller]
    pub fn stopped(mut self) {
        let status = self.ended();
        assert_eq!(status.code(), Some(0), "{status:?}: {:#?}", self.log());
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address.unwrap()).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream
    }

    fn send(&self, request: &str, headers: &[(&str, &str)], body: &str) -> TcpStream {
        let mut stream = self.connect();
        let mut head = format!("{request} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "Host") {
            head += &format!("Host: {}\r\n", self.address.unwrap());
        }
        if let Some(token) = &self.token {
            head += &format!("Authorization: Bearer {token}\r\n");
        }
        headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
        if !body.is_empty() {
            head += "Content-Type: application/json\r\n";
        }
        head += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(head.as_bytes()).unwrap();
        stream
    }

    /// Opens a connection and writes to it.
    pub fn send_raw(&self, text: &str) -> TcpStream {
        let mut stream = self.connect();
        stream.write_all(text.as_bytes()).unwrap();
        stream
    }

    /// Asks, such as `GET /livez`, with these headers and this body.
    #[track_caller]
    pub fn ask_with(&self, request: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut all = Vec::new();
        self.send(request, headers, body).read_to_end(&mut all).unwrap();
        let end = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or_else(|| panic!("{request}: {all:?}"));
        let head = String::from_utf8_lossy(&all[..end]).into_owned();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
        Answer { status, head, body: all.split_off(end + 4) }
    }

    #[track_caller]
    pub fn ask(&self, request: &str, body: &str) -> Answer {
        self.ask_with(request, &[], body)
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        self.ask(&format!("GET {path}"), "").expect(200).json()
    }

    /// Status of a camera, once `is` says so.
    #[track_caller]
    pub fn camera(&self, id: &str, is: impl Fn(&Value) -> bool) -> Value {
        until(&format!("camera {id}"), || {
            let answer = self.ask(&format!("GET /api/v1/cameras/{id}"), "");
            (answer.status == 200).then(|| answer.json()).filter(&is)
        })
    }

    /// Listens to events.
    #[track_caller]
    pub fn events(&self, query: &str, headers: &[(&str, &str)]) -> Events {
        let mut lines = BufReader::new(self.send(&format!("GET /api/v1/events{query}"), headers, ""));
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(lines.read_line(&mut head).unwrap() > 0, "{head}");
        }
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(head.contains("text/event-stream"), "{head}");
        Events(lines)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A stream of events. Chunks of the transfer are lines that mean nothing here.
pub struct Events(BufReader<TcpStream>);

impl Events {
    /// The next event; `None` at the end.
    pub fn next(&mut self) -> Option<Value> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.0.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if let Some(data) = line.strip_prefix("data: ") {
                return Some(serde_json::from_str(data.trim()).unwrap());
            }
        }
    }

    /// The next event that `is` says so of.
    #[track_caller]
    pub fn find(&mut self, is: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + LONG;
        while let Some(event) = self.next() {
            if is(&event) {
                return event;
            }
            assert!(Instant::now() < end, "there was no such event");
        }
        panic!("the stream of events has ended");
    }
}

/// A text field; empty if there is none.
pub fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

pub fn number(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or_else(|| panic!("{value} has no number {name}"))
}

/// A folder with a site in it.
pub struct Place {
    pub folder: tempfile::TempDir,
    pub file: PathBuf,
}

impl Place {
    pub fn new(description: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("site.toml");
        std::fs::write(&file, description).unwrap();
        Self { folder, file }
    }

    /// Puts another description in the file's place, as editors do.
    pub fn replace(&self, description: &str) {
        let new = self.folder.path().join("site.toml.new");
        std::fs::write(&new, description).unwrap();
        std::fs::rename(&new, &self.file).unwrap();
    }
}
