use proptest::prelude::*;

use super::*;

const SMALL: Limits = Limits { entries: 8, bytes: 1 << 20, window_log: 23 };

type Files = BTreeMap<String, Vec<u8>>;

fn packed(files: &Files) -> Vec<u8> {
    let mut packer = Packer::new(Vec::new()).unwrap();
    for (name, content) in files {
        packer.add(name, content).unwrap();
    }
    packer.finish().unwrap()
}

fn files(pairs: &[(&str, &[u8])]) -> Files {
    pairs.iter().map(|(n, c)| (n.to_string(), c.to_vec())).collect()
}

/// One tar entry by hand (POSIX.1-1988 ustar), so that names and kinds which a tar writer refuses can be made.
fn entry(name: &[u8], kind: u8, content: &[u8]) -> Vec<u8> {
    entry_of_size(name, kind, content, content.len() as u64)
}

fn entry_of_size(name: &[u8], kind: u8, content: &[u8], size: u64) -> Vec<u8> {
    let mut block = [0u8; 512];
    block[..name.len()].copy_from_slice(name);
    block[100..108].copy_from_slice(b"0000644\0");
    block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    block[148..156].fill(b' ');
    block[156] = kind;
    block[157..164].copy_from_slice(b"/target");
    block[257..265].copy_from_slice(b"ustar\x0000");
    if kind == b'S' {
        // GNU's old sparse format; the real size is a gibibyte of zeros.
        block[257..265].copy_from_slice(b"ustar  \0");
        block[386..398].copy_from_slice(b"10000000000\0");
        block[398..410].copy_from_slice(b"00000000000\0");
        block[483..495].copy_from_slice(b"10000000000\0");
    }
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut bytes = block.to_vec();
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn compressed(tar: &[u8]) -> Vec<u8> {
    zstd::encode_all(tar, 3).unwrap()
}

/// An archive of entries made by hand, with tar's end.
fn by_hand(entries: &[Vec<u8>]) -> Vec<u8> {
    compressed(&[entries.concat(), vec![0; 1024]].concat())
}

fn error(bytes: &[u8]) -> String {
    unpack(bytes, &SMALL).unwrap_err().to_string()
}

#[test]
fn hand_made_entries_are_read() {
    let long = [b"deep/".repeat(30), b"x".to_vec()].concat();
    let bytes = by_hand(&[
        entry(b"./", b'5', b""),
        entry(b"./a.txt", b'0', b"hello"),
        entry(b"sub/", b'5', b""),
        entry(b"sub/old", 0, b""),
        entry(b"././@LongLink", b'L', &[&long[..], b"\0"].concat()),
        entry(b"cut off", b'0', b"long"),
    ]);
    let long = String::from_utf8(long).unwrap();
    assert_eq!(unpack(&bytes[..], &SMALL).unwrap(), files(&[("a.txt", b"hello"), ("sub/old", b""), (&long, b"long")]));
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let named = |name: &[u8]| error(&by_hand(&[entry(name, b'0', b"x")]));
    let unsafe_entry = |rest: &str| format!("the archive is not safe: the entry {rest}");
    assert_eq!(
        named(b"/etc/passwd"),
        unsafe_entry("\"/etc/passwd\" is an absolute path; files are named relative to the bundle")
    );
    assert_eq!(named(b"../x"), unsafe_entry("\"../x\" leads out of the bundle with `..`"));
    assert_eq!(named(b"a/../../x"), unsafe_entry("\"a/../../x\" leads out of the bundle with `..`"));
    assert_eq!(named(b"a\x1b[2J"), unsafe_entry("\"a\\u{1b}[2J\" contains '\\u{1b}'"));
    assert_eq!(named(b"a\xff"), unsafe_entry("\"a\u{fffd}\" is not UTF-8"));
    assert!(named(b".ssh/x").contains("begins with a dot"));
    let folder = error(&by_hand(&[entry(b"../up/", b'5', b"")]));
    assert_eq!(folder, unsafe_entry("\"../up\" leads out of the bundle with `..`"));
}

#[test]
fn a_pax_header_cannot_smuggle_a_name() {
    let record = b"13 path=/etc\n";
    let text = error(&by_hand(&[entry(b"pax", b'x', record), entry(b"good", b'0', b"x")]));
    assert!(text.contains("\"/etc\" is an absolute path"), "{text}");
}

#[test]
fn only_files_and_folders_are_allowed() {
    let kinds = [
        (b'1', "a link"),
        (b'2', "a link"),
        (b'3', "a device"),
        (b'4', "a device"),
        (b'6', "a pipe"),
        (b'S', "a sparse file"),
        (b'Z', "of an unknown kind"),
    ];
    for (kind, word) in kinds {
        assert_eq!(
            error(&by_hand(&[entry(b"e", kind, b"")])),
            format!("the archive is not safe: the entry \"e\" is {word}; only files and folders are allowed")
        );
    }
}

#[test]
fn two_entries_of_one_name_are_refused() {
    let text = error(&by_hand(&[entry(b"a", b'0', b"1"), entry(b"./a", b'0', b"2")]));
    assert_eq!(text, "the archive is not safe: there are two entries \"a\"");
}

#[test]
fn too_many_entries_are_refused() {
    let entries: Vec<Vec<u8>> = (0..9).map(|i| entry(format!("f{i}").as_bytes(), b'0', b"")).collect();
    assert!(unpack(&by_hand(&entries[..8])[..], &SMALL).is_ok());
    assert_eq!(error(&by_hand(&entries)), "the archive has more than the allowed 8 entries");
    let folders = vec![entry(b"d/", b'5', b""); 9];
    assert_eq!(error(&by_hand(&folders)), "the archive has more than the allowed 8 entries");
}

#[test]
fn bombs_are_stopped_at_the_limit() {
    let too_large = "the archive unpacks to more than the allowed 1048576 bytes";
    let zeros = vec![0; 4 << 20];
    let bomb = by_hand(&[entry(b"zeros", b'0', &zeros)]);
    assert!(bomb.len() < 4096, "{} bytes", bomb.len());
    assert_eq!(error(&bomb), too_large);
    assert_eq!(error(&compressed(&[entry(b"a", b'0', b"x"), zeros.clone()].concat())), too_large, "after the end");
    let long_name = entry(b"././@LongLink", b'L', &zeros);
    assert_eq!(error(&by_hand(&[long_name])), too_large, "in a name");
    let skipped = entry(b"folder/", b'5', &zeros);
    assert_eq!(error(&by_hand(&[skipped, entry(b"a", b'0', b"")])), too_large, "in a folder's content");
}

#[test]
fn a_promised_length_is_not_believed() {
    let tar = [entry_of_size(b"huge", b'0', b"tiny", (8 << 30) - 1), vec![0; 1024]].concat();
    assert_eq!(error(&compressed(&tar)), "the archive is truncated: fetch or pack it again");
}

#[test]
fn a_window_beyond_the_limit_is_refused() {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(24).unwrap();
    encoder.write_all(&entry(b"a", b'0', &[7; 3 << 20])).unwrap();
    let text = error(&encoder.finish().unwrap());
    assert_eq!(text, "the archive asks for more memory to unpack than is allowed (8 MiB)");
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = packed(&files(&[("a", b"some content"), ("b/c", &[1, 2, 3])]));
    assert_eq!(error(&bytes[..0]), "the archive is empty");
    for n in 1..bytes.len() {
        let text = error(&bytes[..n]);
        assert_eq!(text, "the archive is truncated: fetch or pack it again", "{n} of {} bytes", bytes.len());
    }
    let tar = entry(b"a", b'0', &[1; 600]);
    for n in [100, 512, 700, 1100, tar.len()] {
        assert_eq!(error(&compressed(&tar[..n])), "the archive is truncated: fetch or pack it again", "tar cut at {n}");
    }
}

#[test]
fn other_files_and_damage_are_refused() {
    let wrong = "not a bundle archive: it is not compressed with zstd (make one with `vigil bundle pack`)";
    assert_eq!(error(b"PK\x03\x04 a zip file"), wrong);
    assert_eq!(error(b"x"), wrong);
    assert_eq!(error(&entry(b"plain.tar", b'0', b"x")), wrong);
    let text = error(&compressed(&[b'x'; 2048]));
    assert!(text.starts_with("the archive is damaged: "), "{text}");
    let mut bytes = packed(&files(&[("a", &[5; 3000])]));
    let checksum = bytes.len() - 1;
    bytes[checksum] ^= 1;
    assert!(error(&bytes).starts_with("the archive is damaged: "), "{}", error(&bytes));
}

#[test]
fn nothing_may_follow_the_end() {
    let trailing = "there is something after the end of the archive: fetch or pack it again";
    let good = packed(&files(&[("a", b"x")]));
    assert_eq!(error(&[&good[..], b"x"].concat()), trailing);
    assert_eq!(error(&[&good[..], &good[..]].concat()), trailing);
    let tar = [entry(b"a", b'0', b"x"), vec![0; 1024], entry(b"b", b'0', b"y"), vec![0; 1024]].concat();
    assert_eq!(error(&compressed(&tar)), trailing);
}

#[test]
fn gnu_tar_makes_an_archive_that_is_read() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("sub")).unwrap();
    std::fs::write(dir.path().join("sub/a"), b"hello").unwrap();
    let tar = std::process::Command::new("tar").args(["-C"]).arg(dir.path()).args(["-cf", "-", "."]).output().unwrap();
    assert_eq!(unpack(&compressed(&tar.stdout)[..], &SMALL).unwrap(), files(&[("sub/a", b"hello")]));
}

/// Writes the seeds that the fuzz target `archive` starts from and that tests/fuzz_bundle.rs runs.
#[test]
#[ignore = "writes fuzz/corpus/archive; run it when the seeds should change"]
fn write_the_corpus() {
    let tar = |entries: &[Vec<u8>]| [entries.concat(), vec![0; 1024]].concat();
    let good = tar(&[entry(b"bundle.toml", b'0', b"format = 1\n"), entry(b"labels.txt", b'0', b"person\n")]);
    let bundle: Vec<Vec<u8>> = super::super::tests::small_bundle()
        .iter()
        .map(|(name, content)| entry(name.as_bytes(), b'0', content))
        .collect();
    let seeds = [
        ("bundle.vigil", packed(&super::super::tests::small_bundle())),
        ("bundle.tar", tar(&bundle)),
        ("bomb.vigil", by_hand(&[entry(b"zeros", b'0', &vec![0; 4 << 20])])),
        ("truncated.vigil", compressed(&good)[..60].to_vec()),
        ("garbage-after.vigil", [compressed(&good), b"x".to_vec()].concat()),
        ("no-end.tar", good[..good.len() - 1024].to_vec()),
        ("absolute.tar", tar(&[entry(b"/etc/passwd", b'0', b"x")])),
        ("parent.tar", tar(&[entry(b"a/../../x", b'0', b"x")])),
        ("link.tar", tar(&[entry(b"l", b'2', b"")])),
        ("device.tar", tar(&[entry(b"d", b'3', b"")])),
        ("sparse.tar", tar(&[entry(b"s", b'S', b"")])),
        ("twice.tar", tar(&[entry(b"a", b'0', b"1"), entry(b"./a", b'0', b"2")])),
        ("pax.tar", tar(&[entry(b"pax", b'x', b"13 path=/etc\n"), entry(b"g", b'0', b"x")])),
        ("huge-size.tar", tar(&[entry_of_size(b"h", b'0', b"tiny", (8 << 30) - 1)])),
    ];
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/archive");
    std::fs::create_dir_all(&dir).unwrap();
    for (name, bytes) in seeds {
        std::fs::write(dir.join(name), bytes).unwrap();
    }
}

proptest! {
    #[test]
    fn what_is_packed_is_unpacked(
        content in prop::collection::btree_map(
            "[a-zäß][a-z0-9_ -]{0,12}(/[a-z][a-z0-9.]{0,40}){0,4}", prop::collection::vec(any::<u8>(), 0..2000), 0..8
        )
    ) {
        let bytes = packed(&content);
        prop_assert_eq!(unpack(&bytes[..], &SMALL).unwrap(), content.clone());
        prop_assert_eq!(packed(&content), bytes);
    }

    #[test]
    fn any_bytes_give_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..600), as_tar in any::<bool>()) {
        let bytes = if as_tar { compressed(&bytes) } else { [&MAGIC[..], &bytes[..]].concat() };
        let _ = unpack(&bytes[..], &SMALL);
    }

    #[test]
    fn a_flipped_bit_is_never_a_panic(position in any::<prop::sample::Index>(), bit in 0..8u8) {
        let mut tar = [entry(b"a", b'0', b"hello"), entry(b"b", b'0', b""), vec![0; 1024]].concat();
        let i = position.index(tar.len());
        tar[i] ^= 1u8 << bit;
        let _ = unpack(&compressed(&tar)[..], &SMALL);
    }
}
