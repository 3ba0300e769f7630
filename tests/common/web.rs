//! A web server of the test's own that fails in every way, and the sink that sends to it.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may")]

#[path = "certificates.rs"]
mod certificates;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gstvigil::export::address::Address;
use gstvigil::export::http::{Http, HttpOptions};
use gstvigil::export::kind::Kind;
use gstvigil::export::remote::{Outgoing, Remote, RemoteError};
use gstvigil::export::writer::SystemClock;
use rustls::pki_types::pem::PemObject;

/// Within this, all must have happened.
pub const GUARD: Duration = Duration::from_secs(30);
/// How much later than its limit a send may return on a busy machine.
const LATE: Duration = Duration::from_secs(5);
/// The limit of sends that are to run into it.
pub const SHORT: Duration = Duration::from_millis(400);

pub const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// What the server does with a request.
#[derive(Clone)]
pub enum Act {
    /// Reads it, writes this, and keeps the connection.
    Answer(String),
    /// Reads it, writes this and closes.
    Last(Vec<u8>),
    /// Reads it and says nothing as long as the client waits.
    Hang,
    /// Reads it, and says that there will be no answer, but does not close.
    HalfClose,
    /// Closes in the middle of the request.
    Cut,
    /// Does not read it, writes this and closes.
    Unread(String),
    /// Reads it, writes the first, and then the second without end.
    Endless(String, String),
    /// Reads it and writes a byte now and then.
    Slow(String),
    /// Reads it, writes what this makes of it, and keeps the connection.
    Judge(fn(&Request) -> String),
}

pub fn answer(text: &str) -> Act {
    Act::Answer(text.to_string())
}

pub fn status(line: &str, headers: &str, body: &str) -> Act {
    Act::Answer(format!("HTTP/1.1 {line}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len()))
}

#[derive(Debug, Clone)]
pub struct Request {
    pub connection: usize,
    pub head: String,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        let line =
            self.head.lines().find(|line| line.to_lowercase().starts_with(&format!("{}:", name.to_lowercase())))?;
        Some(line.split_once(':')?.1.trim())
    }

    pub fn lines(&self) -> Vec<String> {
        let mut text = String::new();
        if self.header("content-encoding") == Some("gzip") {
            flate2::read::GzDecoder::new(&self.body[..]).read_to_string(&mut text).unwrap();
        } else {
            text = String::from_utf8(self.body.clone()).unwrap();
        }
        assert!(text.ends_with('\n'), "{text}");
        text.lines().map(str::to_string).collect()
    }
}

type Script = Box<dyn Fn(usize) -> Act + Send + Sync>;

struct Shared {
    script: Script,
    tls: Option<Arc<rustls::ServerConfig>>,
    begun: Mutex<usize>,
    seen: Mutex<Vec<Request>>,
    open: Mutex<Vec<TcpStream>>,
    stop: (Mutex<bool>, Condvar),
}

impl Shared {
    /// Waits until the test is over, or the time; whether it is over.
    fn over(&self, time: Duration) -> bool {
        let stop = self.stop.0.lock().unwrap();
        *self.stop.1.wait_timeout_while(stop, time, |over| !*over).unwrap().0
    }
}

pub struct Server {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub fn new(script: impl Fn(usize) -> Act + Send + Sync + 'static) -> Self {
        Self::start(None, Box::new(script))
    }

    pub fn start(tls: Option<rustls::ServerConfig>, script: Script) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            script,
            tls: tls.map(Arc::new),
            begun: Mutex::new(0),
            seen: Mutex::default(),
            open: Mutex::default(),
            stop: (Mutex::new(false), Condvar::new()),
        });
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                let mut threads = Vec::new();
                for (number, stream) in listener.incoming().enumerate() {
                    if shared.over(Duration::ZERO) {
                        break;
                    }
                    let Ok(stream) = stream else { continue };
                    shared.open.lock().unwrap().push(stream.try_clone().unwrap());
                    let shared = Arc::clone(&shared);
                    threads.push(std::thread::spawn(move || connection(&shared, number, stream)));
                }
                for thread in threads {
                    let _ = thread.join();
                }
            }
        });
        Self { address, shared, thread: Some(thread) }
    }

    pub fn uri(&self, rest: &str) -> String {
        format!("http://{}/in{rest}", self.address)
    }

    pub fn seen(&self) -> Vec<Request> {
        self.shared.seen.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        *self.shared.stop.0.lock().unwrap() = true;
        self.shared.stop.1.notify_all();
        let _ = TcpStream::connect(self.address);
        for stream in self.shared.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        let _ = self.thread.take().unwrap().join();
    }
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

fn connection(shared: &Shared, number: usize, stream: TcpStream) {
    // A client that neither reads nor closes must not keep the test.
    stream.set_write_timeout(Some(GUARD)).unwrap();
    let raw = stream.try_clone().unwrap();
    let stream: Box<dyn Stream> = match &shared.tls {
        Some(config) => {
            Box::new(rustls::StreamOwned::new(rustls::ServerConnection::new(Arc::clone(config)).unwrap(), stream))
        }
        None => Box::new(stream),
    };
    let mut stream = BufReader::new(stream);
    while stream.fill_buf().is_ok_and(|bytes| !bytes.is_empty()) {
        let mut act = (shared.script)({
            let mut begun = shared.begun.lock().unwrap();
            *begun += 1;
            *begun - 1
        });
        if let Act::Unread(text) = &act {
            let _ = stream.get_mut().write_all(text.as_bytes());
            break;
        }
        if matches!(act, Act::Cut) {
            break;
        }
        let Some(request) = read_request(number, &mut stream) else { break };
        if let Act::Judge(judge) = &act {
            act = Act::Answer(judge(&request));
        }
        shared.seen.lock().unwrap().push(request);
        if !perform(shared, &act, &raw, stream.get_mut()) {
            break;
        }
    }
    let _ = stream.get_mut().flush();
    let _ = raw.shutdown(Shutdown::Both);
}

/// Answers; whether the connection goes on.
fn perform(shared: &Shared, act: &Act, raw: &TcpStream, stream: &mut dyn Stream) -> bool {
    match act {
        Act::Answer(text) => return stream.write_all(text.as_bytes()).and_then(|()| stream.flush()).is_ok(),
        Act::Last(bytes) => drop(stream.write_all(bytes)),
        Act::Hang => drop(shared.over(GUARD)),
        Act::HalfClose => {
            let _ = raw.shutdown(Shutdown::Write);
            shared.over(GUARD);
        }
        Act::Endless(head, piece) => {
            let _ = stream.write_all(head.as_bytes());
            while stream.write_all(piece.as_bytes()).is_ok() {}
        }
        Act::Slow(text) => {
            for byte in text.bytes() {
                if stream.write_all(&[byte]).and_then(|()| stream.flush()).is_err() || shared.over(SHORT / 8) {
                    break;
                }
            }
        }
        Act::Cut | Act::Unread(_) | Act::Judge(_) => {}
    }
    false
}

fn read_request(connection: usize, stream: &mut impl BufRead) -> Option<Request> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let mut request = Request { connection, head, body: Vec::new() };
    let length: usize = request.header("content-length").expect("a length").parse().unwrap();
    request.body.resize(length, 0);
    stream.read_exact(&mut request.body).ok()?;
    Some(request)
}

pub fn http(uri: &str) -> Http {
    Http::new(HttpOptions::parse(Address::parse(uri).unwrap()).unwrap(), Arc::new(SystemClock::default()))
}

pub fn records(ids: std::ops::Range<usize>) -> Vec<Outgoing> {
    let record = |id| Outgoing {
        kind: Kind::Frame,
        camera: "gate".into(),
        body: format!("{{\"schema\":\"vigil/1\",\"id\":\"gate/{id}\"}}").into_bytes(),
    };
    ids.map(record).collect()
}

/// Sends, and watches that it does not take longer than it may by any measure.
pub fn send(http: &mut Http, ids: std::ops::Range<usize>, limit: Duration) -> Result<(), RemoteError> {
    let start = Instant::now();
    let result = http.send(&records(ids), limit);
    let took = start.elapsed();
    println!("took {took:.1?} of {limit:.1?}");
    assert!(took < limit + LATE, "{took:?} of {limit:?}");
    result
}

/// Certificates of the test's own.
pub struct Certificates {
    folder: tempfile::TempDir,
    /// For `localhost` and `127.0.0.1`.
    pub server: rustls::ServerConfig,
    /// For `localhost` alone.
    pub named: rustls::ServerConfig,
    /// Wants a certificate of the client's.
    pub strict: rustls::ServerConfig,
}

impl Certificates {
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = certificates::authority(folder.path(), "ca");
        drop(certificates::authority(folder.path(), "other"));
        certificates::signed(folder.path(), "server", &authority, &["localhost", "127.0.0.1"]);
        certificates::signed(folder.path(), "named", &authority, &["localhost"]);
        certificates::signed(folder.path(), "client", &authority, &["gateway"]);
        let pem = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
        let certificate = |name: &str| rustls::pki_types::CertificateDer::from_pem_slice(&pem(name)).unwrap();
        let key = |name: &str| rustls::pki_types::PrivateKeyDer::from_pem_slice(&pem(name)).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate("ca.pem")).unwrap();
        let verifier =
            rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let builder = || {
            rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()
                .unwrap()
        };
        let open = |name: &str| {
            let (chain, key) = (vec![certificate(&format!("{name}.pem"))], key(&format!("{name}.key")));
            builder().with_no_client_auth().with_single_cert(chain, key).unwrap()
        };
        let strict = builder()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(vec![certificate("server.pem")], key("server.key"))
            .unwrap();
        Self { server: open("server"), named: open("named"), strict, folder }
    }
}
