//! The statements: one table per kind, one row per block.

use std::ops::Range;

use rusqlite::{Connection, OptionalExtension, Row};

use super::super::kind::Kind;
use super::block::{self, Block, Stored};
use super::store::{APPLICATION, PAGE, StoreError, VERSION};

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
    Ok(match (edge("ASC")?, edge("DESC")?) {
        (Some((first, _)), Some((last, records))) if last < 1 << 60 && records < 1 << 32 => first..last + records,
        (Some(_), Some(_)) => return Err(StoreError::Damaged("a number in it is not possible".into())),
        _ => 1..1,
    })
}

/// The first block of `kind` that holds a record with `number` or a larger one.
pub(super) fn read(db: &Connection, kind: Kind, number: u64) -> Result<Option<Block>, StoreError> {
    let (number, table) = (sql(number), table(kind));
    // The block that begins before `number` may reach over it.
    let before = format!("SELECT id, id + records FROM {table} WHERE id < ?1 ORDER BY id DESC LIMIT 1");
    let before =
        db.query_row(&before, [number], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))).optional()?;
    let from = before.filter(|&(_, end)| end > number).map_or(number, |(id, _)| id);
    let next = format!("SELECT * FROM {table} WHERE id >= ?1 ORDER BY id LIMIT 1");
    Ok(db.query_row(&next, [from], |row| block(row, kind)).optional()?)
}

/// The first block of `kind` whose number is larger than `number`.
pub(super) fn read_after(db: &Connection, kind: Kind, number: u64) -> Result<Option<Block>, StoreError> {
    let text = format!("SELECT * FROM {} WHERE id > ?1 ORDER BY id LIMIT 1", table(kind));
    Ok(db.query_row(&text, [sql(number)], |row| block(row, kind)).optional()?)
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

/// Removes blocks of which all records are in `range`.
pub(super) fn remove(db: &Connection, kind: Kind, range: &Range<u64>) -> rusqlite::Result<()> {
    if range.is_empty() {
        return Ok(());
    }
    let text = format!("DELETE FROM {} WHERE id >= ?1 AND id < ?2 AND id + records <= ?2", table(kind));
    db.execute(&text, (sql(range.start), sql(range.end))).map(|_| ())
}

/// The first row: number, number after its last record, arrival of its last record.
fn first(db: &Connection, kind: Kind) -> rusqlite::Result<Option<(u64, u64, u64)>> {
    let text = format!("SELECT id, id + records, last FROM {} ORDER BY id LIMIT 1", table(kind));
    db.query_row(&text, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()
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

/// Removes blocks whose last record came before `limit`; the number up to which they reached, or 0.
pub(super) fn expire(db: &Connection, kind: Kind, limit: u64) -> rusqlite::Result<u64> {
    let mut expired = 0;
    while let Some((id, end, last)) = first(db, kind)?
        && last != 0
        && last < limit
    {
        db.execute(&format!("DELETE FROM {} WHERE id = ?1", table(kind)), [sql(id)])?;
        expired = end;
    }
    Ok(expired)
}

/// Gives up the oldest of the least important records, on the disk or in `blocks`, until `need` bytes fit below `most`.
/// By kind: the number from which `blocks` are to be added. `dropped` gets the numbers up to which was given up.
pub(super) fn make_room(
    db: &Connection,
    blocks: &[Block],
    need: u64,
    most: u64,
    dropped: &mut [u64; 4],
) -> rusqlite::Result<[u64; 4]> {
    let mut need = need;
    let mut from = [0; 4];
    while need > 0 {
        let pages: u64 = db.pragma_query_value(None, "page_count", |row| row.get(0))?;
        let free: u64 = db.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
        if pages.saturating_sub(free) * PAGE + need <= most {
            break;
        }
        let mut gave_up = false;
        for ((kind, dropped), from) in Kind::ALL.into_iter().zip(&mut *dropped).zip(&mut from).rev() {
            if let Some((id, end, _)) = first(db, kind)? {
                db.execute(&format!("DELETE FROM {} WHERE id = ?1", table(kind)), [sql(id)])?;
                *dropped = end;
            } else if let Some(block) = blocks.iter().find(|b| b.kind == kind && b.number >= *from) {
                *from = block.number + block.records;
                *dropped = *from;
                need -= block.data.len() as u64 + ROW;
            } else {
                continue;
            }
            gave_up = true;
            break;
        }
        if !gave_up {
            break;
        }
    }
    Ok(from)
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
        db.execute(&format!("DELETE FROM {} WHERE id = ?1", table(kind)), [sql(old.number)])?;
        // It was one block, so that what is left of it is one too.
        for block in block::encode(kind, old.number, &left)? {
            insert(db, &block)?;
        }
    }
    Ok(purged)
}
