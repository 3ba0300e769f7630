//! The HTTP receiver against a server of the test's own that fails in every way.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may")]

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
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
const GUARD: Duration = Duration::from_secs(30);
/// The limit of sends that are to run into it.
const SHORT: Duration = Duration::from_millis(400);

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// What the server does with a request.
#[derive(Clone)]
enum Act {
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
}

fn answer(text: &str) -> Act {
    Act::Answer(text.to_string())
}

fn status(line: &str, headers: &str, body: &str) -> Act {
    Act::Answer(format!("HTTP/1.1 {line}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len()))
}

#[derive(Debug, Clone)]
struct Request {
    connection: usize,
    head: String,
    body: Vec<u8>,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        let line =
            self.head.lines().find(|line| line.to_lowercase().starts_with(&format!("{}:", name.to_lowercase())))?;
        Some(line.split_once(':')?.1.trim())
    }

    fn lines(&self) -> Vec<String> {
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

struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn new(script: impl Fn(usize) -> Act + Send + Sync + 'static) -> Self {
        Self::start(None, Box::new(script))
    }

    fn start(tls: Option<rustls::ServerConfig>, script: Script) -> Self {
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

    fn uri(&self, rest: &str) -> String {
        format!("http://{}/in{rest}", self.address)
    }

    fn seen(&self) -> Vec<Request> {
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
        let act = (shared.script)({
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
        Act::Cut | Act::Unread(_) => {}
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

fn http(uri: &str) -> Http {
    Http::new(HttpOptions::parse(Address::parse(uri).unwrap()).unwrap(), Arc::new(SystemClock::default()))
}

fn records(ids: std::ops::Range<usize>) -> Vec<Outgoing> {
    let record = |id| Outgoing {
        kind: Kind::Frame,
        camera: "gate".into(),
        body: format!("{{\"schema\":\"vigil/1\",\"id\":\"gate/{id}\"}}").into_bytes(),
    };
    ids.map(record).collect()
}

/// Sends, and watches that it does not take longer than it may by any measure.
fn send(http: &mut Http, ids: std::ops::Range<usize>, limit: Duration) -> Result<(), RemoteError> {
    let start = Instant::now();
    let result = http.send(&records(ids), limit);
    assert!(start.elapsed() < limit + GUARD, "{:?}", start.elapsed());
    result
}

#[test]
fn a_batch_is_one_request_on_a_connection_that_is_kept() {
    let server = Server::new(|_| answer(OK));
    let mut sink = http(&server.uri(""));
    sink.tick(GUARD).unwrap();
    sink.send(&[], GUARD).unwrap();
    for start in [0, 3, 6] {
        send(&mut sink, start..start + 3, GUARD).unwrap();
    }
    sink.close(GUARD);
    send(&mut sink, 9..10, GUARD).unwrap();
    let seen = server.seen();
    let connections: Vec<usize> = seen.iter().map(|request| request.connection).collect();
    assert_eq!(connections, [0, 0, 0, 1]);
    let first = &seen[0];
    assert!(first.head.starts_with("POST /in HTTP/1.1\r\n"), "{}", first.head);
    for (name, value) in [
        ("content-type", "application/x-ndjson"),
        ("content-encoding", "gzip"),
        ("vigil-records", "3"),
        ("user-agent", concat!("vigil/", env!("CARGO_PKG_VERSION"))),
    ] {
        assert_eq!(first.header(name), Some(value), "{}", first.head);
    }
    assert_eq!(first.header("authorization"), None);
    let sent: Vec<String> = records(0..3).iter().map(|r| String::from_utf8(r.body.clone()).unwrap()).collect();
    assert_eq!(first.lines(), sent);
    let keys: HashSet<_> = seen.iter().map(|request| request.header("idempotency-key").unwrap()).collect();
    assert_eq!(keys.len(), 4);
}

#[test]
fn a_batch_need_not_be_compressed() {
    let server = Server::new(|_| answer(OK));
    send(&mut http(&server.uri("%3Fsite=a%20b?gzip=no")), 0..2, GUARD).unwrap();
    let seen = server.seen();
    assert!(seen[0].head.starts_with("POST /in?site=a%20b HTTP/1.1\r\n"), "{}", seen[0].head);
    assert_eq!(seen[0].header("content-encoding"), None);
    assert_eq!(seen[0].lines().len(), 2);
}

/// Sends to a server that does this once, then again with all well; what the first gave.
fn once(act: Act, limit: Duration) -> Result<(), RemoteError> {
    let server = Server::new(move |n| if n == 0 { act.clone() } else { answer(OK) });
    let mut sink = http(&server.uri(""));
    let result = send(&mut sink, 0..2, limit);
    send(&mut sink, 0..2, GUARD).unwrap();
    let seen = server.seen();
    assert_eq!(seen.last().unwrap().lines().len(), 2);
    if let [.., first, second] = &seen[..] {
        assert_eq!(first.header("idempotency-key"), second.header("idempotency-key"));
    }
    result
}

#[test]
fn what_breaks_is_unreachable_and_goes_on_afterwards() {
    let endless = |head: &str, piece: &str| Act::Endless(head.to_string(), piece.repeat(100));
    for (name, act, text) in [
        ("hangs", Act::Hang, "did not answer within 400.0ms"),
        ("closes", Act::Last(Vec::new()), ""),
        ("half-closes", Act::HalfClose, ""),
        ("cuts", Act::Cut, ""),
        ("closes in the head", Act::Last(b"HTTP/1.1 200 OK\r\nContent-Le".to_vec()), ""),
        ("garbage", Act::Last(b"\x16\x03\x01\x02\x00 what?\r\n\r\n".to_vec()), ""),
        ("garbage without end", endless("", "\0\x01\x02"), ""),
        ("another protocol", Act::Last(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()), ""),
        ("a header without end", endless("HTTP/1.1 200 OK\r\nX: ", "y"), ""),
        ("headers without end", endless("HTTP/1.1 200 OK\r\n", "X: y\r\n"), ""),
        ("a slow head", Act::Slow(OK.to_string()), "did not answer within"),
    ] {
        match once(act, SHORT) {
            Err(RemoteError::Unreachable(error)) => {
                assert!(error.starts_with("http://127.0.0.1:") && error.contains(text), "{name}: {error}");
                assert!(error.chars().count() < 400 && !error.chars().any(char::is_control), "{name}: {error:?}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn nobody_there_is_unreachable() {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let error = send(&mut http(&format!("http://{address}/")), 0..1, GUARD).unwrap_err();
    assert!(matches!(&error, RemoteError::Unreachable(text) if text.contains("refused")), "{error:?}");
    let error = send(&mut http("http://no-such-host.invalid/"), 0..1, GUARD).unwrap_err();
    assert!(
        matches!(&error, RemoteError::Unreachable(text) if text.starts_with("http://no-such-host.invalid/: ")),
        "{error:?}"
    );
    let server = Server::new(|_| answer(OK));
    let error = send(&mut http(&server.uri("")), 0..1, Duration::ZERO).unwrap_err();
    assert!(matches!(&error, RemoteError::Unreachable(_)), "{error:?}");
}

#[test]
fn a_status_of_success_is_enough() {
    let endless = Act::Endless("HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n".to_string(), "y".repeat(1000));
    for (name, act) in [
        ("plain", answer(OK)),
        ("created", status("201 Created", "", "{\"n\":2}")),
        ("no content", answer("HTTP/1.1 204 No Content\r\n\r\n")),
        ("a body without end", endless),
        ("a body that is cut", Act::Last(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nten bytes.".to_vec())),
        ("a body that is too long", Act::Last(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nten bytes.".to_vec())),
        ("broken chunks", Act::Last(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_vec())),
        ("no length", Act::Last(b"HTTP/1.1 200 OK\r\n\r\nall".to_vec())),
        ("a slow body", Act::Slow("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nand so on".to_string())),
        ("continue first", answer(&format!("HTTP/1.1 100 Continue\r\n\r\n{OK}"))),
    ] {
        assert_eq!(once(act, GUARD), Ok(()), "{name}");
    }
}

#[test]
fn a_busy_server_says_when_to_come_back() {
    let seconds = |n| Some(Duration::from_secs(n));
    let date = "Date: Mon, 23 Nov 2026 10:15:00 GMT\r\nRetry-After: Mon, 23 Nov 2026 10:15:20 GMT\r\n";
    for (act, wanted) in [
        (status("429 Too Many Requests", "Retry-After: 7\r\n", "slow\ndown"), seconds(7)),
        (status("503 Service Unavailable", date, "slow down"), seconds(20)),
        (status("503 Service Unavailable", "Retry-After: soon\r\n", "slow down"), None),
        (status("500 Internal Server Error", "", "slow down"), None),
        (status("408 Request Timeout", "", "slow down"), None),
        (Act::Endless("HTTP/1.1 502 Bad Gateway\r\n\r\nslow down ".to_string(), "y".repeat(1000)), None),
    ] {
        match once(act, GUARD) {
            Err(RemoteError::Busy { after, text }) => {
                assert_eq!(after, wanted, "{text}");
                assert!(text.contains(" answered ") && text.contains(": slow down"), "{text}");
                assert!(text.chars().count() < 400, "{text}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn mistakes_in_the_set_up_cost_no_records() {
    for (act, text) in [
        (status("401 Unauthorized", "", ""), "check the user and password"),
        (status("403 Forbidden", "", "not you"), "403 Forbidden: not you; check what the user"),
        (status("404 Not Found", "", ""), "check the address's path"),
        (status("405 Method Not Allowed", "", ""), "check the address's path"),
        (status("415 Unsupported Media Type", "", ""), "gzip=no"),
        (status("301 Moved Permanently", "Location: /new\r\n", ""), "write the new one"),
        (
            status("307 Temporary Redirect", "Location: http://127.0.0.2/x?key=geheim\r\n", ""),
            "has moved to http://127.0.0.2/x;",
        ),
        (status("308 Permanent Redirect", "", ""), "has moved; change the address"),
    ] {
        match once(act, GUARD) {
            Err(RemoteError::Denied(error)) => {
                assert!(error.contains(text) && !error.contains("geheim"), "{error}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn what_is_too_large_is_refused() {
    for line in ["413 Content Too Large", "400 Bad Request", "422 Unprocessable Content"] {
        let result = once(status(line, "", "no"), GUARD);
        assert!(matches!(&result, Err(RemoteError::Refused(text)) if text.contains(&line[..3])), "{result:?}");
    }
    // Before the server has read it all, and it is more than sockets hold.
    let refusal = "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let server = Server::new(move |_| Act::Unread(refusal.to_string()));
    let mut record = records(0..1).remove(0);
    record.body = vec![b'x'; 64 << 20];
    let result = http(&server.uri("?gzip=no")).send(&[record], GUARD);
    assert!(matches!(&result, Err(RemoteError::Refused(text)) if text.contains("413")), "{result:?}");
}

#[test]
fn a_server_that_takes_nothing_at_all_costs_few_records() {
    let server = Server::new(|n| if n == 12 { answer(OK) } else { status("400 Bad Request", "", "") });
    let mut sink = http(&server.uri(""));
    assert!(matches!(send(&mut sink, 0..2, GUARD), Err(RemoteError::Refused(_))));
    for n in 0..8 {
        assert!(matches!(send(&mut sink, n..n + 1, GUARD), Err(RemoteError::Refused(_))), "{n}");
    }
    for n in 8..11 {
        let error = send(&mut sink, n..n + 1, GUARD).unwrap_err();
        assert!(matches!(&error, RemoteError::Denied(text) if text.contains("no more are given up")), "{error:?}");
    }
    // One that is taken shows that the others were at fault.
    send(&mut sink, 11..12, GUARD).unwrap();
    assert!(matches!(send(&mut sink, 12..13, GUARD), Err(RemoteError::Refused(_))));
}

#[test]
fn redirects_on_the_same_server_are_followed() {
    let server = Server::new(|n| match n {
        0 => status("307 Temporary Redirect", "Location: /new\r\n", "there"),
        1 => status("308 Permanent Redirect", "Location: newer?a=b\r\n", ""),
        _ => answer(OK),
    });
    send(&mut http(&server.uri("")), 0..2, GUARD).unwrap();
    let seen = server.seen();
    let targets: Vec<&str> = seen.iter().map(|request| request.head.split(' ').nth(1).unwrap()).collect();
    assert_eq!(targets, ["/in", "/new", "/newer?a=b"]);
    assert!(seen.iter().all(|request| request.lines().len() == 2));
    let server = Server::new(|_| status("307 Temporary Redirect", "Location: /in\r\n", ""));
    let error = send(&mut http(&server.uri("")), 0..2, GUARD).unwrap_err();
    assert!(matches!(&error, RemoteError::Denied(text) if text.contains("from one address to the next")), "{error:?}");
}

#[test]
fn the_gateway_says_who_it_is_and_nobody_else_learns_it() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "geheim-1\n").unwrap();
    let server = Server::new(|_| status("401 Unauthorized", "", "geheim-1 bWU6Z2VoZWltLTE= is wrong"));
    let file = token.display();
    for (uri, name, value) in [
        (format!("http://me:geheim-1@{}/", server.address), "authorization", "Basic bWU6Z2VoZWltLTE="),
        (server.uri(&format!("?token-file={file}")), "authorization", "Bearer geheim-1"),
        (server.uri(&format!("?token-file={file}&token-header=X-Api-Key")), "x-api-key", "geheim-1"),
    ] {
        let error = send(&mut http(&uri), 0..1, GUARD).unwrap_err();
        assert!(matches!(error, RemoteError::Denied(_)), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("<secret>") && !text.contains(value), "{text}");
        assert_eq!(server.seen().last().unwrap().header(name), Some(value));
    }
    std::fs::remove_file(&token).unwrap();
    let error = send(&mut http(&server.uri(&format!("?token-file={file}"))), 0..1, GUARD).unwrap_err();
    assert!(matches!(&error, RemoteError::Denied(text) if text.contains("cannot be read")), "{error:?}");
}

/// Sends batches as a shipper does: the same again until it is taken.
fn ship(sink: &mut Http, batches: usize, limit: impl Fn(usize) -> Duration) {
    let start = Instant::now();
    let mut tries = 0;
    for batch in 0..batches {
        while sink.send(&records(batch * 3..batch * 3 + 3), limit(tries)).is_err() {
            tries += 1;
            assert!(start.elapsed() < 4 * GUARD, "no end to it");
        }
        tries += 1;
    }
}

#[test]
fn whatever_fails_every_record_arrives_and_in_order() {
    let acts = [
        answer(OK),
        Act::Cut,
        status("503 Service Unavailable", "", ""),
        Act::Last(b"HTTP/1.1 200".to_vec()),
        answer(OK),
        answer(OK),
        Act::Hang,
        Act::HalfClose,
        Act::Unread("HTTP/1.1 500 Oh\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_string()),
        Act::Last(b"\0\0\0".to_vec()),
        // It closes after an answer without a word, as servers do with idle connections.
        Act::Last(OK.as_bytes().to_vec()),
        Act::Endless("HTTP/1.1 429 Wait\r\n".to_string(), "X: y\r\n".repeat(100)),
        status("404 Not Found", "", ""),
    ];
    let server = Server::new(move |n| acts[n % acts.len()].clone());
    ship(&mut http(&server.uri("")), 30, |_| SHORT);
    let seen: Vec<String> = server.seen().iter().flat_map(Request::lines).collect();
    let mut known = HashSet::new();
    let first: Vec<&String> = seen.iter().filter(|line| known.insert(line.as_str())).collect();
    let sent: Vec<String> = records(0..90).iter().map(|r| String::from_utf8(r.body.clone()).unwrap()).collect();
    assert_eq!(first, sent.iter().collect::<Vec<_>>());
    assert!(seen.len() > sent.len(), "some came twice: {}", seen.len());
}

/// Certificates of the test's own.
struct Certificates {
    folder: tempfile::TempDir,
    server: rustls::ServerConfig,
    strict: rustls::ServerConfig,
}

impl Certificates {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = authority(folder.path(), "ca");
        authority_only(folder.path(), "other");
        signed(folder.path(), "server", &authority, &["localhost", "127.0.0.1"]);
        signed(folder.path(), "client", &authority, &["gateway"]);
        let pem = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
        let certificate = rustls::pki_types::CertificateDer::from_pem_slice(&pem("server.pem")).unwrap();
        let key = || rustls::pki_types::PrivateKeyDer::from_pem_slice(&pem("server.key")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(rustls::pki_types::CertificateDer::from_pem_slice(&pem("ca.pem")).unwrap()).unwrap();
        let verifier =
            rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let builder = || {
            rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()
                .unwrap()
        };
        let chain = || vec![certificate.clone()];
        let server = builder().with_no_client_auth().with_single_cert(chain(), key()).unwrap();
        let strict =
            builder().with_client_cert_verifier(verifier.build().unwrap()).with_single_cert(chain(), key()).unwrap();
        Self { server, strict, folder }
    }
}

fn authority(folder: &Path, name: &str) -> rcgen::Issuer<'static, rcgen::KeyPair> {
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let key = rcgen::KeyPair::generate().unwrap();
    std::fs::write(folder.join(format!("{name}.pem")), params.self_signed(&key).unwrap().pem()).unwrap();
    rcgen::Issuer::new(params, key)
}

fn authority_only(folder: &Path, name: &str) {
    drop(authority(folder, name));
}

fn signed(folder: &Path, name: &str, by: &rcgen::Issuer<'static, rcgen::KeyPair>, names: &[&str]) {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let params = rcgen::CertificateParams::new(names).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    std::fs::write(folder.join(format!("{name}.pem")), params.signed_by(&key, by).unwrap().pem()).unwrap();
    std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
}

#[test]
fn tls_trusts_whom_it_is_told_to() {
    let certificates = Certificates::new();
    let path = |name: &str| certificates.path(name).display().to_string();
    let (ca, other, cert, key) = (path("ca.pem"), path("other.pem"), path("client.pem"), path("client.key"));
    let server = Server::start(Some(certificates.server.clone()), Box::new(|_| answer(OK)));
    let port = server.address.port();
    for host in ["localhost", "127.0.0.1"] {
        let mut sink = http(&format!("https://{host}:{port}/in?ca={ca}"));
        for start in 0..3 {
            send(&mut sink, start..start + 1, GUARD).unwrap();
        }
    }
    assert_eq!(server.seen().len(), 6);
    assert_eq!(server.seen().last().unwrap().connection, 1, "connections are kept");
    let error = send(&mut http(&format!("https://localhost:{port}/in?ca={other}")), 0..1, GUARD).unwrap_err();
    assert!(
        matches!(&error, RemoteError::Denied(text) if text.contains("UnknownIssuer") && text.contains("check ca")),
        "{error:?}"
    );
    let error = send(&mut http(&format!("https://127.0.0.2:{port}/in?ca={ca}")), 0..1, GUARD).unwrap_err();
    // Loopback is a whole network only where the system has it so.
    assert!(matches!(&error, RemoteError::Denied(_) | RemoteError::Unreachable(_)), "{error:?}");
    for (files, text) in [
        (format!("ca={}", path("none.pem")), "none.pem of the option ca cannot be read"),
        (format!("ca={ca}&cert={cert}&key={}", path("server.key")), "cannot be used with the key"),
    ] {
        let error = send(&mut http(&format!("https://localhost:{port}/in?{files}")), 0..1, GUARD).unwrap_err();
        assert!(matches!(&error, RemoteError::Denied(error) if error.contains(text)), "{error:?}");
    }
    assert_eq!(server.seen().len(), 6);

    let strict = Server::start(Some(certificates.strict.clone()), Box::new(|_| answer(OK)));
    let port = strict.address.port();
    let known = format!("https://localhost:{port}/in?ca={ca}&cert={cert}&key={key}");
    send(&mut http(&known), 0..1, GUARD).unwrap();
    let error = send(&mut http(&format!("https://localhost:{port}/in?ca={ca}")), 0..1, GUARD).unwrap_err();
    // Whether the alert or the end of the connection is seen first is up to the network.
    assert!(matches!(&error, RemoteError::Denied(_) | RemoteError::Unreachable(_)), "{error:?}");
    assert_eq!(strict.seen().len(), 1);

    let plain = Server::new(|_| Act::Unread("HTTP/1.1 400 Bad Request\r\n\r\n".to_string()));
    let port = plain.address.port();
    let error = send(&mut http(&format!("https://localhost:{port}/in?ca={ca}")), 0..1, GUARD).unwrap_err();
    assert!(matches!(&error, RemoteError::Unreachable(_)), "{error:?}");
}
