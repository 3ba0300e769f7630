//! A mosquitto of the test's own on loopback, with all kinds of listeners, and somebody who subscribes to it.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Longer than anything here takes on a busy machine.
pub const GUARD: Duration = Duration::from_secs(30);
/// The user of the listener with a password, and the password.
pub const USER: &str = "me";
/// See [`USER`]. It needs escapes in an address.
pub const PASSWORD: &str = "s3cret:/@";
/// The line of a password file for both, as mosquitto_passwd writes it.
const HASH: &str = "me:$7$101$jfVH2sajFxiDxlNA$EGNbgi13EUV0FbzE++PHduPIm1C9AauRdg6as3DL5UCsG6IWYc6Nz/0TZpwUTwJi2/JcPL/j2Y6quk35rfPUoA==\n";

/// A listener of the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    Plain,
    Tls,
    /// TLS that wants a client certificate.
    Mutual,
    Password,
    /// Publishing is allowed under `vigil/good` and to status topics only.
    Rules,
    Ws,
    Wss,
    /// As [`Door::Mutual`], over WebSocket.
    MutualWss,
}

const DOORS: [Door; 8] =
    [Door::Plain, Door::Tls, Door::Mutual, Door::Password, Door::Rules, Door::Ws, Door::Wss, Door::MutualWss];

/// A running broker; it ends with the value.
pub struct Broker {
    folder: TempDir,
    ports: Vec<u16>,
    child: Option<Child>,
}

/// The program's path, or `None` with a message if it is not installed.
pub fn program(name: &str) -> Option<PathBuf> {
    let home = std::env::var_os("VIGIL_HOME").map(PathBuf::from).or_else(|| {
        let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from);
        Some(data.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/share")))?.join("vigil"))
    });
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .chain(home.map(|home| home.join("tools/bin")))
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    if found.is_none() {
        println!("SKIPPED: {name} is not installed; `make servers` fetches it");
    }
    found
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Broker {
    /// A broker whose configuration begins with the lines of `global`. `None`, with a message, if it is not installed.
    pub fn start(global: &str) -> Option<Self> {
        program("mosquitto")?;
        program("mosquitto_sub")?;
        let folder = tempfile::tempdir().unwrap();
        certify(&folder);
        std::fs::write(folder.path().join("passwords"), HASH).unwrap();
        std::fs::write(folder.path().join("rules"), "topic readwrite vigil/good/#\ntopic readwrite vigil/+/status\n")
            .unwrap();
        let mut broker = Self { folder, ports: Vec::new(), child: None };
        // Somebody may take a port between its choice and its use.
        for _ in 0..5 {
            broker.ports = DOORS.iter().map(|_| free_port()).collect();
            std::fs::write(broker.path("mosquitto.conf"), broker.config(global)).unwrap();
            if broker.spawn() {
                return Some(broker);
            }
        }
        panic!("mosquitto does not start: {}", std::fs::read_to_string(broker.path("log")).unwrap());
    }

    fn config(&self, global: &str) -> String {
        let file = |name: &str| self.path(name).display().to_string();
        let mut text = format!(
            "{global}\nuser root\nper_listener_settings true\nmax_queued_messages 0\nlog_type all\nlog_dest stderr\n"
        );
        for (door, port) in DOORS.iter().zip(&self.ports) {
            text += &format!("listener {port} 127.0.0.1\n");
            text += &match door {
                Door::Password => format!("allow_anonymous false\npassword_file {}\n", file("passwords")),
                Door::Rules => format!("allow_anonymous true\nacl_file {}\n", file("rules")),
                _ => "allow_anonymous true\n".to_string(),
            };
            if matches!(door, Door::Tls | Door::Mutual | Door::Wss | Door::MutualWss) {
                text += &format!(
                    "cafile {}\ncertfile {}\nkeyfile {}\n",
                    file("ca.pem"),
                    file("server.pem"),
                    file("server.key")
                );
            }
            text += match door {
                Door::Mutual => "require_certificate true\n",
                Door::Ws | Door::Wss => "protocol websockets\n",
                Door::MutualWss => "require_certificate true\nprotocol websockets\n",
                _ => "",
            };
        }
        text
    }

    /// Starts the program and waits until it listens; `false` if it ends first.
    fn spawn(&mut self) -> bool {
        let log = File::create(self.path("log")).unwrap();
        let mut child = Command::new(program("mosquitto").unwrap())
            .args(["-c", &self.path("mosquitto.conf").display().to_string()])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let start = Instant::now();
        for port in &self.ports {
            while TcpStream::connect(("127.0.0.1", *port)).is_err() {
                if child.try_wait().unwrap().is_some() {
                    return false;
                }
                assert!(start.elapsed() < GUARD, "mosquitto does not listen");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        self.child = Some(child);
        true
    }

    /// A file of the broker's: `ca.pem`, `other.pem` (an authority that it does not know), `client.pem`, `client.key`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The port of a listener.
    pub fn port(&self, door: Door) -> u16 {
        let place = DOORS.iter().position(|it| *it == door).unwrap();
        self.ports[place]
    }

    /// The address of a sink for a listener, with more options after `?`.
    pub fn uri(&self, door: Door, options: &str) -> String {
        let port = self.port(door);
        let ca = format!("ca={}", self.path("ca.pem").display());
        match door {
            Door::Plain | Door::Password | Door::Rules => format!("mqtt://127.0.0.1:{port}?{options}"),
            Door::Tls | Door::Mutual => format!("mqtts://127.0.0.1:{port}?{ca}&{options}"),
            Door::Ws => format!("mqtt+ws://127.0.0.1:{port}?{options}"),
            Door::Wss | Door::MutualWss => format!("mqtt+wss://127.0.0.1:{port}?{ca}&{options}"),
        }
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().unwrap();
        kill_process(Pid::from_child(child), signal).unwrap();
    }

    /// Stops it where it stands, with all its connections open.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Ends it in good order.
    pub fn stop(&mut self) {
        self.signal(Signal::TERM);
        self.child.take().unwrap().wait().unwrap();
    }

    /// Starts it again on the same ports.
    pub fn restart(&mut self) {
        assert!(self.spawn(), "mosquitto does not start again");
    }

    /// What it wrote into its log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("the broker's last words:\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
        }
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

/// An authority, the server's certificate for 127.0.0.1 and a client's, and another authority.
fn certify(folder: &TempDir) {
    let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
    let authority = |name: &str| {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    };
    let ca = authority("test authority");
    write("ca.pem", ca.pem());
    write("other.pem", authority("another authority").pem());
    for (name, host, purpose) in [
        ("server", "127.0.0.1", ExtendedKeyUsagePurpose::ServerAuth),
        ("client", "gateway", ExtendedKeyUsagePurpose::ClientAuth),
    ] {
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, host);
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        write(&format!("{name}.pem"), params.signed_by(&key, &ca).unwrap().pem());
        write(&format!("{name}.key"), key.serialize_pem());
    }
}

/// A message that a subscriber got.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub struct Received {
    pub topic: String,
    pub payload: String,
    pub qos: u8,
    pub retain: u8,
}

#[derive(Default)]
struct Heard {
    subscribed: bool,
    messages: Vec<Received>,
}

/// A mosquitto_sub; it ends with the value.
pub struct Subscriber {
    child: Child,
    heard: Arc<(Mutex<Heard>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Subscriber {
    /// Subscribes to `filter` with QoS 2 and returns once the broker has acknowledged it.
    pub fn start(broker: &Broker, filter: &str) -> Self {
        let port = broker.port(Door::Plain).to_string();
        // By itself it writes to a pipe in blocks.
        let mut child = Command::new("stdbuf")
            .arg("-oL")
            .arg(program("mosquitto_sub").unwrap())
            .args(["-h", "127.0.0.1", "-p", &port, "-t", filter, "-q", "2", "-d", "-F", "%j"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let heard = Arc::new((Mutex::new(Heard::default()), Condvar::new()));
        let ours = heard.clone();
        let thread = std::thread::spawn(move || {
            for line in lines {
                let mut heard = ours.0.lock().unwrap();
                heard.subscribed |= line.starts_with("Subscribed");
                if line.starts_with('{') {
                    heard.messages.push(serde_json::from_str(&line).unwrap());
                }
                ours.1.notify_all();
            }
        });
        let subscriber = Self { child, heard, thread: Some(thread) };
        subscriber.until("mosquitto_sub does not subscribe", |heard| heard.subscribed);
        subscriber
    }

    fn until(&self, otherwise: &str, done: impl Fn(&Heard) -> bool) -> Vec<Received> {
        let heard = self.heard.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.heard.1.wait_timeout_while(heard, GUARD, |heard| !done(heard));
        let (heard, late) = waited.unwrap_or_else(PoisonError::into_inner);
        let messages = heard.messages.clone();
        drop(heard);
        assert!(!late.timed_out(), "{otherwise}: {} messages, the last {:?}", messages.len(), messages.last());
        messages
    }

    /// Waits until what was received is enough, and gives it.
    pub fn wait(&self, enough: impl Fn(&[Received]) -> bool) -> Vec<Received> {
        self.until("not enough was received", |heard| enough(&heard.messages))
    }

    /// What was received up to now.
    pub fn heard(&self) -> Vec<Received> {
        self.heard.0.lock().unwrap_or_else(PoisonError::into_inner).messages.clone()
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = self.thread.take().unwrap().join();
    }
}
