//! A full disk: a small file system in memory, mounted in a namespace of its own.

use super::*;

const FOLDER: &str = "VIGIL_SPOOL_FULL";

#[test]
fn a_full_disk_is_survived() {
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
        .args(["--exact", "full::child", "--nocapture"])
        .env(FOLDER, folder.path())
        .status()
        .unwrap();
    assert!(status.success());
}

/// Runs in the namespace. Does nothing as a test.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let folder = Path::new(&folder);
    let mut random = Random(5);
    let options = SpoolOptions { memory: 1 << 20, ..SpoolOptions::default() };
    let spool = Spool::open(folder, "x", options, clock()).unwrap();
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
    for _ in 0..1000 {
        spool.push(noise(Kind::Frame, pushed, 5000, &mut random));
        pushed += 1;
    }
    assert!(!spool.flush(LONG));
    let stats = spool.stats();
    assert!(stats.dropped() > 0 && stats.memory_bytes <= 1 << 20, "{stats:?}");
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
