//! A full disk: a small file system in memory, mounted in a namespace of its own.

use super::*;

const FOLDER: &str = "VIGIL_SPOOL_FULL";

/// Runs the test `name`, which needs a folder on a small file system, in a namespace that has one.
fn with_a_small_disk(name: &str) {
    let folder = tempfile::tempdir().unwrap();
    let script = format!("mount -t tmpfs -o size=16m tmpfs '{0}' && exec \"$@\"", folder.path().display());
    let namespace = Command::new("unshare").args(["-rm", "true"]).stderr(Stdio::null()).status();
    if !namespace.is_ok_and(|status| status.success()) {
        println!("skipped: this system lets no one mount in a namespace (unshare -rm)");
        return;
    }
    let status = Command::new("unshare")
        .args(["-rm", "sh", "-c", &script, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &format!("full::{name}"), "--nocapture"])
        .env(FOLDER, folder.path())
        .status()
        .unwrap();
    assert!(status.success());
}

/// Somebody else takes the disk but for `left` bytes.
fn fill(folder: &Path, left: u64) {
    let free = || {
        let disk = rustix::fs::statvfs(folder).unwrap();
        disk.f_bavail * disk.f_frsize
    };
    let other = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("other")).unwrap();
    while free() > left {
        let bytes = (free() - left).min(64 << 10);
        if !std::io::Write::write(&mut &other, &vec![1; bytes as usize]).is_ok_and(|n| n > 0) {
            break;
        }
    }
}

#[test]
fn a_full_disk_is_survived() {
    with_a_small_disk("child");
}

#[test]
fn a_disk_that_is_nearly_full_takes_what_it_can() {
    with_a_small_disk("child_with_little_room");
}

#[test]
fn alarms_and_events_find_room_on_a_full_disk() {
    with_a_small_disk("child_with_alarms");
}

#[test]
fn a_damaged_file_on_a_full_disk_is_not_lost() {
    with_a_small_disk("child_with_damage");
}

/// What runs in the namespace does nothing as a test.
#[test]
fn child_with_little_room() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let folder = Path::new(&folder);
    let mut random = Random(5);
    let spool = Spool::open(folder, "x", SpoolOptions::default(), clock()).unwrap();
    spool.push(noise(Kind::Frame, 0, 100, &mut random));
    assert!(spool.flush(LONG));
    // Much less than what waits, which would be committed at once if there were room.
    fill(folder, 2 << 20);
    for number in 1..400 {
        spool.push(noise(Kind::Frame, number, 10_000, &mut random));
    }
    spool.push(noise(Kind::Alarm, 400, 10_000, &mut random));
    assert!(!spool.flush(LONG));
    wait_until("a part of it is committed", || spool.stats().waiting_on_disk[2] > 20);
    let stats = spool.stats();
    assert_eq!((stats.waiting_on_disk[0], stats.waiting(), stats.dropped()), (1, 401, 0), "{stats:?}");
    std::fs::remove_file(folder.join("other")).unwrap();
    wait_until("the rest follows", || spool.stats().waiting_in_memory == [0; 4]);
    println!("a disk with little room: {stats:?}");
}

/// What runs in the namespace does nothing as a test.
#[test]
fn child_with_alarms() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let folder = Path::new(&folder);
    let mut random = Random(5);
    let spool = Spool::open(folder, "x", SpoolOptions::default(), fast_clock()).unwrap();
    let mut pushed = 0;
    // Frames of the disk's own size, as far as they find room.
    while spool.flush(LONG) {
        for _ in 0..20 {
            spool.push(noise(Kind::Frame, pushed, 5000, &mut random));
            pushed += 1;
        }
    }
    fill(folder, 0);
    let before = spool.stats();
    for number in 0..200 {
        spool.push(noise(Kind::Alarm, number, 5000, &mut random));
        spool.push(noise(Kind::Event, number, 5000, &mut random));
    }
    wait_until("they are on the disk", || spool.stats().waiting_on_disk[..2] == [200; 2]);
    let stats = spool.stats();
    assert!(stats.dropped[2] > 300 && stats.dropped[..2] == [0; 2], "frames make room: {stats:?}");
    assert_eq!(stats.waiting() + stats.dropped(), pushed + 400);
    assert!(stats.waiting_on_disk[2] + 700 > before.waiting_on_disk[2], "as many as are needed: {before:?} {stats:?}");
    // When hardly any frames are left, events make room for alarms, and alarms for nothing.
    let mut events = 200;
    while spool.stats().waiting_on_disk[2] > 40 {
        for _ in 0..200 {
            spool.push(noise(Kind::Event, events, 5000, &mut random));
            events += 1;
        }
        wait_until("events take the place of frames", || {
            let stats = spool.stats();
            stats.waiting_in_memory[1] == 0 || stats.waiting_on_disk[2] <= 40
        });
    }
    pushed += events + 300;
    for number in 200..300 {
        spool.push(noise(Kind::Alarm, number, 5000, &mut random));
    }
    wait_until("alarms take the place of events", || spool.stats().waiting_on_disk[0] == 300);
    let stats = spool.stats();
    assert!(stats.dropped[1] > 0 && stats.dropped[0] == 0, "{stats:?}");
    assert_eq!(stats.waiting() + stats.dropped(), pushed);
    let receiver = Receiver::default();
    assert_eq!(ship(&spool, &receiver, 0).drain(LONG), Drained::Complete);
    assert_order(&receiver.arrived());
    assert_eq!(receiver.arrived().len() as u64 + spool.stats().dropped(), pushed);
    println!("alarms on a full disk: {:?}", spool.stats());
}

/// What runs in the namespace does nothing as a test.
#[test]
fn child_with_damage() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let folder = Path::new(&folder);
    let mut random = Random(5);
    let open = || Spool::open(folder, "x", SpoolOptions::default(), clock());
    let spool = open().unwrap();
    for number in 0..800 {
        spool.push(noise(Kind::Frame, number, 5000, &mut random));
        if number % 20 == 19 {
            assert!(spool.flush(LONG));
        }
    }
    let path = spool.path().to_path_buf();
    drop(spool);
    let page: u64 = rusqlite::Connection::open(&path)
        .unwrap()
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'telemetry'", [], |row| row.get(0))
        .unwrap();
    let whole = std::fs::read(&path).unwrap();
    let mut bad = whole.clone();
    bad[(page as usize - 1) * 2048..page as usize * 2048].fill(0xa5);
    std::fs::write(&path, &bad).unwrap();
    // Not a byte is left: nothing is touched.
    fill(folder, 0);
    for _ in 0..3 {
        let error = open().err().unwrap().to_string();
        assert!(error.contains("no space left") || error.contains("disk"), "{error}");
        assert_eq!(list(folder).unwrap()[0].set_aside, [] as [PathBuf; 0]);
        assert!(std::fs::read(&path).unwrap() == bad);
    }
    // Room for a part of it: that is taken, and the rest is counted.
    let other = std::fs::OpenOptions::new().write(true).open(folder.join("other")).unwrap();
    let rest = other.metadata().unwrap().len() - (3 << 20);
    other.set_len(rest).unwrap();
    let spool = open().unwrap();
    let (sender, told) = std::sync::mpsc::channel();
    spool.report_to(Box::new(move |notice| drop(sender.send(notice))));
    let text = told.recv_timeout(LONG).unwrap().text;
    let stats = spool.stats();
    let (kept, lost) = (stats.waiting(), stats.corrupt);
    assert!(kept > 100 && kept + lost == 800, "{stats:?}");
    let expected = format!("{kept} records were recovered, about {lost} are lost; not all of it could be copied");
    assert!(text.contains(&expected), "{text}");
    assert!(std::fs::read(&list(folder).unwrap()[0].set_aside[0]).unwrap() == bad);
    println!("a damaged file on a full disk: {text}");
}

/// What runs in the namespace does nothing as a test.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let folder = Path::new(&folder);
    let mut random = Random(5);
    let spool = Spool::open(folder, "x", SpoolOptions::default(), clock()).unwrap();
    let (sender, told) = std::sync::mpsc::channel();
    spool.report_to(Box::new(move |notice| drop(sender.send(notice))));

    // Somebody else has a part of the disk. The spool fills the rest, and says so.
    std::fs::write(folder.join("other"), vec![1; 6 << 20]).unwrap();
    let mut pushed = 0;
    while spool.flush(LONG) {
        for _ in 0..20 {
            spool.push(noise(Kind::Frame, pushed, 5000, &mut random));
            pushed += 1;
        }
    }
    let notice = told.recv_timeout(LONG).unwrap();
    assert!(notice.degraded && notice.text.contains("there is no space left; records wait in memory"), "{notice:?}");
    let full = spool.stats();
    assert!(full.errors > 0 && full.disk_bytes > 5 << 20, "{full:?}");
    assert_eq!((full.waiting(), full.dropped()), (pushed, 0), "memory holds what the disk does not take");
    for _ in 0..4000 {
        spool.push(noise(Kind::Frame, pushed, 5000, &mut random));
        pushed += 1;
    }
    assert!(!spool.flush(LONG));
    let stats = spool.stats();
    assert!(stats.dropped() > 0 && stats.memory_bytes <= 16 << 20, "{stats:?}");
    // That is worse, and told too.
    let notice = told.recv_timeout(LONG).unwrap();
    assert!(notice.degraded && notice.text.contains("lost records"), "{notice:?}");
    assert_eq!(stats.waiting() + stats.dropped(), pushed);
    // Even the last byte is taken by somebody else.
    let rest = std::fs::File::create(folder.join("rest")).unwrap();
    while std::io::Write::write(&mut &rest, &[1; 512]).is_ok_and(|n| n > 0) {}

    // What is acknowledged is removed although the disk is full, and makes room for what waits in memory.
    let receiver = Receiver::default();
    let shipper = ship(&spool, &receiver, 0);
    assert_eq!(shipper.drain(LONG), Drained::Complete);
    let numbers: Vec<u64> = receiver.arrived().iter().map(|r| number(&r.body)).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b));
    let stats = spool.stats();
    assert_eq!(stats.acknowledged + stats.dropped(), pushed);
    assert_eq!((stats.waiting(), stats.corrupt), (0, 0));
    wait_until("the rows are removed", || found(spool.path()).is_empty());
    receiver.away(true);
    for number in 0..100 {
        spool.push(noise(Kind::Event, number, 5000, &mut random));
    }
    wait_until("the disk works again", || spool.stats().waiting_on_disk[1] == 100);
    receiver.away(false);
    assert_eq!(shipper.drain(LONG), Drained::Complete);

    // Filled by somebody else, then free again: it recovers by itself.
    receiver.away(true);
    let _ = shipper.drain(LONG);
    let mut filler = Vec::new();
    while std::io::Write::write(&mut &rest, &[1; 512]).is_ok_and(|n| n > 0) {}
    for number in 0..4000 {
        filler.push(noise(Kind::Frame, number, 5000, &mut random));
    }
    let before = spool.stats().errors;
    let mut sent = filler.into_iter();
    while spool.stats().errors == before {
        sent.by_ref().take(20).for_each(|record| spool.push(record));
        spool.flush(LONG);
    }
    std::fs::remove_file(folder.join("other")).unwrap();
    wait_until("all of memory is committed", || spool.stats().waiting_in_memory == [0; 4]);
    receiver.away(false);
    assert_eq!(shipper.drain(LONG), Drained::Complete);
    assert_eq!(spool.stats().corrupt, 0);
    println!("a full disk: {:?}", spool.stats());
}
