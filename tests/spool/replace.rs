//! A damaged file is replaced: what if that is cut off, and what becomes of the files that are set aside.

use super::*;

const FOLDER: &str = "VIGIL_SPOOL_REPLACED";
const RECORDS: u64 = 3000;

/// A closed spool of many blocks.
fn filled(folder: &Path) -> PathBuf {
    let spool = Spool::open(folder, "x", SpoolOptions::default(), clock()).unwrap();
    let mut random = Random(3);
    for number in 0..RECORDS {
        spool.push(noise(Kind::Event, number, 3000, &mut random));
        if number % 20 == 19 {
            assert!(spool.flush(LONG));
        }
    }
    assert!(spool.close(LONG));
    spool.path().to_path_buf()
}

/// Makes the spool at `path` one that has to be replaced: its first page is gone.
fn damage(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[..2048].fill(0xa5);
    std::fs::write(path, bytes).unwrap();
}

fn files(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

fn all_arrive(folder: &Path) -> Vec<u64> {
    let spool = Spool::open(folder, "x", SpoolOptions::default(), clock()).unwrap();
    let receiver = Receiver::default();
    assert_eq!(ship(&spool, &receiver, 0).drain(LONG), Drained::Complete);
    receiver.arrived().iter().map(|record| number(&record.body)).collect()
}

#[test]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    println!("begins");
    let spool = Spool::open(Path::new(&folder), "x", SpoolOptions::default(), clock()).unwrap();
    println!("done {}", spool.stats().waiting());
}

/// Starts the process that opens the spool in `folder`.
fn opener(folder: &Path) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "replace::child", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn a_kill_while_it_is_replaced_costs_nothing() {
    let kills: u64 = std::env::var("VIGIL_SPOOL_KILLS").map_or(8, |n| n.parse().unwrap());
    let made = tempfile::tempdir().unwrap();
    let path = filled(made.path());
    damage(&path);
    // How long it takes when nobody ends it.
    let folder = tempfile::tempdir().unwrap();
    let copy = |folder: &Path| assert!(std::fs::copy(&path, folder.join("x.spool")).unwrap() > 0);
    let until_begins = |lines: &mut dyn Iterator<Item = std::io::Result<String>>| {
        while !lines.next().unwrap().unwrap().ends_with("begins") {}
    };
    copy(folder.path());
    let mut child = opener(folder.path());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    until_begins(&mut lines);
    let begun = Instant::now();
    assert_eq!(lines.next().unwrap().unwrap(), format!("done {RECORDS}"));
    let whole = begun.elapsed();
    assert!(child.wait().unwrap().success());

    let mut random = Random(0x9876_5432_1fed);
    let (mut cut_off, mut moved) = (0, 0);
    for kill in 0..kills {
        let folder = tempfile::tempdir().unwrap();
        copy(folder.path());
        // Killed up to three times one after the other, at any moment.
        for _ in 0..=random.next(3) {
            let mut child = opener(folder.path());
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            until_begins(&mut lines);
            std::thread::sleep(whole.mul_f64(random.next(1100) as f64 / 1000.0));
            child.kill().unwrap();
            let _ = child.wait().unwrap();
            let files = files(folder.path());
            cut_off += u64::from(files.iter().any(|file| file.ends_with(".new") || file.contains("mended")));
            moved += u64::from(files.iter().any(|file| file.contains("corrupt")));
        }
        let arrived = all_arrive(folder.path());
        assert_eq!(arrived, (0..RECORDS).collect::<Vec<_>>(), "kill {kill}");
        assert!(!files(folder.path()).iter().any(|file| file.ends_with(".new") || file.contains("mended")));
    }
    println!("{kills} files: {cut_off} times cut off while copying, {moved} times after it; none lost of {RECORDS}");
    assert!(cut_off > 0, "no kill came while it was replaced, which takes {whole:?}");
}

#[test]
fn a_replacement_goes_on_wherever_it_was_cut_off() {
    let made = tempfile::tempdir().unwrap();
    let path = filled(made.path());
    let whole = std::fs::read(&path).unwrap();
    damage(&path);
    let bad = std::fs::read(&path).unwrap();
    // What a process leaves behind that is killed: the files by the ends of their names.
    let (aside, log) = (".corrupt-20261126T070000Z", b"not the new file's log".to_vec());
    let left = [
        (
            "while it copied",
            vec![("", &bad), (".new", &bad), (".new-wal", &log), (".mended", &bad), (".mended.template", &bad)],
        ),
        ("before it moved", vec![("", &bad), ("-wal", &log), (".new", &whole)]),
        ("when the file had moved, and its log had not", vec![(aside, &bad), ("-wal", &log), (".new", &whole)]),
        ("when both had moved", vec![(aside, &bad), (".corrupt-20261126T070000Z-wal", &log), (".new", &whole)]),
    ];
    for (when, left) in left {
        let folder = tempfile::tempdir().unwrap();
        for (end, bytes) in left {
            std::fs::write(folder.path().join(format!("x.spool{end}")), bytes).unwrap();
        }
        let spool = Spool::open(folder.path(), "x", SpoolOptions::default(), clock()).unwrap();
        let (sender, told) = std::sync::mpsc::channel();
        spool.report_to(Box::new(move |notice| sender.send(notice).unwrap()));
        let notice = told.recv_timeout(LONG).unwrap();
        let expected = format!("{RECORDS} records were recovered, about 0 are lost");
        assert!(notice.degraded && notice.text.contains(&expected), "{when}: {notice:?}");
        drop(spool);
        assert_eq!(all_arrive(folder.path()), (0..RECORDS).collect::<Vec<_>>(), "{when}");
        let aside = &list(folder.path()).unwrap()[0].set_aside;
        assert_eq!(std::fs::read(&aside[0]).unwrap(), bad, "{when}");
    }
}

#[test]
fn three_files_that_were_set_aside_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path());
    let old = ["20260101T000000Z", "20260101T000000Z-2", "20260101T000000Z-10", "20260202T000000Z", "19700101T000000Z"];
    for time in old {
        std::fs::write(folder.path().join(format!("x.spool.corrupt-{time}")), time).unwrap();
    }
    std::fs::write(folder.path().join("x.spool.corrupt-19700101T000000Z-wal"), "its log").unwrap();
    std::fs::write(folder.path().join("y.spool.corrupt-19700101T000000Z"), "of another spool").unwrap();
    damage(&path);
    let spool = Spool::open(folder.path(), "x", SpoolOptions::default(), clock()).unwrap();
    let (sender, told) = std::sync::mpsc::channel();
    spool.report_to(Box::new(move |notice| sender.send(notice).unwrap()));
    let text = told.recv_timeout(LONG).unwrap().text;
    for gone in ["19700101T000000Z", "20260101T000000Z", "20260101T000000Z-2"] {
        assert!(text.contains(&format!("x.spool.corrupt-{gone} was removed")), "{text}");
    }
    let left: Vec<_> = files(folder.path()).into_iter().filter(|file| file.contains("corrupt")).collect();
    assert_eq!(left.len(), 4, "{left:?}");
    assert_eq!(left[..2], ["x.spool.corrupt-20260101T000000Z-10", "x.spool.corrupt-20260202T000000Z"]);
    assert_eq!(left[3], "y.spool.corrupt-19700101T000000Z");
    assert_eq!(list(folder.path()).unwrap()[0].set_aside.len(), 3);
}

#[test]
fn a_folder_that_cannot_be_used_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "x").unwrap();
    for place in [file.as_path(), &file.join("below"), Path::new("/proc/self/spool")] {
        let error = Spool::open(place, "x", SpoolOptions::default(), clock()).err().unwrap();
        assert!(matches!(error, SpoolError::Io { .. }), "{error:?}");
        assert!(error.to_string().contains(place.to_str().unwrap()), "{error}");
    }
}
