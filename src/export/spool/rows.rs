//! The statements: one table per kind, one row per block.

use std::ops::Range;

use rusqlite::{Connection, OptionalExtension, Row};

use super::super::kind::Kind;
use super::block::{self, Block, Stored};
use super::error::StoreError;
use super::store::{APPLICATION, PAGE, VERSION};

/// What a row needs beside its data: its columns, its share of a table's pages, and what of its last page stays empty.
pub(super) const ROW: u64 = 3 * PAGE / 2;

/// The table for `kind`.
pub(super) fn table(kind: Kind) -> &'static str {
    kind.as_str()
}

/// Whether `db` is a spool that this version reads.
pub(super) fn check(db: &Connection) -> Result<(), StoreError> {
    let application: i32 = db.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version: i32 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if application != APPLICATION {
        return Err(StoreError::Damaged("it is not a spool".into()));
    }
    if version > VERSION {
        return Err(StoreError::Damaged(format!("it was written by a newer release (version {version})")));
    }
    Ok(())
}

/// Numbers of the records of `kind`.
pub(super) fn span(db: &Connection, kind: Kind) -> Result<Range<u64>, StoreError> {
    let edge = |order: &str| {
        db.query_row(&format!("SELECT id, records FROM {} ORDER BY id {order} LIMIT 1", table(kind)), [], |row| {
            Ok((row.get::<_, u64>(0)?, row.get::<_, u64>(1)?))
        })
        .optional()
    };
    let (Some((first, _)), Some((last, records))) = (edge("ASC")?, edge("DESC")?) else { return Ok(1..1) };
    // Its content is sure, if it can be read.
    let block = last_to(db, kind, u64::MAX).ok().flatten();
    let records = block.and_then(|block| block::decode(&block).ok()).map_or(records, |records| records.len() as u64);
    if first > last || last >= 1 << 60 || records >= 1 << 32 {
        return Err(StoreError::Damaged("a number in it is not possible".into()));
    }
    Ok(first..last + records)
}

/// Numbers of the records of `kind` that are there, rising.
pub(super) fn present(db: &Connection, kind: Kind) -> Result<Vec<Range<u64>>, StoreError> {
    let mut statement = db.prepare(&format!("SELECT id, records FROM {} ORDER BY id", table(kind)))?;
    let mut rows = statement.query([])?;
    let mut present: Vec<Range<u64>> = Vec::new();
    while let Some(row) = rows.next()? {
        let (id, records): (u64, u64) = (row.get(0)?, row.get(1)?);
        let end = id.saturating_add(records);
        match present.last_mut() {
            // A count is not checked; the next row's number bounds it.
            Some(last) if last.end >= id => last.end = end,
            _ => present.push(id..end),
        }
    }
    Ok(present)
}

/// The last block of `kind` whose number is `number` or a smaller one.
pub(super) fn last_to(db: &Connection, kind: Kind, number: u64) -> Result<Option<Block>, StoreError> {
    let text = format!("SELECT * FROM {} WHERE id <= ?1 ORDER BY id DESC LIMIT 1", table(kind));
    let found = db.query_row(&text, [sql(number)], |row| block(row, kind)).optional()?;
    if found.as_ref().is_some_and(|block| block.number > number) { Err(disordered()) } else { Ok(found) }
}

/// The first block of `kind` whose number is larger than `number`.
pub(super) fn read_after(db: &Connection, kind: Kind, number: u64) -> Result<Option<Block>, StoreError> {
    let text = format!("SELECT * FROM {} WHERE id > ?1 ORDER BY id LIMIT 1", table(kind));
    let found = db.query_row(&text, [sql(number)], |row| block(row, kind)).optional()?;
    if found.as_ref().is_some_and(|block| block.number <= number) { Err(disordered()) } else { Ok(found) }
}

/// The first number of a block of `kind` that is larger than `number`.
pub(super) fn next_number(db: &Connection, kind: Kind, number: u64) -> Result<Option<u64>, StoreError> {
    let text = format!("SELECT id FROM {} WHERE id > ?1 ORDER BY id LIMIT 1", table(kind));
    let found: Option<u64> = db.query_row(&text, [sql(number)], |row| row.get(0)).optional()?;
    if found.is_some_and(|found| found <= number) { Err(disordered()) } else { Ok(found) }
}

/// SQLite trusts a table to be in order; who goes on from what was found would never end.
fn disordered() -> StoreError {
    StoreError::Damaged("its rows are not in order".into())
}

/// A row as a block.
pub(super) fn block(row: &Row<'_>, kind: Kind) -> rusqlite::Result<Block> {
    Ok(Block {
        kind,
        number: row.get(0)?,
        records: row.get(1)?,
        first_ms: row.get(2)?,
        last_ms: row.get(3)?,
        raw: row.get(4)?,
        data: row.get(5)?,
    })
}

/// Adds a row.
pub(super) fn insert(db: &Connection, b: &Block) -> rusqlite::Result<()> {
    let text = format!("INSERT OR REPLACE INTO {} VALUES (?1, ?2, ?3, ?4, ?5, ?6)", table(b.kind));
    let params = (sql(b.number), sql(b.records), sql(b.first_ms), sql(b.last_ms), sql(b.raw), &b.data);
    db.execute(&text, params).map(|_| ())
}

/// SQLite's integers are signed.
fn sql(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Removes blocks of which all records are in `range`. How many a row holds is not checked; another row before the range's end or at
/// it tells as much.
pub(super) fn remove(db: &Connection, kind: Kind, range: &Range<u64>) -> rusqlite::Result<()> {
    if range.is_empty() {
        return Ok(());
    }
    let table = table(kind);
    let text = format!(
        "DELETE FROM {table} WHERE id >= ?1 AND id < ?2 AND (id + records <= ?2 \
         OR id < (SELECT max(id) FROM {table} WHERE id < ?2) OR EXISTS (SELECT 1 FROM {table} WHERE id = ?2))"
    );
    db.execute(&text, (sql(range.start), sql(range.end))).map(|_| ())
}

/// The first row: number, and number after its last record.
fn first(db: &Connection, kind: Kind) -> rusqlite::Result<Option<(u64, u64)>> {
    let text = format!("SELECT id, records FROM {} ORDER BY id LIMIT 2", table(kind));
    let mut statement = db.prepare(&text)?;
    let mut rows = statement.query_map([], |row| Ok((row.get::<_, u64>(0)?, row.get::<_, u64>(1)?)))?;
    let Some((id, records)) = rows.next().transpose()? else { return Ok(None) };
    let end = id.saturating_add(records);
    Ok(Some((id, rows.next().transpose()?.map_or(end, |(next, _)| end.min(next)))))
}

fn delete(db: &Connection, kind: Kind, id: u64) -> rusqlite::Result<()> {
    let deleted = db.execute(&format!("DELETE FROM {} WHERE id = ?1", table(kind)), [sql(id)])?;
    // In a table that is not in order a row may be seen and not be found; who asks for the first one again would never end.
    if deleted == 1 { Ok(()) } else { Err(rusqlite::Error::StatementChangedRows(deleted)) }
}

/// Records of `kind`, counted one by one: gaps are known.
pub(super) fn count(db: &Connection, kind: Kind) -> rusqlite::Result<u64> {
    db.query_row(&format!("SELECT coalesce(sum(records), 0) FROM {}", table(kind)), [], |row| row.get(0))
}

/// Arrival of the first record of `kind`.
pub(super) fn first_ms(db: &Connection, kind: Kind) -> rusqlite::Result<Option<u64>> {
    let text = format!("SELECT first FROM {} ORDER BY id LIMIT 1", table(kind));
    db.query_row(&text, [], |row| row.get(0)).optional()
}

/// Removes blocks whose last record came before `limit`, at most `budget` of them; the number up to which they reached, or 0. One without
/// a time, or with one after `now`, is as old as the next one that has a time.
pub(super) fn expire(db: &Connection, kind: Kind, limit: u64, now: u64, budget: &mut u64) -> rusqlite::Result<u64> {
    let dated = format!("SELECT id, last FROM {} WHERE last > 0 AND last <= ?1 ORDER BY id LIMIT 1", table(kind));
    let mut expired = 0;
    while limit > 0 && *budget > 0 {
        let dated = db.query_row(&dated, [sql(now)], |row| Ok((row.get::<_, u64>(0)?, row.get::<_, u64>(1)?)));
        let Some((dated, _)) = dated.optional()?.filter(|&(_, last)| last < limit) else { break };
        while let Some((id, end)) = first(db, kind)?
            && id <= dated
            && *budget > 0
        {
            delete(db, kind, id)?;
            *budget -= 1;
            expired = end;
        }
    }
    Ok(expired)
}

/// Bytes of the file that hold something.
pub(super) fn used(db: &Connection) -> rusqlite::Result<u64> {
    let pages: u64 = db.pragma_query_value(None, "page_count", |row| row.get(0))?;
    Ok(pages.saturating_sub(free(db)?) * PAGE)
}

/// Unused pages of the file.
pub(super) fn free(db: &Connection) -> rusqlite::Result<u64> {
    db.pragma_query_value(None, "freelist_count", |row| row.get(0))
}

/// Gives up the oldest of the least important records, on the disk or in `blocks`, until `need` bytes fit below `most`; at most
/// `budget` rows. By kind: the number from which `blocks` are to be added. `dropped` gets the numbers up to which was given up.
pub(super) fn make_room(
    db: &Connection,
    blocks: &[Block],
    need: u64,
    most: u64,
    budget: &mut u64,
    dropped: &mut [u64; 4],
) -> rusqlite::Result<[u64; 4]> {
    let (mut need, mut from) = (need, [0; 4]);
    while *budget > 0 && used(db)? + need > most {
        let mut gave_up = false;
        for ((kind, dropped), from) in Kind::ALL.into_iter().zip(&mut *dropped).zip(&mut from).rev() {
            let added = blocks.iter().find(|b| b.kind == kind && b.number >= *from);
            if let Some((id, end)) = first(db, kind)? {
                delete(db, kind, id)?;
                *dropped = added.map_or(end, |added| end.min(added.number));
            } else if let Some(block) = added {
                *from = block.number + block.records;
                *dropped = *from;
                need -= block.data.len() as u64 + ROW;
            } else {
                continue;
            }
            *budget -= 1;
            gave_up = true;
            break;
        }
        if !gave_up {
            break;
        }
    }
    Ok(from)
}

/// Gives up the oldest of the records that are less important than `kind` until `need` bytes of the file are unused; whether they are.
pub(super) fn sacrifice(db: &Connection, kind: Kind, need: u64, dropped: &mut [u64; 4]) -> rusqlite::Result<bool> {
    for (victim, dropped) in Kind::ALL.into_iter().zip(dropped).rev().filter(|(victim, _)| *victim > kind) {
        while free(db)? * PAGE < need
            && let Some((id, end)) = first(db, victim)?
        {
            delete(db, victim, id)?;
            *dropped = end;
        }
    }
    Ok(free(db)? * PAGE >= need)
}

/// Removes the records of `kind` that `matches`; how many these were. Numbers stay in their order, with gaps.
pub(super) fn purge(db: &Connection, kind: Kind, matches: &dyn Fn(&Stored) -> bool) -> Result<u64, StoreError> {
    let (mut purged, mut after) = (0, 0);
    while let Some(old) = read_after(db, kind, after)? {
        after = old.number;
        let Ok(records) = block::decode(&old) else { continue };
        let left: Vec<Stored> = records.iter().filter(|stored| !matches(stored)).cloned().collect();
        let count = records.len() - left.len();
        if count == 0 {
            continue;
        }
        purged += count as u64;
        delete(db, kind, old.number)?;
        // It was one block, so that what is left of it is one too.
        for block in block::encode(kind, old.number, &left)? {
            insert(db, &block)?;
        }
    }
    Ok(purged)
}
