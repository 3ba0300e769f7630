use std::ops::Range;

use super::super::store::{Change, Durability, Limits};
use super::*;

fn limits() -> Limits {
    Limits { bytes: 64 << 20, age: None, durability: Durability::Relaxed }
}

/// A closed spool with `rows` blocks of one record in each kind, at `path`.
fn filled(path: &Path, rows: u64, earlier: bool) {
    use std::sync::Arc;

    use super::super::super::remote::Outgoing;
    use super::super::block::Stored;
    let mut store = Store::open(path, limits()).unwrap();
    if earlier {
        store.db.execute_batch("PRAGMA auto_vacuum = NONE; VACUUM").unwrap();
    }
    for numbers in (1..=rows).collect::<Vec<_>>().chunks(500) {
        let block = |kind, number: u64| {
            let body = format!("{{\"n\":{number},\"x\":{}}}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).into_bytes();
            let record = Arc::new(Outgoing { kind, camera: "gate".into(), body });
            block::encode(kind, number, &[Stored { utc_ms: 7, record }]).unwrap().remove(0)
        };
        let blocks = Kind::ALL.into_iter().flat_map(|kind| numbers.iter().map(move |n| block(kind, *n)));
        store.commit(&Change { blocks: blocks.collect(), ..Change::default() }).unwrap();
    }
    store.close_whole().unwrap();
}

fn copied(folder: &Path) -> ([Vec<Range<u64>>; 4], Rescued) {
    let mut store = Store::open(&folder.join("y.spool"), limits()).unwrap();
    let rescued = copy(&folder.join("x.spool"), &mut store, &[0; 4]).unwrap();
    (store.present().unwrap(), rescued)
}

#[test]
fn a_first_page_that_is_gone_is_that_of_its_own_version() {
    for earlier in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.spool");
        filled(&path, 2000, earlier);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[..PAGE as usize].fill(0xa5);
        std::fs::write(&path, bytes).unwrap();
        let (present, rescued) = copied(folder.path());
        assert_eq!(present, [const { 1..2001 }; 4].map(|all| vec![all]), "earlier: {earlier}");
        assert_eq!((rescued.seen, rescued.problem), ([const { 1..2001 }; 4], None));
        let left = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name());
        assert!(left.into_iter().all(|name| !name.to_string_lossy().contains("mended")), "nothing is left behind");
    }
}

/// Rows of `frame` by the page that they are on, and the pages above those.
fn pages(path: &Path) -> (Vec<(u64, u64)>, Vec<u64>) {
    let db = Connection::open(path).unwrap();
    let mut statement =
        db.prepare("SELECT pageno, pagetype, ncell FROM dbstat WHERE name = 'frame' ORDER BY path").unwrap();
    let all = statement
        .query_map([], |row| Ok((row.get::<_, u64>(0)?, row.get::<_, String>(1)?, row.get::<_, u64>(2)?)))
        .unwrap()
        .map(Result::unwrap);
    let (leaves, inner): (Vec<_>, Vec<_>) = all.partition(|(_, kind, _)| kind == "leaf");
    (
        leaves.into_iter().map(|(page, _, rows)| (page, rows)).collect(),
        inner.into_iter().map(|(page, ..)| page).collect(),
    )
}

#[test]
fn what_lies_behind_damage_is_found_wherever_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.spool");
    filled(&path, 6000, false);
    let whole = std::fs::read(&path).unwrap();
    let (leaves, inner) = pages(&path);
    assert!(leaves.len() > 250 && inner.len() > 2, "a table of three levels: {} and {}", leaves.len(), inner.len());
    let damaged = |bad: &[u64]| {
        let mut bytes = whole.clone();
        bad.iter().for_each(|page| bytes[(*page as usize - 1) * PAGE as usize..][..PAGE as usize].fill(0xa5));
        std::fs::write(&path, bytes).unwrap();
        let _ = std::fs::remove_file(folder.path().join("y.spool"));
        let (present, _) = copied(folder.path());
        assert_eq!([&present[0], &present[1], &present[3]].map(|kind| kind[0].clone()), [const { 1..6001 }; 3]);
        present[2].iter().map(|range| range.end - range.start).sum::<u64>()
    };
    let rows = |range: Range<usize>| leaves[range].iter().map(|(_, rows)| rows).sum::<u64>();
    let last = leaves.len() - 1;
    // One leaf costs its rows: in the middle, at the beginning, at the end.
    for leaf in [leaves.len() / 2, 0, last] {
        assert_eq!(damaged(&[leaves[leaf].0]), 6000 - rows(leaf..leaf + 1), "leaf {leaf}");
    }
    // Many of them with one good one in between, and the last one, so that no jump lands.
    let mut bad: Vec<u64> = leaves[100..200].iter().map(|(page, _)| *page).collect();
    bad.remove(70);
    bad.push(leaves[last].0);
    assert_eq!(damaged(&bad), 6000 - rows(100..170) - rows(171..200) - rows(last..last + 1));
    // An inner page costs what lies below it and nothing behind or before it.
    for page in inner.iter().skip(1) {
        let db = Connection::open(&path).unwrap();
        std::fs::write(&path, &whole).unwrap();
        let below: u64 = db
            .query_row(
                "SELECT sum(ncell) FROM dbstat WHERE name = 'frame' AND pagetype = 'leaf' AND path LIKE \
                 (SELECT path FROM dbstat WHERE pageno = ?1) || '%'",
                [page],
                |row| row.get(0),
            )
            .unwrap();
        drop(db);
        assert_eq!(damaged(&[*page]), 6000 - below, "page {page}");
    }
}

#[test]
fn pages_that_cannot_be_read_are_left_empty() {
    let page = PAGE as usize;
    let file: Vec<u8> = (0..6 * page).map(|at| (at / page + 1) as u8).collect();
    let mut asked = 0;
    let mut read = |part: &mut [u8], at: u64| {
        asked += 1;
        let (at, end) = (at as usize, at as usize + part.len());
        if at < 3 * page && end > 2 * page {
            return Err(io::Error::from_raw_os_error(5));
        }
        part.copy_from_slice(&file[at..end]);
        Ok(())
    };
    let mut part = vec![9; 4 * page + 10];
    assert_eq!(read_readable(&mut read, &mut part, 0), 1);
    let expected: Vec<u8> = (0..4 * page + 10).map(|at| if at / page == 2 { 0 } else { file[at] }).collect();
    assert_eq!(part, expected);
    assert_eq!(read_readable(&mut read, &mut part[..page], 5 * page as u64), 0);
    assert_eq!(part[0], 6);
    assert_eq!(asked, 7, "page by page only where it cannot be read");
}
