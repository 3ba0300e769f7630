//! Files that are damaged or are no spools.

use super::*;

/// A spool with `count` records per kind, closed.
fn filled(folder: &Path, count: u64) -> PathBuf {
    let spool = Spool::open(folder, "x", SpoolOptions::default(), clock()).unwrap();
    for number in 0..count {
        for kind in Kind::ALL {
            spool.push(outgoing(kind, "gate", number));
        }
        if number % 100 == 99 {
            assert!(spool.flush(LONG));
        }
    }
    assert!(spool.close(LONG));
    spool.path().to_path_buf()
}

/// Opens the spool in `folder` and takes everything out: what arrived, and how many records are known to be lost.
fn take_out(folder: &Path) -> (Vec<Outgoing>, u64) {
    let spool = Spool::open(folder, "x", SpoolOptions::default(), clock()).unwrap();
    let receiver = Receiver::default();
    let shipper = ship(&spool, &receiver, 0);
    assert_eq!(shipper.drain(LONG), Drained::Complete);
    // What comes afterwards is taken as ever.
    spool.push(outgoing(Kind::Event, "afterwards", 1));
    assert_eq!(shipper.drain(LONG), Drained::Complete);
    assert!(shipper.stop(LONG));
    let mut arrived = receiver.arrived();
    assert_eq!(arrived.pop().map(|r| r.camera), Some("afterwards".into()));
    (arrived, spool.stats().corrupt)
}

fn aside(folder: &Path) -> Vec<PathBuf> {
    list(folder).unwrap()[0].set_aside.clone()
}

#[test]
fn a_bad_block_costs_that_block_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path(), 1000);
    let mut bytes = std::fs::read(&path).unwrap();
    // In the middle of the compressed records of some block: a zstd frame's magic number, and then far enough.
    let frames: Vec<_> = bytes.windows(4).enumerate().filter(|(_, w)| *w == [0x28, 0xb5, 0x2f, 0xfd]).collect();
    let at = frames[frames.len() / 2].0 + 200;
    bytes[at] ^= 0x10;
    std::fs::write(&path, bytes).unwrap();
    let (arrived, corrupt) = take_out(folder.path());
    assert!(corrupt > 0 && corrupt <= 200, "{corrupt}");
    assert_eq!(arrived.len() as u64 + corrupt, 4000);
    assert_order(&arrived);
}

#[test]
fn a_first_page_that_is_gone_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path(), 1000);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[..2048].fill(0xa5);
    std::fs::write(&path, &bytes).unwrap();
    let (arrived, _) = take_out(folder.path());
    assert_eq!(arrived.len(), 4000);
    assert_order(&arrived);
    assert_eq!(std::fs::read(&aside(folder.path())[0]).unwrap(), bytes, "the damaged file is kept as it was");
}

#[test]
fn something_in_front_of_the_file_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path(), 500);
    let mut bytes = b"a log line that somebody wrote here\n".repeat(100);
    bytes.extend(std::fs::read(&path).unwrap());
    std::fs::write(&path, bytes).unwrap();
    let (arrived, _) = take_out(folder.path());
    assert_eq!(arrived.len(), 2000);
    assert_eq!(aside(folder.path()).len(), 1);
}

#[test]
fn a_foreign_file_is_set_aside_untouched_and_told_of() {
    let other = tempfile::tempdir().unwrap();
    let other = other.path().join("other.db");
    let made = Command::new("sqlite3").arg(&other).arg("CREATE TABLE frame (a); INSERT INTO frame VALUES (1)").status();
    let mut foreign =
        vec![b"not a database at all".to_vec(), vec![0; 100_000], b"SQLite format 3\0 but not really".repeat(999)];
    match made {
        Ok(status) if status.success() => foreign.push(std::fs::read(&other).unwrap()),
        _ => println!("skipped: a foreign database, since there is no sqlite3 program"),
    }
    for bytes in foreign {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.spool");
        std::fs::write(&path, &bytes).unwrap();
        let spool = Spool::open(folder.path(), "x", SpoolOptions::default(), clock()).unwrap();
        let (sender, told) = std::sync::mpsc::channel();
        spool.report_to(Box::new(move |notice| sender.send(notice).unwrap()));
        let notice = told.recv_timeout(LONG).unwrap();
        assert!(notice.degraded && notice.text.starts_with("a spool was set aside as "), "{notice:?}");
        drop(spool);
        assert_eq!(std::fs::read(&aside(folder.path())[0]).unwrap(), bytes);
        assert_eq!(take_out(folder.path()).0, []);
    }
}

#[test]
fn damage_at_random_never_stops_it_and_costs_only_what_is_damaged() {
    let rounds: u64 = std::env::var("VIGIL_SPOOL_DAMAGES").map_or(60, |n| n.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path(), 400);
    let whole = std::fs::read(&path).unwrap();
    let sent: BTreeSet<_> = found(&path).into_iter().map(|r| (r.kind, r.body)).collect();
    let mut random = Random(99);
    let (mut kept, mut set_aside) = (0, 0);
    for round in 0..rounds {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = whole.clone();
        match round % 4 {
            0 => (0..=random.next(8)).for_each(|_| {
                let at = random.next(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << random.next(8);
            }),
            1 => bytes.truncate(random.next(bytes.len() as u64) as usize),
            2 => {
                let at = random.next(bytes.len() as u64) as usize;
                let end = (at + random.next(20_000) as usize).min(bytes.len());
                bytes[at..end].fill_with(|| random.next(256) as u8);
            }
            _ => {
                let count = random.next(9000) as usize;
                let junk: Vec<u8> = (0..count).map(|_| random.next(256) as u8).collect();
                bytes.splice(0..0, junk);
            }
        }
        std::fs::write(folder.path().join("x.spool"), &bytes).unwrap();
        // To look at it is no trouble either.
        let _ = list(folder.path()).unwrap();
        if let Ok(records) = records(&folder.path().join("x.spool"), Filter::default()) {
            let _ = records.count();
        }
        let (arrived, corrupt) = take_out(folder.path());
        let wrong = arrived.iter().filter(|r| !sent.contains(&(r.kind, r.body.clone()))).count();
        assert_eq!(wrong, 0, "round {round}: what arrives was sent");
        assert_order(&arrived);
        let lost = sent.len() - arrived.len();
        set_aside += aside(folder.path()).len();
        kept += arrived.len();
        // Bits and stretches that are damaged cost the blocks that they hit, of about 100 records each; all that is
        // before the file's end can be counted.
        if round % 4 == 0 {
            assert!(lost <= 900, "round {round}: {lost} lost, {corrupt} counted");
        }
        if round % 4 == 3 {
            assert_eq!(lost, 0, "round {round}");
        }
        assert!(corrupt <= sent.len() as u64, "round {round}: {corrupt}");
    }
    println!(
        "{rounds} damaged files: {kept} of {} records kept, {set_aside} files set aside",
        sent.len() as u64 * rounds
    );
    assert!(kept as u64 > sent.len() as u64 * rounds / 2);
}
