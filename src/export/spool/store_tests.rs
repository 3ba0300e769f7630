use std::sync::Arc;

use super::super::super::remote::Outgoing;
use super::super::tidy::Tidied;
use super::*;

const DAY: u64 = 86_400_000;

fn limits(bytes: u64) -> Limits {
    Limits { bytes, age: Some(Duration::from_secs(7 * 24 * 3600)), durability: Durability::Relaxed }
}

fn open(folder: &tempfile::TempDir, bytes: u64) -> Store {
    Store::open(&folder.path().join("x.spool"), limits(bytes)).unwrap()
}

/// Bytes that do not compress.
fn noise(number: u64, size: usize) -> Vec<u8> {
    let mut random = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 8) as u8
    };
    std::iter::repeat_with(next).take(size).collect()
}

/// A block of `count` records from `number` on, all of `utc_ms`.
fn block(kind: Kind, number: u64, count: u64, utc_ms: u64, size: usize) -> Block {
    let stored = |number: u64| Stored {
        utc_ms,
        record: Arc::new(Outgoing { kind, camera: "gate".into(), body: noise(number, size) }),
    };
    let records: Vec<_> = (number..number + count).map(stored).collect();
    let mut blocks = block::encode(kind, number, &records).unwrap();
    assert_eq!(blocks.len(), 1);
    blocks.remove(0)
}

fn add(store: &mut Store, blocks: Vec<Block>) -> Outcome {
    store.commit(&Change { blocks, ..Change::default() }).unwrap()
}

/// Reads all of `kind` from `number` on: the numbers, and what is bad.
fn read_all(store: &Store, kind: Kind, number: u64) -> (Vec<u64>, Vec<Range<u64>>) {
    let (mut good, mut bad, mut at) = (Vec::new(), Vec::new(), number);
    while let Some(piece) = store.read(kind, at).unwrap() {
        match piece {
            Piece::Good(first, records) => {
                let end = first + records.len() as u64;
                good.extend(first.max(at)..end);
                at = end;
            }
            Piece::Bad(first, end) => {
                bad.push(first..end.unwrap_or(u64::MAX));
                at = end.unwrap_or(u64::MAX);
            }
        }
    }
    (good, bad)
}

fn set(store: &Store, column: &str, id: u64, value: i64) {
    let text = format!("UPDATE frame SET {column} = ?1 WHERE id = ?2");
    assert_eq!(store.db.execute(&text, (value, id as i64)).unwrap(), 1);
}

#[test]
fn a_count_that_is_not_what_was_written_costs_nothing() {
    for wrong in [1 << 40, 60_000, 41, 3, 0] {
        for row in [1, 101, 201] {
            let folder = tempfile::tempdir().unwrap();
            let mut store = open(&folder, 16 << 20);
            add(&mut store, [1, 101, 201].map(|n| block(Kind::Frame, n, 100, 7 * DAY, 20)).to_vec());
            set(&store, "records", row, wrong);
            for from in [1, 50, 101, 102, 150, 199, 201, 300] {
                let all: Vec<u64> = (from..301).collect();
                assert_eq!(read_all(&store, Kind::Frame, from), (all, vec![]), "{wrong} in {row}, from {from}");
            }
            assert_eq!(store.spans().unwrap()[2], 1..301, "{wrong} in {row}");
            // What is done with is removed, and what is not stays.
            store.commit(&Change { heads: [0, 0, 201, 0], ..Change::default() }).unwrap();
            assert_eq!(read_all(&store, Kind::Frame, 1).0, (201..301).collect::<Vec<_>>(), "{wrong} in {row}");
        }
    }
}

#[test]
fn what_is_given_up_is_bounded_by_the_next_row() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder, 4 << 20);
    for number in 0..20 {
        add(&mut store, vec![block(Kind::Frame, 1 + number * 10, 10, 7 * DAY, 6000)]);
    }
    set(&store, "records", 1, 1 << 40);
    let mut dropped = 0;
    for number in 20..60 {
        let outcome = add(&mut store, vec![block(Kind::Frame, 1 + number * 10, 10, 7 * DAY, 6000)]);
        dropped = dropped.max(outcome.dropped[2]);
    }
    assert!(dropped > 11, "there was no room: {dropped}");
    assert_eq!(
        read_all(&store, Kind::Frame, 1).0.first(),
        Some(&dropped),
        "what is said to be given up is, and no more"
    );
}

#[test]
fn a_bad_block_reaches_to_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder, 16 << 20);
    add(&mut store, [1, 101, 201].map(|n| block(Kind::Frame, n, 100, 7 * DAY, 20)).to_vec());
    for row in [101, 201] {
        store.db.execute("UPDATE frame SET data = zeroblob(500), records = 1 << 40 WHERE id = ?1", [row]).unwrap();
    }
    let (good, bad) = read_all(&store, Kind::Frame, 1);
    assert_eq!((good, bad), ((1..101).collect(), vec![101..201, 201..u64::MAX]));
}

#[test]
fn rows_that_are_not_in_order_are_damage_and_no_endless_loop() {
    let swapped = |row: u8, other: u8| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.spool");
        let mut store = open(&folder, 16 << 20);
        add(&mut store, (0..6).map(|n| block(Kind::Frame, 100 + n, 1, 20_000 * DAY, 20)).collect());
        let text = "SELECT pageno FROM dbstat WHERE name = 'frame' AND pagetype = 'leaf'";
        let page: u64 = store.db.query_row(text, [], |row| row.get(0)).unwrap();
        store.close_whole().unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        let page = &mut bytes[(page as usize - 1) * PAGE as usize..][..PAGE as usize];
        // A row's number stands in front of its header, which begins with its length.
        let at = page.windows(2).position(|bytes| bytes == [row, 7]).unwrap();
        page[at] = other;
        std::fs::write(&path, bytes).unwrap();
        (open(&folder, 16 << 20), folder)
    };
    let (store, _folder) = swapped(103, 3);
    assert!(matches!(rows::read_after(&store.db, Kind::Frame, 102), Err(StoreError::Damaged(_))));
    let (mut store, _folder) = swapped(100, 111);
    assert!(matches!(store.tidy(20_008 * DAY), Err(StoreError::Damaged(_))));
}

fn tidy(store: &mut Store, now_ms: u64) -> Tidied {
    let mut all = Tidied::default();
    loop {
        let part = store.tidy(now_ms).unwrap();
        for (all, part) in [(&mut all.dropped, part.dropped), (&mut all.expired, part.expired)] {
            all.iter_mut().zip(part).for_each(|(all, part)| *all = (*all).max(part));
        }
        if !part.more {
            return all;
        }
    }
}

#[test]
fn what_has_no_time_or_one_to_come_is_as_old_as_what_comes_next() {
    let expired = |times: &[u64], now: u64| {
        let folder = tempfile::tempdir().unwrap();
        let mut store = open(&folder, 16 << 20);
        let blocks = (1..).zip(times).map(|(number, day)| block(Kind::Frame, number, 1, day * DAY, 20));
        add(&mut store, blocks.collect());
        tidy(&mut store, now * DAY).expired[2].saturating_sub(1)
    };
    assert_eq!(expired(&[20_000, 20_006], 20_008), 1);
    assert_eq!(expired(&[0, 20_000, 20_006], 20_008), 2, "one without a time");
    assert_eq!(expired(&[0, 0, 0], 20_008), 0, "nothing is known");
    assert_eq!(expired(&[0, 20_006, 0], 20_008), 0);
    assert_eq!(expired(&[30_000, 20_000, 20_006], 20_008), 2, "one from a clock that was wrong");
    assert_eq!(expired(&[20_000, 30_000, 20_000, 0, 20_006], 20_008), 3);
    assert_eq!(expired(&[20_000, 20_006], 20_006), 0);
    assert_eq!(expired(&[20_000, 20_006], 0), 0, "the clock is not set");
}

#[test]
fn a_lowered_bound_and_an_old_backlog_are_tidied_in_small_steps() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder, 64 << 20);
    for number in 0..1000 {
        add(&mut store, vec![block(Kind::Frame, 1 + number, 1, 20_000 * DAY, 12_000)]);
    }
    let path = folder.path().join("x.spool");
    let small = limits(4 << 20);
    drop(store);
    assert!(disk_bytes(&path) > 10 << 20);
    let mut store = Store::open(&path, small).unwrap();
    let first = store.tidy(20_001 * DAY).unwrap();
    assert!(first.more && first.dropped[2] > 1 && first.dropped[2] < 100, "{first:?}");
    let dropped = tidy(&mut store, 20_001 * DAY).dropped[2];
    let (mut on, mut most) = (false, 0);
    loop {
        on = store.shrink(on).unwrap();
        most = most.max(std::fs::metadata(beside(&path, "-wal")).unwrap().len());
        if !on {
            break;
        }
    }
    assert!(most <= small.log_bytes(), "the log keeps within what is left for it: {most}");
    assert!(store.disk_bytes() <= 4 << 20, "{}", store.disk_bytes());
    assert!(store.used_bytes().unwrap() + (2 << 20) > store.disk_bytes());
    assert_eq!(read_all(&store, Kind::Frame, 1).0, (dropped..1001).collect::<Vec<_>>());
    let left = store.present().unwrap()[2].clone();
    assert_eq!((left.len(), left[0].clone()), (1, dropped..1001));
    // All of it grows too old.
    let first = store.tidy(20_008 * DAY).unwrap();
    assert!(first.more && first.expired[2] < dropped + 100, "{first:?}");
    assert_eq!(tidy(&mut store, 20_008 * DAY).expired[2], 1001);
    assert_eq!(store.used_bytes().unwrap(), store.used_bytes().unwrap().min(20 * PAGE));
}

#[test]
fn unused_space_is_given_back_also_by_a_file_of_an_earlier_version() {
    for earlier in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let mut store = open(&folder, 64 << 20);
        if earlier {
            store.db.execute_batch("PRAGMA auto_vacuum = NONE; VACUUM").unwrap();
        }
        for number in 0..1000 {
            add(&mut store, vec![block(Kind::Frame, 1 + number, 1, 20_000 * DAY, 12_000)]);
        }
        let full = store.disk_bytes();
        assert!(full > 12 << 20);
        assert!(!store.shrink(false).unwrap(), "nothing is unused");
        // The newest are left, which lie at the end of the file.
        store.commit(&Change { heads: [0, 0, 950, 0], ..Change::default() }).unwrap();
        let mut on = store.shrink(false).unwrap();
        while on {
            on = store.shrink(true).unwrap();
        }
        assert!(store.disk_bytes() < 3 << 20, "{earlier}: {} of {full}", store.disk_bytes());
        assert_eq!(read_all(&store, Kind::Frame, 1).0, (950..1001).collect::<Vec<_>>());
        let mode: i64 = store.db.pragma_query_value(None, "auto_vacuum", |row| row.get(0)).unwrap();
        assert_eq!(mode, 2, "from now on a few pages at a time");
        let sound: String = store.db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(sound, "ok");
        for number in 0..100 {
            add(&mut store, vec![block(Kind::Frame, 1001 + number, 1, 20_000 * DAY, 12_000)]);
        }
        assert_eq!(read_all(&store, Kind::Frame, 1).0, (950..1101).collect::<Vec<_>>());
    }
}

#[test]
fn durability_is_what_sqlite_is_told() {
    let folder = tempfile::tempdir().unwrap();
    for (durability, expected) in [(Durability::EveryCommit, 2), (Durability::Relaxed, 1)] {
        let store = Store::open(&folder.path().join("x.spool"), Limits { durability, ..limits(4 << 20) }).unwrap();
        let synchronous: i64 = store.db.pragma_query_value(None, "synchronous", |row| row.get(0)).unwrap();
        assert_eq!(synchronous, expected);
    }
}
