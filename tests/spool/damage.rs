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
    let options = SpoolOptions { durability: Durability::Relaxed, ..SpoolOptions::default() };
    let spool = Spool::open(folder, "x", options, clock()).unwrap();
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

/// A record, and the pages that it is on, from its table's first page down.
struct Placed {
    kind: Kind,
    body: Vec<u8>,
    pages: BTreeSet<u64>,
}

/// A closed spool of which each table has three levels, and its records.
fn of_many_blocks(folder: &Path) -> (PathBuf, Vec<Placed>) {
    // No fsync for each of the thousands of commits.
    let options = SpoolOptions { durability: Durability::Relaxed, ..SpoolOptions::default() };
    let spool = Spool::open(folder, "x", options, clock()).unwrap();
    let mut random = Random(17);
    let mut sent = [const { Vec::new() }; 4];
    for number in 0..1600 {
        for kind in Kind::ALL {
            // Some rows go on on other pages.
            let record = noise(kind, number, if number % 16 == 5 { 5000 } else { 500 }, &mut random);
            sent[kind.index()].push(record.body.clone());
            spool.push(record);
        }
        assert!(spool.flush(LONG));
    }
    assert!(spool.close(LONG));
    let db = rusqlite::Connection::open(spool.path()).unwrap();
    let mut records: Vec<Placed> = Vec::new();
    for (kind, bodies) in Kind::ALL.into_iter().zip(sent) {
        let text = "SELECT path, pageno, pagetype, ncell FROM dbstat WHERE name = ?1 ORDER BY path";
        let mut statement = db.prepare(text).unwrap();
        let row = |row: &rusqlite::Row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
        let pages: Vec<(String, u64, String, u64)> =
            statement.query_map([kind.as_str()], row).unwrap().map(Result::unwrap).collect();
        let rows = pages
            .iter()
            .filter(|(_, _, of, _)| of == "leaf")
            .flat_map(|(path, _, _, rows)| (0..*rows).map(move |row| (path.clone(), format!("{path}{row:03x}+"))));
        let rows: Vec<_> = rows.collect();
        assert_eq!(rows.len(), bodies.len(), "each record is a block");
        for ((leaf, overflow), body) in rows.into_iter().zip(bodies) {
            let on = |page: &&(String, u64, String, u64)| match page.2.as_str() {
                "overflow" => page.0.starts_with(&overflow),
                _ => leaf.starts_with(&page.0),
            };
            records.push(Placed { kind, body, pages: pages.iter().filter(on).map(|page| page.1).collect() });
        }
    }
    assert!(records.iter().all(|record| record.pages.len() >= 3), "three levels");
    (spool.path().to_path_buf(), records)
}

#[test]
fn damage_at_random_never_stops_it_and_costs_only_what_is_damaged() {
    let rounds: u64 = std::env::var("VIGIL_SPOOL_DAMAGES").map_or(20, |n| n.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let (path, sent) = of_many_blocks(folder.path());
    let whole = std::fs::read(&path).unwrap();
    let mut random = Random(99);
    let (mut kept, mut set_aside, mut hit, mut counted) = (0, 0, 0, 0);
    for round in 0..rounds {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = whole.clone();
        match round % 5 {
            0 => (0..=random.next(8)).for_each(|_| {
                let at = random.next(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << random.next(8);
            }),
            1 => bytes.truncate(random.next(bytes.len() as u64) as usize),
            2 => {
                let at = random.next(bytes.len() as u64) as usize;
                let end = (at + random.next(40_000) as usize).min(bytes.len());
                bytes[at..end].fill_with(|| random.next(256) as u8);
            }
            // Whole pages here and there, as of an erase block that has gone.
            3 => (0..=random.next(12)).for_each(|_| {
                let at = random.next(bytes.len() as u64 / 2048) as usize * 2048;
                let end = (at + 2048 * (1 + random.next(16) as usize)).min(bytes.len());
                bytes[at..end].fill(0xff);
            }),
            _ => {
                let count = random.next(9000) as usize;
                let junk: Vec<u8> = (0..count).map(|_| random.next(256) as u8).collect();
                bytes.splice(0..0, junk);
            }
        }
        let damaged: BTreeSet<u64> = match round % 5 {
            4 => BTreeSet::new(),
            _ => (1..)
                .zip(whole.chunks(2048))
                .filter(|(page, was)| bytes.get((page - 1) * 2048..page * 2048) != Some(was))
                .map(|(page, _)| page as u64)
                .collect(),
        };
        std::fs::write(folder.path().join("x.spool"), &bytes).unwrap();
        // To look at it is no trouble either.
        let _ = list(folder.path()).unwrap();
        if let Ok(records) = records(&folder.path().join("x.spool"), Filter::default()) {
            let _ = records.count();
        }
        let (arrived, corrupt) = take_out(folder.path());
        assert_order(&arrived);
        let got: BTreeSet<_> = arrived.iter().map(|record| (record.kind, record.body.clone())).collect();
        let name = |placed: &'_ Placed| (placed.kind, placed.body.clone());
        let known: BTreeSet<_> = sent.iter().map(name).collect();
        assert!(got.is_subset(&known), "round {round}: what arrives was sent");
        // All arrives of which no page is damaged, from the first one of its table down.
        let whole = |placed: &&Placed| placed.pages.is_disjoint(&damaged);
        let sound: BTreeSet<_> = sent.iter().filter(whole).map(name).collect();
        let missing = sound.difference(&got).count();
        assert_eq!(missing, 0, "round {round}: of {} sound ones, {} pages are damaged", sound.len(), damaged.len());
        // What is lost is counted, where pages are no pages any more; but for the ends of a table, of which nobody knows. (A flipped bit
        // in a page's own count of rows makes some of them vanish.)
        let lost = sent.len() - arrived.len();
        assert!(corrupt <= lost as u64, "round {round}: {corrupt} of {lost}");
        let of = |kind: Kind| move |placed: &&Placed| placed.kind == kind;
        let ends = Kind::ALL.map(|kind| [sent.iter().find(of(kind)).unwrap(), sent.iter().rfind(of(kind)).unwrap()]);
        if round % 5 == 3 && ends.iter().flatten().all(whole) {
            counted += 1;
            assert_eq!(corrupt, lost as u64, "round {round}");
        }
        set_aside += aside(folder.path()).len();
        kept += arrived.len();
        hit += sent.len() - sound.len();
    }
    println!(
        "{rounds} damaged files: {kept} of {} records kept, {hit} lay on damaged pages or below them; {set_aside} files set \
         aside",
        sent.len() as u64 * rounds
    );
    assert!(rounds < 15 || counted > 0 && hit > 0, "some of it was counted");
}
