//! Disks that fail: system calls of SQLite are answered with an error.

use std::ffi::{c_char, c_int, c_void};
use std::os::unix::fs::MetadataExt;
use std::sync::{LazyLock, MutexGuard};

use rusqlite::{Connection, ffi};

use super::*;

/// What fails: calls for a file, or for files with such an end of their name that are to be opened.
enum Fault {
    Read { inode: u64, bytes: std::ops::Range<i64>, error: i32 },
    Write { inode: u64, error: i32 },
    Open { end: String, error: i32 },
}

/// By the test that wants it, since tests run beside each other.
static FAULTS: LazyLock<Mutex<Vec<(u64, Fault)>>> = LazyLock::new(|| {
    replace_calls();
    Mutex::default()
});

fn faults() -> MutexGuard<'static, Vec<(u64, Fault)>> {
    FAULTS.lock().unwrap()
}

/// Faults of one test, until it ends.
struct Faults(u64);

impl Faults {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::SeqCst))
    }

    /// Pages of a file, counted from 1, cannot be read.
    fn unreadable(&self, path: &Path, pages: &[i64], error: i32) {
        let inode = std::fs::metadata(path).unwrap().ino();
        let fault = |page: &i64| (self.0, Fault::Read { inode, bytes: (page - 1) * 2048..page * 2048, error });
        faults().extend(pages.iter().map(fault));
    }

    /// A file cannot be written.
    fn unwritable(&self, path: &Path, error: i32) {
        let inode = std::fs::metadata(path).unwrap().ino();
        faults().push((self.0, Fault::Write { inode, error }));
    }

    /// A file cannot be opened.
    fn closed(&self, path: &Path, error: i32) {
        faults().push((self.0, Fault::Open { end: path.to_str().unwrap().to_owned(), error }));
    }

    fn end(&self) {
        faults().retain(|(test, _)| *test != self.0);
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        self.end();
    }
}

fn fail(error: i32) -> isize {
    // SAFETY: the calling thread's own errno.
    unsafe { *libc::__errno_location() = error };
    -1
}

fn inode(file: c_int) -> u64 {
    // SAFETY: all zeros is a valid `stat`, and it outlives the call.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        libc::fstat(file, &raw mut stat);
        stat.st_ino
    }
}

unsafe extern "C" fn pread(file: c_int, to: *mut c_void, count: usize, at: i64) -> isize {
    let of = inode(file);
    let hit = |fault: &(u64, Fault)| match &fault.1 {
        Fault::Read { inode, bytes, error } => {
            (*inode == of && bytes.start < at + count as i64 && at < bytes.end).then_some(*error)
        }
        _ => None,
    };
    let error = faults().iter().find_map(hit);
    // SAFETY: as SQLite calls it.
    error.map_or_else(|| unsafe { libc::pread(file, to, count, at) }, fail)
}

unsafe extern "C" fn pwrite(file: c_int, from: *const c_void, count: usize, at: i64) -> isize {
    let of = inode(file);
    let hit = |fault: &(u64, Fault)| match &fault.1 {
        Fault::Write { inode, error } => (*inode == of).then_some(*error),
        _ => None,
    };
    let error = faults().iter().find_map(hit);
    // SAFETY: as SQLite calls it.
    error.map_or_else(|| unsafe { libc::pwrite(file, from, count, at) }, fail)
}

unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: c_int) -> c_int {
    // SAFETY: SQLite gives a C string.
    let name = unsafe { std::ffi::CStr::from_ptr(path) }.to_string_lossy().into_owned();
    let hit = |fault: &(u64, Fault)| match &fault.1 {
        Fault::Open { end, error } => name.ends_with(end.as_str()).then_some(*error),
        _ => None,
    };
    let error = faults().iter().find_map(hit);
    // SAFETY: as SQLite calls it.
    error.map_or_else(|| unsafe { libc::open(path, flags, mode) }, |error| fail(error) as c_int)
}

fn replace_calls() {
    type Call = unsafe extern "C" fn();
    // SAFETY: the functions have the types of the calls that they replace; SQLite keeps pointers to functions of all types in this one.
    // Nothing else changes the calls, and each is replaced with one word.
    unsafe {
        let vfs = ffi::sqlite3_vfs_find(std::ptr::null());
        let set = (*vfs).xSetSystemCall.unwrap();
        let calls = [
            (c"pread", std::mem::transmute::<*const (), Call>(pread as *const ())),
            (c"pwrite", std::mem::transmute::<*const (), Call>(pwrite as *const ())),
            (c"open", std::mem::transmute::<*const (), Call>(open as *const ())),
        ];
        for (name, call) in calls {
            assert_eq!(set(vfs, name.as_ptr(), Some(call)), ffi::SQLITE_OK);
        }
    }
}

/// A closed spool with `count` records of noise in events and in frames, of which each is a block of several pages.
fn filled(folder: &Path, count: u64) -> PathBuf {
    let spool = Spool::open(folder, "x", SpoolOptions::default(), clock()).unwrap();
    let mut random = Random(11);
    for number in 0..count {
        for kind in [Kind::Event, Kind::Frame] {
            spool.push(noise(kind, number, 9000, &mut random));
        }
        assert!(spool.flush(LONG));
    }
    assert!(spool.close(LONG));
    spool.path().to_path_buf()
}

/// A page of the block of `kind` that has this number, which is counted from 1.
fn page(path: &Path, kind: Kind, number: u64) -> i64 {
    let db = Connection::open(path).unwrap();
    let before = format!("SELECT count(*) FROM {} WHERE id < ?1", kind.as_str());
    let before: u64 = db.query_row(&before, [number], |row| row.get(0)).unwrap();
    let text = "SELECT pageno FROM dbstat WHERE name = ?1 AND pagetype = 'overflow' AND path LIKE '%+000000' ORDER BY path \
                LIMIT 1 OFFSET ?2";
    db.query_row(text, (kind.as_str(), before), |row| row.get(0)).unwrap()
}

fn count(records: &[Outgoing], kind: Kind) -> usize {
    records.iter().filter(|record| record.kind == kind).count()
}

#[test]
fn a_part_that_cannot_be_read_costs_only_that() {
    // An unreadable sector; a file server that does not know the file any more.
    for error in [libc::EIO, libc::ESTALE] {
        let folder = tempfile::tempdir().unwrap();
        let path = filled(folder.path(), 100);
        let faults = Faults::new();
        faults.unreadable(&path, &[page(&path, Kind::Event, 41)], error);
        let spool = Spool::open(folder.path(), "x", SpoolOptions::default(), fast_clock()).unwrap();
        let receiver = Receiver::default();
        let shipper = ship(&spool, &receiver, 0);
        wait_until("all that can be read arrives", || receiver.arrived().len() == 199);
        assert_eq!(shipper.drain(LONG), Drained::Complete);
        let stats = spool.stats();
        assert_eq!((stats.corrupt, stats.waiting()), (1, 0), "errno {error}");
        assert_order(&receiver.arrived());
        spool.push(outgoing(Kind::Event, "afterwards", 1));
        assert_eq!(shipper.drain(LONG), Drained::Complete);
    }
}

#[test]
fn a_kind_that_cannot_be_read_holds_up_neither_others_nor_commits() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path(), 100);
    let faults = Faults::new();
    faults.unreadable(&path, &[page(&path, Kind::Event, 41)], libc::ESTALE);
    let clock = HandClock::on_day(20_000);
    let spool = Spool::open(folder.path(), "x", SpoolOptions::default(), clock.clone()).unwrap();
    let receiver = Receiver::default();
    let _shipper = ship(&spool, &receiver, 0);
    wait_until("frames arrive", || count(&receiver.arrived(), Kind::Frame) == 100);
    assert_eq!(count(&receiver.arrived(), Kind::Event), 40);
    spool.push(outgoing(Kind::Event, "afterwards", 1));
    clock.pass(1100);
    wait_until("commits go on", || spool.stats().waiting_on_disk[1] == 61);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().filter(is_aside).count(), 0, "it may be over soon");
    faults.end();
    clock.pass(10_000);
    wait_until("it is over", || receiver.arrived().len() == 201);
    assert_eq!(spool.stats().corrupt, 0);
}

fn is_aside(file: &std::io::Result<std::fs::DirEntry>) -> bool {
    file.as_ref().unwrap().file_name().to_string_lossy().contains("corrupt-")
}

#[test]
fn a_part_that_cannot_be_read_is_given_up_when_it_is_too_old_or_there_is_no_room() {
    for too_old in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let path = filled(folder.path(), 100);
        // A file of an earlier version: to remove a row each of its pages is read.
        Connection::open(&path).unwrap().execute_batch("PRAGMA auto_vacuum = NONE; VACUUM").unwrap();
        let faults = Faults::new();
        faults.unreadable(&path, &[page(&path, Kind::Frame, 1)], libc::ESTALE);
        let options = SpoolOptions { bytes: if too_old { 64 << 20 } else { 4 << 20 }, ..SpoolOptions::default() };
        let clock = HandClock::on_day(if too_old { 40_000 } else { 1 });
        let spool = Spool::open(folder.path(), "x", options, clock.clone()).unwrap();
        // Nobody takes them. They are all too old; or the new ones need their place.
        let mut pushed = 0;
        let done = || {
            clock.pass(11_000);
            let stats = spool.stats();
            if too_old { stats.expired == 199 } else { stats.dropped() > 10 }
        };
        let until = Instant::now() + LONG;
        while !done() {
            assert!(Instant::now() < until, "{:?}", spool.stats());
            if !too_old {
                spool.push(noise(Kind::Event, pushed, 9000, &mut Random(5 + pushed)));
                pushed += 1;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(spool.stats().corrupt, 1, "too old: {too_old}");
    }
}

#[test]
fn a_replacement_that_fails_is_made_later_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path(), 100);
    let faults = Faults::new();
    let bad = page(&path, Kind::Event, 41);
    faults.unreadable(&path, &[bad], libc::EIO);
    faults.closed(&folder.path().join("x.spool.new"), libc::EACCES);
    let clock = HandClock::on_day(20_000);
    let spool = Spool::open(folder.path(), "x", SpoolOptions::default(), clock.clone()).unwrap();
    let (sender, told) = std::sync::mpsc::channel();
    spool.report_to(Box::new(move |notice| drop(sender.send(notice))));
    let receiver = Receiver::default();
    let shipper = ship(&spool, &receiver, 0);
    let notice = told.recv_timeout(LONG).unwrap();
    assert!(notice.degraded && notice.text.contains("cannot be replaced"), "{notice:?}");
    for _ in 0..3 {
        let errors = spool.stats().errors;
        clock.pass(13_000);
        wait_until("it is tried again", || spool.stats().errors > errors);
    }
    assert!(path.exists() && std::fs::read_dir(folder.path()).unwrap().filter(is_aside).count() == 0);
    faults.end();
    faults.unreadable(&path, &[bad], libc::EIO);
    wait_until("all that can be read arrives", || {
        clock.pass(1000);
        receiver.arrived().len() == 199
    });
    assert_eq!(shipper.drain(LONG), Drained::Complete);
    assert_eq!((spool.stats().corrupt, spool.stats().waiting()), (1, 0));
    let salvage = std::iter::from_fn(|| told.recv_timeout(LONG).ok()).find(|n| n.text.contains("was set aside"));
    assert!(salvage.unwrap().text.contains("about 1 are lost"));
}

#[test]
fn what_is_gone_when_the_file_is_opened_again_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path(), 100);
    let faults = Faults::new();
    faults.unreadable(&path, &[page(&path, Kind::Event, 41)], libc::EIO);
    faults.closed(&folder.path().join("x.spool.new"), libc::EACCES);
    let clock = HandClock::on_day(20_000);
    let spool = Spool::open(folder.path(), "x", SpoolOptions::default(), clock.clone()).unwrap();
    // Nor can the old file be opened once it is closed.
    faults.closed(&path, libc::EACCES);
    let (sender, told) = std::sync::mpsc::channel();
    spool.report_to(Box::new(move |notice| drop(sender.send(notice))));
    let receiver = Receiver::default();
    let shipper = ship(&spool, &receiver, 0);
    assert!(told.recv_timeout(LONG).unwrap().text.contains("cannot be replaced"));
    // Somebody removes it.
    std::fs::remove_file(&path).unwrap();
    faults.end();
    wait_until("what was read is sent, and the rest is lost", || {
        clock.pass(1000);
        spool.stats().waiting() == 0
    });
    assert_eq!(shipper.drain(LONG), Drained::Complete);
    let stats = spool.stats();
    assert!(stats.corrupt > 50, "{stats:?}");
    assert_eq!(stats.corrupt + stats.acknowledged, 200);
    assert_eq!(receiver.arrived().len() as u64, stats.acknowledged);
}

#[test]
fn a_disk_that_damages_what_it_is_given_is_not_filled_with_copies() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path(), 100);
    let faults = Faults::new();
    faults.unreadable(&path, &[page(&path, Kind::Event, 41)], libc::EIO);
    let clock = HandClock::on_day(20_000);
    let spool = Spool::open(folder.path(), "x", SpoolOptions::default(), clock.clone()).unwrap();
    let (sender, told) = std::sync::mpsc::channel();
    spool.report_to(Box::new(move |notice| drop(sender.send(notice))));
    let asides = || std::fs::read_dir(folder.path()).unwrap().filter(is_aside).count();
    let receiver = Receiver::default();
    // At first twenty are sent, and some more are read ahead.
    let (pace, ship_clock) = (Pace { replay_rate: 20, ..Pace::default() }, HandClock::on_day(1));
    let remote = Box::new(receiver.clone());
    let _shipper = Shipper::start(spool.clone(), remote, pace, ship_clock.clone(), Box::new(|_| {})).unwrap();
    assert!(told.recv_timeout(LONG).unwrap().text.contains("was set aside as"));
    assert_eq!(asides(), 1);
    // So is the new one damaged, at once.
    faults.unreadable(&path, &[page(&path, Kind::Event, 91)], libc::EIO);
    let send = || {
        ship_clock.pass(1000);
        true
    };
    wait_until("it is noticed", || send() && spool.stats().errors > 1);
    let notice = told.recv_timeout(LONG).unwrap();
    assert!(notice.text.contains("damaged again within a minute, and is replaced after that"), "{notice:?}");
    for _ in 0..4 {
        let errors = spool.stats().errors;
        clock.pass(13_000);
        wait_until("it is not forgotten", || spool.stats().errors > errors);
        assert_eq!(asides(), 1);
    }
    wait_until("all that can be read arrives", || {
        clock.pass(1000);
        send() && receiver.arrived().len() == 198
    });
    assert_eq!((asides(), spool.stats().corrupt), (2, 2));
}

#[test]
fn a_disk_that_cannot_be_written_is_told_and_memory_takes_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let clock = HandClock::on_day(20_000);
    let spool = Spool::open(folder.path(), "x", SpoolOptions::default(), clock.clone()).unwrap();
    let (sender, told) = std::sync::mpsc::channel();
    spool.report_to(Box::new(move |notice| drop(sender.send(notice))));
    spool.push(outgoing(Kind::Event, "gate", 0));
    assert!(spool.flush(LONG));
    let faults = Faults::new();
    for end in ["", "-wal"] {
        faults.unwritable(&folder.path().join(format!("x.spool{end}")), libc::EROFS);
    }
    for number in 1..100 {
        spool.push(outgoing(Kind::Event, "gate", number));
    }
    assert!(!spool.flush(LONG));
    let notice = told.recv_timeout(LONG).unwrap();
    assert!(notice.degraded && notice.text.contains("records wait in memory; check the disk"), "{notice:?}");
    let receiver = Receiver::default();
    let shipper = ship(&spool, &receiver, 0);
    assert_eq!(shipper.drain(LONG), Drained::Complete);
    let numbers: Vec<_> = receiver.arrived().iter().map(|record| number(&record.body)).collect();
    assert_eq!(numbers, (0..100).collect::<Vec<_>>(), "they are sent from memory, after what lies on the disk");
    receiver.away(true);
    let _ = shipper.drain(LONG);
    spool.push(outgoing(Kind::Event, "gate", 100));
    faults.end();
    wait_until("it is committed", || {
        clock.pass(1000);
        spool.stats().waiting_on_disk[1] == 1
    });
    wait_until("all is said to be well", || {
        clock.pass(10_000);
        told.try_recv().is_ok_and(|notice| !notice.degraded)
    });
    assert_eq!((spool.stats().corrupt, spool.stats().dropped()), (0, 0));
}
