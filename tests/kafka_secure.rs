//! The Kafka receiver where brokers want TLS and a login.

#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may")]

#[path = "common/certificates.rs"]
mod certificates;

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use certificates::{authority, signed};
use gstvigil::export::address::Address;
use gstvigil::export::kafka::{Kafka, KafkaOptions};
use gstvigil::export::kind::Kind;
use gstvigil::export::remote::{Outgoing, Remote, RemoteError};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::mocking::MockCluster;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Within this, all must have happened.
const GUARD: Duration = Duration::from_secs(30);
/// The limit of sends that are to run into it.
const SHORT: Duration = Duration::from_secs(2);

fn kafka(uri: &str) -> Kafka {
    Kafka::new(KafkaOptions::parse(Address::parse(uri).unwrap()).unwrap())
}

fn records(numbers: std::ops::Range<usize>) -> Vec<Outgoing> {
    let record = |n| Outgoing { kind: Kind::Frame, camera: "gate".into(), body: format!("{n}").into_bytes() };
    numbers.map(record).collect()
}

/// A broker in front of the mock cluster, which knows neither TLS nor logins: it hears both and passes on what comes after. Without a
/// cluster it refuses all, and remembers their logins.
struct Doorman {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    book: Arc<Book>,
    thread: Option<JoinHandle<()>>,
}

/// What it knows and has heard.
struct Book {
    house: Option<SocketAddr>,
    /// Its own port, which clients are told in place of the cluster's.
    port: u16,
    /// The login that it lets in; if there is none, it knows no logins.
    right: Option<&'static [u8]>,
    logins: Mutex<Vec<Vec<u8>>>,
    /// Requests that it has passed on.
    passed: AtomicUsize,
}

impl Doorman {
    fn new(tls: Option<rustls::ServerConfig>, house: Option<&str>, right: Option<&'static [u8]>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let house = house.map(|address| address.parse().unwrap());
        let (logins, passed) = (Mutex::default(), AtomicUsize::new(0));
        let book = Arc::new(Book { house, port: address.port(), right, logins, passed });
        let (stop, tls) = (Arc::new(AtomicBool::new(false)), tls.map(Arc::new));
        let thread = std::thread::spawn({
            let (stop, book) = (Arc::clone(&stop), Arc::clone(&book));
            move || {
                for stream in listener.incoming().map(Result::unwrap) {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let (book, tls) = (Arc::clone(&book), tls.clone());
                    // It ends when the client goes.
                    std::thread::spawn(move || {
                        stream.set_read_timeout(Some(GUARD)).unwrap();
                        match tls {
                            Some(tls) => {
                                let session = rustls::ServerConnection::new(tls).unwrap();
                                attend(&mut rustls::StreamOwned::new(session, stream), &book);
                            }
                            None => attend(&mut { stream }, &book),
                        }
                    });
                }
            }
        });
        Self { address, stop, book, thread: Some(thread) }
    }

    fn logins(&self) -> Vec<Vec<u8>> {
        self.book.logins.lock().unwrap().clone()
    }
}

impl Drop for Doorman {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().unwrap().join();
    }
}

fn attend(stream: &mut (impl Read + Write), book: &Book) {
    let mut behind = book.house.map(|house| TcpStream::connect(house).unwrap());
    let mut inside = book.right.is_none();
    while hear(stream, book, behind.as_mut(), &mut inside).is_ok() {}
}

fn read(stream: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    let mut bytes = vec![0; u32::from_be_bytes(size) as usize];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn write(stream: &mut impl Write, bytes: &[u8]) -> std::io::Result<()> {
    stream.write_all(&(bytes.len() as u32).to_be_bytes())?;
    stream.write_all(bytes)?;
    stream.flush()
}

/// Answers one request of Kafka's protocol.
fn hear(
    stream: &mut (impl Read + Write),
    book: &Book,
    behind: Option<&mut TcpStream>,
    inside: &mut bool,
) -> std::io::Result<()> {
    let request = read(stream)?;
    let number = |at: usize| i16::from_be_bytes([request[at], request[at + 1]]);
    let mut answer = request[4..8].to_vec();
    match (number(0), number(2), behind) {
        // ApiVersions: the oldest form of it, with what it takes to log in and to look around.
        (18, 0, Some(behind)) => {
            answer = pass(&request, behind, book)?;
            if book.right.is_some() {
                let count = u32::from_be_bytes(answer[6..10].try_into().unwrap()) + 2;
                answer[6..10].copy_from_slice(&count.to_be_bytes());
                answer.extend([17i16, 0, 1, 36, 0, 0].into_iter().flat_map(i16::to_be_bytes));
            }
        }
        (18, version, _) => {
            answer.extend((if version == 0 { 0 } else { 35i16 }).to_be_bytes());
            let known = [[18i16, 0, 0], [17, 0, 1], [36, 0, 0], [3, 0, 4], [0, 0, 7], [22, 0, 1]];
            answer.extend((known.len() as u32).to_be_bytes());
            answer.extend(known.into_iter().flatten().flat_map(i16::to_be_bytes));
        }
        // SaslHandshake: the one mechanism that is known.
        (17, ..) => answer.extend([&[0, 0, 0, 0, 0, 1, 0, 5][..], b"PLAIN"].concat()),
        // SaslAuthenticate.
        (36, ..) => {
            let name = usize::try_from(number(8)).unwrap();
            let login = &request[10 + name + 4..];
            book.logins.lock().unwrap().push(login.to_vec());
            *inside = book.right == Some(login);
            let (code, text) = if *inside { (0i16, "") } else { (58, "not you") };
            answer.extend(code.to_be_bytes());
            answer.extend([&[0, text.len() as u8], text.as_bytes(), &[0; 4]].concat());
        }
        (_, _, Some(behind)) if *inside => answer = pass(&request, behind, book)?,
        other => panic!("{other:?}"),
    }
    write(stream, &answer)
}

/// Gives a request to the cluster. Where its answer names the cluster's address, it names the doorman's.
fn pass(request: &[u8], behind: &mut TcpStream, book: &Book) -> std::io::Result<Vec<u8>> {
    write(behind, request)?;
    let mut answer = read(behind)?;
    book.passed.fetch_add(1, Ordering::SeqCst);
    let named = |port: u16| [b"127.0.0.1".as_slice(), &u32::from(port).to_be_bytes()].concat();
    let (theirs, ours) = (named(book.house.unwrap().port()), named(book.port));
    for at in 0..answer.len().saturating_sub(ours.len() - 1) {
        if answer[at..].starts_with(&theirs) {
            answer[at..at + ours.len()].copy_from_slice(&ours);
        }
    }
    Ok(answer)
}

/// Certificates of the test's own: of an authority, a broker with a name, a client, and of another authority.
struct Files(tempfile::TempDir);

impl Files {
    fn new(host: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ca = authority(folder.path(), "ca");
        drop(authority(folder.path(), "other"));
        signed(folder.path(), "broker", &ca, &[host]);
        signed(folder.path(), "client", &ca, &["gateway"]);
        Self(folder)
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    /// The options for a client that trusts the authority, and for one that shows its certificate too.
    fn options(&self) -> [String; 2] {
        let ca = format!("ca={}", self.path("ca.pem"));
        let both = format!("{ca}&cert={}&key={}", self.path("client.pem"), self.path("client.key"));
        [ca, both]
    }

    fn builder(
        &self,
    ) -> (rustls::ConfigBuilder<rustls::ServerConfig, rustls::WantsVerifier>, Arc<rustls::crypto::CryptoProvider>) {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider));
        (builder.with_safe_default_protocol_versions().unwrap(), provider)
    }

    fn identity(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let chain = vec![CertificateDer::from_pem_file(self.path("broker.pem")).unwrap()];
        (chain, PrivateKeyDer::from_pem_file(self.path("broker.key")).unwrap())
    }

    /// A broker that shows a certificate.
    fn open(&self) -> rustls::ServerConfig {
        let (chain, key) = self.identity();
        self.builder().0.with_no_client_auth().with_single_cert(chain, key).unwrap()
    }

    /// A broker that wants one as well.
    fn mutual(&self) -> rustls::ServerConfig {
        let ((chain, key), (builder, provider)) = (self.identity(), self.builder());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.path("ca.pem")).unwrap()).unwrap();
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        builder.with_client_cert_verifier(verifier.build().unwrap()).with_single_cert(chain, key).unwrap()
    }
}

#[test]
fn brokers_and_gateways_show_certificates_and_logins() {
    let files = Files::new("localhost");
    let path = |name: &str| files.path(name);
    let broker = Doorman::new(Some(files.mutual()), None, None);
    let port = broker.address.port();
    let shown = format!("cert={}&key={}", path("client.pem"), path("client.key"));
    for (host, files, texts, logins) in [
        ("localhost", format!("ca={}&{shown}", path("ca.pem")), ["not you", "check user, password"], 1),
        (
            "localhost",
            format!("ca={}&{shown}", path("other.pem")),
            ["certificate verify failed", "check user, password"],
            1,
        ),
        // The certificate is that of another name.
        (
            "127.0.0.1",
            format!("ca={}&{shown}", path("ca.pem")),
            ["certificate verify failed", "check user, password"],
            1,
        ),
        ("localhost", format!("ca={}", path("ca.pem")), ["", ""], 1),
        (
            "localhost",
            format!("ca={}&cert={}&key={}", path("ca.pem"), path("client.pem"), path("broker.key")),
            ["key", ""],
            1,
        ),
    ] {
        let address = Address::parse(&format!("kafkas://me:geheim@{host}:{port}/?{files}")).unwrap();
        let mut sink = Kafka::new(KafkaOptions::parse(address).unwrap());
        // A certificate that is missing is not always said to be.
        let limit = if texts[0].is_empty() { SHORT } else { GUARD };
        let error = sink.send(&records(0..1), limit).unwrap_err();
        sink.close(GUARD);
        let text = error.to_string();
        assert!(matches!(error, RemoteError::Denied(_)) || texts[0].is_empty(), "{error:?}");
        assert!(texts.iter().all(|wanted| text.contains(wanted)) && !text.contains("geheim"), "{text}");
        assert_eq!(broker.logins().len(), logins, "{text}");
    }
    assert_eq!(broker.logins()[0], b"\0me\0geheim");
}

/// Reads the topic's one partition from its beginning until so many different records were seen.
fn consume(brokers: &str, different: usize) -> Vec<String> {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", brokers).set("group.id", "test").create().unwrap();
    let mut all = TopicPartitionList::new();
    all.add_partition_offset("vigil", 0, Offset::Beginning).unwrap();
    consumer.assign(&all).unwrap();
    let (start, mut seen, mut bodies) = (Instant::now(), Vec::new(), HashSet::new());
    while bodies.len() < different {
        assert!(start.elapsed() < GUARD, "{bodies:?}");
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
        let body = String::from_utf8(message.payload().unwrap().to_vec()).unwrap();
        bodies.insert(body.clone());
        seen.push(body);
    }
    seen
}

#[test]
fn records_arrive_over_tls_and_after_a_login() {
    let files = Files::new("127.0.0.1");
    let password = files.0.path().join("password");
    std::fs::write(&password, "geheim\n").unwrap();
    let [trust, shown] = files.options();
    let login = Some(b"\0me\0geheim".as_slice());
    let file = format!("password-file={}", password.display());
    for (name, tls, right, user, options) in [
        ("TLS", Some(files.open()), None, "", trust.clone()),
        ("TLS both ways", Some(files.mutual()), None, "", shown.clone()),
        ("a login over TLS", Some(files.open()), login, "me:geheim@", trust),
        ("a login over TLS both ways", Some(files.mutual()), login, "me@", format!("{shown}&{file}")),
        ("a login alone", None, login, "me@", format!("sasl=plain&{file}")),
    ] {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("vigil", 1, 1).unwrap();
        let scheme = if tls.is_some() { "kafkas" } else { "kafka" };
        let broker = Doorman::new(tls, Some(&cluster.bootstrap_servers()), right);
        let mut sink = kafka(&format!("{scheme}://{user}127.0.0.1:{}/?{options}", broker.address.port()));
        for start in [0, 10] {
            sink.send(&records(start..start + 10), GUARD).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        sink.close(GUARD);
        let wanted: Vec<String> = (0..20).map(|n| n.to_string()).collect();
        assert_eq!(consume(&cluster.bootstrap_servers(), 20), wanted, "{name}");
        assert!(broker.book.passed.load(Ordering::SeqCst) > 2, "{name}: they came by the door");
        assert!(broker.logins().iter().all(|it| Some(it.as_slice()) == right), "{name}");
        assert_eq!(broker.logins().is_empty(), right.is_none(), "{name}");
    }
}

#[test]
fn a_wrong_password_is_said_and_put_right() {
    let files = Files::new("127.0.0.1");
    let password = files.0.path().join("password");
    std::fs::write(&password, "falsch").unwrap();
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("vigil", 1, 1).unwrap();
    let right = Some(b"\0me\0geheim".as_slice());
    let broker = Doorman::new(Some(files.open()), Some(&cluster.bootstrap_servers()), right);
    let [trust, _] = files.options();
    let port = broker.address.port();
    let mut sink = kafka(&format!("kafkas://me@127.0.0.1:{port}/?{trust}&password-file={}", password.display()));
    let error = sink.send(&records(0..3), GUARD).unwrap_err();
    assert!(matches!(&error, RemoteError::Denied(text) if text.contains("not you")), "{error:?}");
    assert!(!error.to_string().contains("falsch"), "{error}");
    // It is read again for the next try.
    std::fs::write(&password, "geheim").unwrap();
    sink.send(&records(0..3), GUARD).unwrap();
    assert_eq!(consume(&cluster.bootstrap_servers(), 3), ["0", "1", "2"]);
}
