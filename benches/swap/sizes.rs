//! YOLOX-nano as bundles of two input sizes.
//!
//! The network is fully convolutional: only the shapes that its file states keep it to 416 x 416. Another size needs other
//! numbers for input and output, and none for the tensors between.

use std::path::{Path, PathBuf};

use gstvigil::bundle::digest;

/// Writes the bundle `nano` of that release, whose input has `side` x `side` pixels; `more` ends its `bundle.toml`.
pub fn bundle(model: &[u8], (release, side): (&str, u32), more: &str, under: &Path) -> PathBuf {
    let weights = resized(model, side);
    let labels: String = (0..80).map(|class| format!("thing {class}\n")).collect();
    let manifest = format!(
        "format = 1\nname = \"nano\"\nrelease = \"{release}\"\ntask = \"detect\"\nlabels = \"labels.txt\"\n\
         [input]\nlayout = \"nchw\"\nsize = [{side}, {side}]\ncolor = \"bgr\"\nresize = \"letterbox\"\n\
         align = \"top-left\"\nmean = [0, 0, 0]\nstd = [1, 1, 1]\n\
         [output]\ndecoder = \"yolox\"\niou = 0.45\n\
         [[variant]]\nfile = \"model.onnx\"\nsha256 = \"{}\"\n{more}",
        digest::of_bytes(&weights)
    );
    let folder = under.join(release);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("bundle.toml"), manifest).unwrap();
    std::fs::write(folder.join("labels.txt"), labels).unwrap();
    std::fs::write(folder.join("model.onnx"), weights).unwrap();
    folder
}

/// Fields of ONNX's messages (onnx.proto).
const GRAPH: u64 = 7;
const INPUT: u64 = 11;
const OUTPUT: u64 = 12;
const VALUE_INFO: u64 = 13;
/// Side and cells of the file as it is.
const OWN: (u32, u32) = (416, cells(416));

const fn cells(side: u32) -> u32 {
    (side / 8).pow(2) + (side / 16).pow(2) + (side / 32).pow(2)
}

fn resized(model: &[u8], side: u32) -> Vec<u8> {
    rewrite(model, |field, content| match field {
        GRAPH => Some(rewrite(content, |field, content| match field {
            INPUT => Some(replaced(content, OWN.0, side)),
            OUTPUT => Some(replaced(content, OWN.1, cells(side))),
            // Shapes of tensors between: the runtime finds them by itself.
            VALUE_INFO => None,
            _ => Some(content.to_vec()),
        })),
        _ => Some(content.to_vec()),
    })
}

/// A message with each field of bytes replaced by what `change` makes of it, or left out.
fn rewrite(mut message: &[u8], change: impl Fn(u64, &[u8]) -> Option<Vec<u8>>) -> Vec<u8> {
    let mut written = Vec::with_capacity(message.len());
    while !message.is_empty() {
        let key = read(&mut message);
        match key & 7 {
            0 => {
                let value = read(&mut message);
                written.extend(varint(key).into_iter().chain(varint(value)));
            }
            2 => {
                let length = read(&mut message) as usize;
                let (content, rest) = message.split_at(length);
                message = rest;
                if let Some(content) = change(key >> 3, content) {
                    written.extend(varint(key).into_iter().chain(varint(content.len() as u64)));
                    written.extend(content);
                }
            }
            other => panic!("a field of kind {other}: this is not the file that is meant"),
        }
    }
    written
}

/// Every dimension `from` as `to`: field 1 of a `Dimension`, in as many bytes.
fn replaced(value_info: &[u8], from: u32, to: u32) -> Vec<u8> {
    let dimension = |n: u32| [vec![8], varint(u64::from(n))].concat();
    let (from, to) = (dimension(from), dimension(to));
    assert_eq!(from.len(), to.len(), "a size of another magnitude");
    let mut changed = value_info.to_vec();
    let places: Vec<usize> = (0..changed.len()).filter(|i| changed[*i..].starts_with(&from)).collect();
    assert!(!places.is_empty(), "a model with other shapes");
    places.into_iter().for_each(|at| changed[at..at + to.len()].copy_from_slice(&to));
    changed
}

fn read(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u64::from(first & 127) << shift;
        if *first < 128 {
            break;
        }
    }
    value
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 128 {
        bytes.push(value as u8 | 128);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}
