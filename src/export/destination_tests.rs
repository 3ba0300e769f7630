use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;

use super::super::kind::Kind;
use super::super::writer::{Change, SystemClock};
use super::*;

/// Far longer than anything here takes; a test that waits for it fails.
const LONG: Duration = Duration::from_secs(60);

/// A web server that takes everything, or is not able to just now.
struct Server {
    port: u16,
    shared: Arc<(AtomicBool, AtomicUsize, AtomicBool)>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(able: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new((AtomicBool::new(able), AtomicUsize::new(0), AtomicBool::new(false)));
        let own = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().take_while(|_| !own.2.load(Ordering::SeqCst)) {
                let own = Arc::clone(&own);
                std::thread::spawn(move || serve(stream.unwrap(), &own.0, &own.1));
            }
        });
        Self { port, shared, thread: Some(thread) }
    }

    fn uri(&self) -> String {
        format!("http://127.0.0.1:{}/in", self.port)
    }

    fn calls(&self) -> usize {
        self.shared.1.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.2.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Answers until the client goes.
fn serve(stream: TcpStream, able: &AtomicBool, calls: &AtomicUsize) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if let Some(text) = line.to_lowercase().strip_prefix("content-length:") {
                length = text.trim().parse().ok()?;
            }
            if line == "\r\n" {
                break;
            }
        }
        reader.read_exact(&mut vec![0; length]).ok()?;
        calls.fetch_add(1, Ordering::SeqCst);
        let status = if able.load(Ordering::SeqCst) { "200 OK" } else { "503 Service Unavailable" };
        write!(reader.get_mut(), "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").ok()?;
    }
}

fn how(by: &str) -> How {
    How { by: by.into(), queue_size: 1, folder: None, spool: Some(SpoolOptions::default()), pace: Pace::default() }
}

fn remote(uri: &str) -> RemoteUri {
    RemoteUri::parse(uri).unwrap().unwrap()
}

fn join_with(uri: &str, folder: &Path, how: How, report: Report) -> Result<Member, RouteError> {
    join(&remote(uri), folder, how, Arc::new(SystemClock::default()), report)
}

fn member(uri: &str, folder: &Path) -> Member {
    join_with(uri, folder, how("gate"), Box::new(|_| {})).unwrap()
}

fn push(member: &Member, records: usize) {
    for number in 0..records {
        member.push(Outgoing { kind: Kind::Event, camera: "gate".into(), body: format!("{{\"n\":{number}}}").into() });
    }
}

fn waiting(member: &Member) -> u64 {
    member.stats().waiting.unwrap().records
}

/// Somebody who listens and never answers.
fn frozen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("http://{}/in", listener.local_addr().unwrap());
    (listener, uri)
}

#[test]
fn many_who_leave_a_frozen_receiver_take_as_long_as_one() {
    let (_listener, uri) = frozen();
    let folder = tempfile::tempdir().unwrap();
    let members: Vec<Member> = (0..16).map(|_| member(&uri, folder.path())).collect();
    members.iter().for_each(|member| push(member, 3));
    let limit = Duration::from_secs(2);
    let start = Instant::now();
    members.iter().for_each(|member| member.leave(limit));
    // One after the other, as a pipeline stops them.
    assert!(start.elapsed() < 4 * limit, "{:?}", start.elapsed());
    let again = member(&uri, folder.path());
    assert_eq!(waiting(&again), 48, "all of them are in the spool");
    again.leave(limit);
}

#[test]
fn who_leaves_last_does_not_try_again_what_was_just_in_vain() {
    let server = Server::start(false);
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (member(&server.uri(), folder.path()), member(&server.uri(), folder.path()));
    push(&one, 3);
    // Often, so that the next try that it makes by itself is far away.
    for _ in 0..6 {
        assert_eq!(one.drain(LONG), Drained::Failed);
    }
    let calls = server.calls();
    two.leave(LONG);
    one.leave(LONG);
    assert_eq!(server.calls(), calls);
    let (one, two) = (member(&server.uri(), folder.path()), member(&server.uri(), folder.path()));
    assert_eq!(one.drain(LONG), Drained::Failed);
    server.shared.0.store(true, Ordering::SeqCst);
    push(&two, 1);
    one.leave(LONG);
    two.leave(LONG);
    assert_eq!(waiting(&member(&server.uri(), folder.path())), 0, "something new has come");
}

#[test]
fn the_one_of_many_who_leaves_last_drains() {
    let server = Server::start(true);
    let folder = tempfile::tempdir().unwrap();
    let members: Vec<Member> = (0..8).map(|_| member(&server.uri(), folder.path())).collect();
    std::thread::scope(|scope| {
        for member in &members {
            scope.spawn(|| {
                push(member, 10);
                member.leave(LONG);
            });
        }
    });
    assert_eq!(waiting(&members[0]), 0);
    assert_eq!(members[0].stats().written, 80);
}

#[test]
fn a_backlog_that_cannot_be_sent_in_time_is_no_trouble_and_not_waited_for() {
    let server = Server::start(false);
    let folder = tempfile::tempdir().unwrap();
    let first = member(&server.uri(), folder.path());
    push(&first, 5000);
    assert_eq!(first.drain(LONG), Drained::Failed);
    first.leave(LONG);
    server.shared.0.store(true, Ordering::SeqCst);
    let slow = How { pace: Pace { replay_rate: 20, ..Pace::default() }, ..how("gate") };
    let second = join_with(&server.uri(), folder.path(), slow, Box::new(|_| {})).unwrap();
    push(&second, 1);
    let limit = Duration::from_secs(10);
    let start = Instant::now();
    assert_eq!(second.drain(limit), Drained::Failed, "nothing that anybody should be told of");
    second.leave(limit);
    assert!(start.elapsed() < limit, "{:?}", start.elapsed());
}

#[test]
fn who_wants_other_options_waits_for_those_who_are_leaving() {
    let (_listener, uri) = frozen();
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (member(&uri, folder.path()), member(&uri, folder.path()));
    push(&one, 1);
    let path = one.path.clone();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            one.drain(Duration::from_secs(3));
            one.leave(LONG);
            two.leave(Duration::from_secs(3));
        });
        while change(&path, |slot| slot.leaving) == Some(0) {
            std::thread::yield_now();
        }
        let other = member(&format!("{uri}?timeout=77s"), folder.path());
        assert_eq!(waiting(&other), 1);
        other.leave(Duration::from_secs(1));
    });
}

#[test]
fn options_of_the_spool_hold_once_those_with_others_have_left() {
    let (_listener, uri) = frozen();
    let folder = tempfile::tempdir().unwrap();
    let one = member(&uri, folder.path());
    push(&one, 1);
    let path = one.path.clone();
    std::thread::scope(|scope| {
        scope.spawn(|| one.leave(Duration::from_secs(3)));
        while change(&path, |slot| slot.leaving) == Some(0) {
            std::thread::yield_now();
        }
        let how = How { pace: Pace { replay_rate: 7, ..Pace::default() }, ..how("yard") };
        let other = join_with(&uri, folder.path(), how, Box::new(|_| {})).unwrap();
        assert_eq!((other.remark(), other.destination.pace.replay_rate), (None, 7));
        other.leave(Duration::from_secs(1));
    });
}

#[test]
fn who_wants_other_options_than_those_who_stay_is_told_soon() {
    let server = Server::start(true);
    let folder = tempfile::tempdir().unwrap();
    let stays = member(&server.uri(), folder.path());
    let start = Instant::now();
    let other = join_with(&format!("{}?gzip=no", server.uri()), folder.path(), how("yard"), Box::new(|_| {}));
    assert!(start.elapsed() < LEAVING.0, "{:?}", start.elapsed());
    let text = other.err().unwrap().to_string();
    let bare = format!("http://127.0.0.1:{}/in", server.port);
    assert_eq!(
        text,
        format!("another element of this process sends to {bare} with other options; give both the same uri")
    );
    stays.leave(LONG);
}

#[test]
fn options_of_the_spool_that_do_not_hold_are_told() {
    let server = Server::start(true);
    let folder = tempfile::tempdir().unwrap();
    let join = |how: How| join_with(&server.uri(), folder.path(), how, Box::new(|_| {})).unwrap();
    let first = join(how("gate"));
    assert_eq!(first.remark(), None);
    assert_eq!(join(how("yard")).remark(), None);
    let anything = How { spool: None, pace: Pace { replay_rate: 7, ..Pace::default() }, ..how("telemetry") };
    assert_eq!(join(anything.clone()).remark(), None);
    let options = SpoolOptions { age: None, durability: Durability::Relaxed, ..SpoolOptions::default() };
    let other = How { spool: Some(options), pace: Pace { replay_rate: 7, ..Pace::default() }, ..how("door") };
    let text = join(other.clone()).remark().unwrap().to_owned();
    let begin = format!("gate was the first of this process to send to http://127.0.0.1:{}/in, and its", server.port);
    assert!(text.starts_with(&begin), "{text}");
    for part in [
        "spool-age is 604800s and not none",
        "spool-durability is every-commit and not relaxed",
        "replay-rate is 1000 and not 7",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert!(!text.contains("spool-size") && !text.contains("replay-order"), "{text}");
    first.leave(LONG);
    // Who wants nothing and comes first gets what there is by default.
    let first = join(anything);
    assert!(join(other).remark().unwrap().starts_with("telemetry was the first"));
    first.leave(LONG);
}

#[test]
fn messages_have_the_counters_of_stats() {
    let server = Server::start(false);
    let folder = tempfile::tempdir().unwrap();
    let (told, hear) = channel();
    let report = || {
        let told = told.clone();
        Box::new(move |change: Change| drop(told.send(change)))
    };
    let one = join_with(&server.uri(), folder.path(), how("gate"), report()).unwrap();
    push(&one, 3);
    for _ in 0..6 {
        assert_eq!(one.drain(LONG), Drained::Failed);
    }
    let first = hear.recv_timeout(LONG).unwrap();
    assert_eq!((first.degraded, first.stats.written, first.stats.errors, first.stats.bytes), (true, 0, 1, 0));
    let two = join_with(&server.uri(), folder.path(), how("yard"), report()).unwrap();
    let late = hear.recv_timeout(LONG).unwrap();
    assert_eq!((late.degraded, late.stats), (true, two.stats().into()));
    assert!(late.stats.errors >= 6);
    server.shared.0.store(true, Ordering::SeqCst);
    assert_eq!(two.drain(LONG), Drained::Complete);
    let good: Vec<Change> = (0..2).map(|_| hear.recv_timeout(LONG).unwrap()).collect();
    for change in good {
        let stats = (change.stats.written, change.stats.errors, change.stats.bytes);
        assert_eq!((change.degraded, stats), (false, (3, late.stats.errors, 21)));
    }
    drop((one, two));
}

#[test]
fn a_folder_has_one_path_however_it_is_written() {
    let server = Server::start(true);
    let folder = tempfile::tempdir().unwrap();
    let real = folder.path().canonicalize().unwrap();
    std::fs::create_dir(real.join("spool")).unwrap();
    std::os::unix::fs::symlink(real.join("spool"), real.join("link")).unwrap();
    for text in ["spool", "./spool", "spool/", "spool/../spool", "link", "./link/"] {
        assert_eq!(only_path(&real.join(text)), real.join("spool"), "{text}");
    }
    assert_eq!(only_path(&real.join("link/not/yet")), real.join("spool/not/yet"));
    assert!(only_path(Path::new("spool")).is_absolute());
    let one = member(&server.uri(), &real.join("spool"));
    let two = member(&server.uri(), &real.join("link"));
    assert!(Arc::ptr_eq(&one.destination, &two.destination));
}

#[test]
fn a_panic_while_it_is_opened_is_no_trouble_to_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let uri = remote("http://127.0.0.1:9/in");
    let path = folder.path().join(uri.name());
    let panics = std::panic::catch_unwind(|| enter(&path, &uri, None, || panic!("opening")).is_ok());
    assert!(panics.is_err());
    let start = Instant::now();
    assert!(matches!(enter(&path, &uri, None, || Err(RouteError::NoFolder)), Err(RouteError::NoFolder)));
    assert!(start.elapsed() < PATIENCE);
    assert!(matches!(enter(&path, &uri, None, || Err(RouteError::NoFolder)), Err(RouteError::NoFolder)));
}
