//! A block: records of one kind in the order of their arrival, compressed together, with a checksum over them.
//!
//! Before compression a block begins with its first record's number (8 bytes) and its kind (1), so that one that stands in
//! the wrong place is noticed. A record is, all numbers little-endian: milliseconds since the block's first record (4 bytes),
//! length of the camera's name (2), length of the body (4), the name, the body.

use std::sync::Arc;

use super::super::kind::Kind;
use super::super::remote::Outgoing;

/// Bytes before compression at which a block is closed. More compresses little better and costs more when it is bad.
const FULL: usize = 64 << 10;
/// Compression level: the fastest of the plain ones. Records are much alike, so that a higher one gains little.
const LEVEL: i32 = 1;
/// No block is larger than this before compression; what claims to be is damaged.
const LARGEST: usize = 64 << 20;

/// A record with the time of its arrival.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Wall clock at its arrival, milliseconds since 1970 UTC; 0 if the clock was not set.
    pub utc_ms: u64,
    /// The record.
    pub record: Arc<Outgoing>,
}

impl Stored {
    /// What the record takes in a block before compression, bytes.
    pub fn size(&self) -> usize {
        10 + self.record.camera.len() + self.record.body.len()
    }
}

/// A block as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// What its records are about.
    pub kind: Kind,
    /// Number of its first record among those of its kind; the next ones follow without a gap.
    pub number: u64,
    /// Records in it.
    pub records: u64,
    /// Arrival of the first record, milliseconds since 1970 UTC; 0 if it is not known.
    pub first_ms: u64,
    /// Arrival of the last record, milliseconds since 1970 UTC; 0 if it is not known.
    pub last_ms: u64,
    /// Bytes before compression.
    pub raw: u64,
    /// The compressed records.
    pub data: Vec<u8>,
}

/// Why a block cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the block is damaged: {0}")]
pub struct BadBlock(String);

/// Makes blocks of records, which are of one kind and get the numbers from `number` upwards.
///
/// # Errors
/// The compressor's, if there is no memory.
pub fn encode(kind: Kind, number: u64, records: &[Stored]) -> std::io::Result<Vec<Block>> {
    let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
    compressor.include_checksum(true)?;
    let mut blocks = Vec::new();
    let mut number = number;
    let mut rest = records;
    while let Some(first) = rest.first() {
        let mut raw = Vec::with_capacity(FULL + 4096);
        raw.extend_from_slice(&head(kind, number));
        let mut count = 0;
        let mut last_ms = first.utc_ms;
        for stored in rest {
            if count > 0 && raw.len() + stored.size() > FULL {
                break;
            }
            append(&mut raw, stored, first.utc_ms);
            last_ms = last_ms.max(stored.utc_ms);
            count += 1;
        }
        let data = compressor.compress(&raw)?;
        let (first_ms, raw) = (first.utc_ms, raw.len() as u64);
        blocks.push(Block { kind, number, records: count as u64, first_ms, last_ms, raw, data });
        number += count as u64;
        rest = rest.get(count..).unwrap_or_default();
    }
    Ok(blocks)
}

fn head(kind: Kind, number: u64) -> [u8; 9] {
    let mut head = [kind.index() as u8; 9];
    for (to, from) in head.iter_mut().zip(number.to_le_bytes()) {
        *to = from;
    }
    head
}

fn append(raw: &mut Vec<u8>, stored: &Stored, first_ms: u64) {
    let after = u32::try_from(stored.utc_ms.saturating_sub(first_ms)).unwrap_or(u32::MAX);
    // A name is cut rather than the record lost; names that long are refused where cameras are named.
    let camera = stored.record.camera.as_bytes();
    let camera = camera.get(..usize::from(u16::MAX)).unwrap_or(camera);
    raw.extend_from_slice(&after.to_le_bytes());
    raw.extend_from_slice(&(camera.len() as u16).to_le_bytes());
    raw.extend_from_slice(&u32::try_from(stored.record.body.len()).unwrap_or(u32::MAX).to_le_bytes());
    raw.extend_from_slice(camera);
    raw.extend_from_slice(&stored.record.body);
}

/// The records of a block. How many there are is what its content says: the checksum does not cover [`Block::records`].
///
/// # Errors
/// [`BadBlock`] if a bit of its content is not as it was written.
pub fn decode(block: &Block) -> Result<Vec<Stored>, BadBlock> {
    let bad = |text: &str| BadBlock(text.to_string());
    let size = usize::try_from(block.raw).ok().filter(|&size| size <= LARGEST);
    let size = size.ok_or_else(|| bad("its size is not possible"))?;
    let raw = zstd::bulk::decompress(&block.data, size).map_err(|e| BadBlock(e.to_string()))?;
    let mut records = Vec::new();
    let mut names: Vec<Arc<str>> = Vec::new();
    let rest = raw.strip_prefix(&head(block.kind, block.number));
    let mut rest = rest.ok_or_else(|| bad("it does not belong where it stands"))?;
    while !rest.is_empty() {
        let (stored, tail) =
            record(rest, block.kind, block.first_ms, &mut names).ok_or_else(|| bad("a record does not end"))?;
        records.push(stored);
        rest = tail;
    }
    Ok(records)
}

/// The first record of `bytes`, and what follows it. `names` are the cameras seen so far, so that one name is kept once.
fn record<'a>(bytes: &'a [u8], kind: Kind, first_ms: u64, names: &mut Vec<Arc<str>>) -> Option<(Stored, &'a [u8])> {
    let (after, rest) = bytes.split_first_chunk::<4>()?;
    let (name_len, rest) = rest.split_first_chunk::<2>()?;
    let (body_len, rest) = rest.split_first_chunk::<4>()?;
    let (name, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*name_len)))?;
    let (body, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*body_len)).ok()?)?;
    let name = String::from_utf8_lossy(name);
    let camera = match names.iter().find(|known| ***known == *name) {
        Some(known) => known.clone(),
        None => {
            let camera: Arc<str> = name.into();
            names.push(camera.clone());
            camera
        }
    };
    let utc_ms = if first_ms == 0 { 0 } else { first_ms + u64::from(u32::from_le_bytes(*after)) };
    Some((Stored { utc_ms, record: Arc::new(Outgoing { kind, camera, body: body.to_vec() }) }, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stored(camera: &str, body: Vec<u8>, utc_ms: u64) -> Stored {
        Stored { utc_ms, record: Arc::new(Outgoing { kind: Kind::Event, camera: camera.into(), body }) }
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(
            bodies in prop::collection::vec((0_usize..4, prop::collection::vec(any::<u8>(), 0..9000), 0_u64..9), 0..40)
        ) {
            let mut now = 1_800_000_000_000;
            let records: Vec<Stored> = bodies.into_iter().map(|(camera, body, after)| {
                now += after;
                stored(["a", "gate", "", "höhe"][camera], body, now)
            }).collect();
            let blocks = encode(Kind::Event, 17, &records).unwrap();
            let mut number = 17;
            let mut out = Vec::new();
            for block in &blocks {
                assert_eq!(block.number, number);
                number += block.records;
                out.extend(decode(block).unwrap());
            }
            assert_eq!(out, records);
        }

        #[test]
        fn a_flipped_bit_is_noticed(at in any::<prop::sample::Index>(), bit in 0_u32..8) {
            let records: Vec<Stored> =
                (0..50_u64).map(|n| stored("gate", format!("{{\"n\":{n},\"x\":{}}}", n * n).into_bytes(), n + 1)).collect();
            let mut block = encode(Kind::Event, 1, &records).unwrap().remove(0);
            let at = at.index(block.data.len());
            block.data[at] ^= 1_u8 << bit;
            // A bit that says nothing, such as an unused one of the header, may be wrong; a record may not.
            if let Ok(read) = decode(&block) {
                assert_eq!(read, records);
            }
        }

        #[test]
        fn any_bytes_are_no_trouble(data in prop::collection::vec(any::<u8>(), 0..300), raw in any::<u64>(), n in 0_u64..9) {
            let block = Block { kind: Kind::Frame, number: 1, records: n, first_ms: 5, last_ms: 9, raw, data };
            let _ = decode(&block);
        }
    }

    #[test]
    fn an_impossible_size_is_refused_before_memory_is_asked_for() {
        let mut block = encode(Kind::Event, 1, &[stored("a", b"{}".to_vec(), 1)]).unwrap().remove(0);
        block.raw = u64::MAX;
        assert!(decode(&block).is_err());
        block.raw = 3;
        assert!(decode(&block).is_err(), "more comes out than there should be");
    }
}
