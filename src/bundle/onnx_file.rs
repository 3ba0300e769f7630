//! Whether bytes can be an ONNX model, from the outermost layer of their encoding.
//!
//! An ONNX file has no magic number: it is a protobuf `ModelProto` (onnx/onnx.proto). Walking over its outermost fields
//! costs nothing, tells a model from other files and finds most truncations, long before a runtime is asked.

use std::collections::BTreeSet;

/// Checks that `bytes` are the fields of a `ModelProto` with a graph and nothing else.
///
/// # Errors
/// Why they are not, to be put after "not an ONNX model: " or the like.
pub fn check(bytes: &[u8]) -> Result<(), String> {
    if bytes.is_empty() {
        return Err("the file is empty".into());
    }
    if let Some(what) = known_other(bytes) {
        return Err(what.into());
    }
    let mut rest = bytes;
    let mut has_graph = false;
    while !rest.is_empty() {
        let (tag, after) = varint(rest).ok_or("its structure is not that of a model")?;
        let (field, wire_type) = (tag >> 3, tag & 7);
        // Fields of ModelProto: ir_version 1 and model_version 5 are numbers; producer_name 2, producer_version 3,
        // domain 4, doc_string 6, graph 7, opset_import 8, metadata_props 14, training_info 20, functions 25,
        // configuration 26 have a length.
        rest = match (field, wire_type) {
            (1 | 5, 0) => varint(after).ok_or("its structure is not that of a model")?.1,
            (2 | 3 | 4 | 6 | 7 | 8 | 14 | 20 | 25 | 26, 2) => {
                let (length, content) = varint(after).ok_or("the file is truncated")?;
                has_graph |= field == 7;
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                content.get(length..).ok_or_else(|| {
                    format!("the file is truncated: a part of {length} bytes ends after {}", content.len())
                })?
            }
            _ => return Err("its structure is not that of a model".into()),
        };
    }
    if has_graph { Ok(()) } else { Err("there is no graph in it: the file is truncated or no model".into()) }
}

/// The operators of the model's graph, such as `Conv`; those of functions and of graphs inside nodes do not count.
pub fn operators(bytes: &[u8]) -> BTreeSet<String> {
    // ModelProto.graph is 7, GraphProto.node 1, NodeProto.op_type 4.
    let graphs = parts(bytes, 7);
    let nodes = graphs.flat_map(|graph| parts(graph, 1));
    let types = nodes.flat_map(|node| parts(node, 4));
    types.filter_map(|name| std::str::from_utf8(name).ok().map(str::to_owned)).collect()
}

/// The contents of a message's fields of this number that have a length, up to the first that is broken.
fn parts(mut rest: &[u8], field: u64) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let (tag, after) = varint(rest)?;
            let fixed = match tag & 7 {
                0 => {
                    rest = varint(after)?.1;
                    continue;
                }
                1 => 8,
                2 => {
                    let (length, content) = varint(after)?;
                    let (part, behind) = content.split_at_checked(usize::try_from(length).ok()?)?;
                    rest = behind;
                    if tag >> 3 == field {
                        return Some(part);
                    }
                    continue;
                }
                5 => 4,
                _ => return None,
            };
            rest = after.get(fixed..)?;
        }
        None
    })
}

/// A base-128 number and what follows it.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (i, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f).checked_shl(7 * i as u32)?;
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(i + 1..)?));
        }
    }
    None
}

/// What a file is that is often mistaken for a model.
fn known_other(bytes: &[u8]) -> Option<&'static str> {
    const STARTS: [(&[u8], &str); 9] = [
        (b"version https://git-lfs", "it is a Git LFS pointer; fetch the file itself with `git lfs pull`"),
        (b"\xff\xd8\xff", "it is a JPEG picture"),
        (b"\x89PNG", "it is a PNG picture"),
        (b"PK\x03\x04", "it is a ZIP file (a PyTorch checkpoint?); export the model to ONNX"),
        (b"\x1f\x8b", "it is compressed with gzip; unpack it"),
        (b"\x28\xb5\x2f\xfd", "it is compressed with zstd; a bundle's archive is named .vigil"),
        (b"\x89HDF", "it is an HDF5 file (Keras?); export the model to ONNX"),
        (b"ORTM", "it is in ONNX Runtime's own format; give the .onnx file"),
        (b"<", "it is an HTML or XML page; was the download redirected?"),
    ];
    if bytes.get(4..8) == Some(b"TFL3") {
        return Some("it is a TensorFlow Lite model; convert it to ONNX");
    }
    STARTS.iter().find(|(start, _)| bytes.starts_with(start)).map(|(_, what)| *what)
}

/// The smallest bytes that pass [`check`]: `ir_version = 8` and a graph with the name `g`.
#[cfg(test)]
pub(super) const TINY: &[u8] = b"\x08\x08\x3a\x03\x12\x01g";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn models_pass() {
        assert_eq!(check(TINY), Ok(()));
        // producer_name "pytorch", graph, opset_import {version 17}
        assert_eq!(check(b"\x08\x08\x12\x07pytorch\x3a\x03\x12\x01g\x42\x02\x10\x11"), Ok(()));
    }

    #[test]
    fn operators_are_those_of_the_graph() {
        // graph { node { op_type "Exp" }, node { output "y", op_type "Conv" }, name "g" }
        let model = b"\x08\x08\x3a\x14\x0a\x05\x22\x03Exp\x0a\x08\x12\x00\x22\x04Conv\x12\x01g";
        assert_eq!(check(model), Ok(()));
        assert_eq!(operators(model).into_iter().collect::<Vec<_>>(), ["Conv", "Exp"]);
        assert!(operators(TINY).is_empty());
        for n in 0..model.len() {
            assert!(operators(&model[..n]).is_subset(&operators(model)), "{n}");
        }
    }

    #[test]
    fn every_proper_prefix_fails() {
        for n in 0..TINY.len() {
            assert!(check(&TINY[..n]).is_err(), "{n}");
        }
        assert_eq!(
            check(b"\x08\x08\x3a\xe8\x07\x12\x01g").unwrap_err(),
            "the file is truncated: a part of 1000 bytes ends after 3"
        );
    }

    #[test]
    fn other_files_are_told_by_name() {
        let text = |b: &[u8]| check(b).unwrap_err();
        assert_eq!(text(b""), "the file is empty");
        assert!(text(b"\xff\xd8\xff\xe0\0\x10JFIF").contains("JPEG"));
        assert!(text(b"\x1c\0\0\0TFL3\x14\0").contains("TensorFlow Lite"));
        assert!(text(b"version https://git-lfs.github.com/spec/v1\n").contains("git lfs pull"));
        assert!(text(b"<!DOCTYPE html>").contains("HTML"));
        assert_eq!(text(b"hello, this is a text\n"), "its structure is not that of a model");
    }

    /// `models` of the shared test data, where it is at hand.
    fn real_models() -> Vec<std::path::PathBuf> {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
        let root = std::env::var_os("VIGIL_TEST_DATA").map_or(root, Into::into);
        let Ok(dir) = std::fs::read_dir(root.join("models")) else {
            eprintln!("no test data: set VIGIL_TEST_DATA to check real models");
            return Vec::new();
        };
        let onnx = |p: &std::path::PathBuf| p.extension().is_some_and(|e| e == "onnx");
        dir.map(|entry| entry.unwrap().path()).filter(onnx).collect()
    }

    #[test]
    fn real_models_pass_whole_and_fail_cut() {
        for path in real_models() {
            let bytes = std::fs::read(&path).unwrap();
            assert_eq!(check(&bytes), Ok(()), "{}", path.display());
            for part in [1, bytes.len() / 3, bytes.len() / 2] {
                assert!(check(&bytes[..part]).is_err(), "{} cut to {part}", path.display());
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = check(&bytes);
            let _ = operators(&bytes);
        }
    }
}
