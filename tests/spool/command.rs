//! `vigil spool` on spools that no gateway has.

use super::*;

/// Runs `vigil spool` with `args`; what it printed, and whether it succeeded. `None` where there is no command, which only a part of
/// the package's build lacks.
fn command(args: &[&str]) -> Option<(String, String, bool)> {
    let Some(program) = option_env!("CARGO_BIN_EXE_vigil") else {
        println!("skipped: the command is not built");
        return None;
    };
    let output = Command::new(program).arg("spool").args(args).env_remove("VIGIL_SPOOL").output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some((text(&output.stdout), text(&output.stderr), output.status.success()))
}

fn push(spool: &Spool, kind: Kind, numbers: std::ops::Range<u64>) {
    numbers.for_each(|number| spool.push(outgoing(kind, "gate", number)));
    assert!(spool.flush(LONG));
}

/// A spool with records of one day ago, and of now: events and frames.
fn of_two_days(folder: &Path) -> String {
    let now = SystemClock::default().now().utc_ns / 1_000_000;
    let clock = Arc::new(HandClock(AtomicU64::new(0), AtomicU64::new(now - DAY)));
    let spool = Spool::open(folder, "x", SpoolOptions::default(), clock.clone()).unwrap();
    push(&spool, Kind::Frame, 0..10);
    push(&spool, Kind::Event, 10..15);
    clock.pass(DAY);
    push(&spool, Kind::Frame, 15..22);
    push(&spool, Kind::Event, 22..25);
    assert!(spool.close(LONG));
    spool.path().to_str().unwrap().to_owned()
}

#[test]
fn some_of_the_records_are_written_out_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = of_two_days(folder.path());
    let place = folder.path().to_str().unwrap();
    let numbers = |text: &str| text.lines().map(|line| number(line.as_bytes())).collect::<Vec<_>>();
    let Some((out, _, good)) = command(&["export", "x", "--folder", place, "--within", "2h"]) else { return };
    assert_eq!((numbers(&out), good), ([22, 23, 24, 15, 16, 17, 18, 19, 20, 21].to_vec(), true));
    let (out, _, _) = command(&["export", "x", "--folder", place, "--within", "3d", "--kind", "event"]).unwrap();
    assert_eq!(numbers(&out), [10, 11, 12, 13, 14, 22, 23, 24]);
    let (out, _, good) = command(&["purge", &path, "--yes", "--kind", "frame", "--within", "2h"]).unwrap();
    assert!(good && out.contains("7 records removed"), "{out}");
    let (out, _, good) = command(&["purge", &path, "--yes", "--kind", "event"]).unwrap();
    assert!(good && out.contains("8 records removed"), "{out}");
    let (out, _, _) = command(&["export", &path]).unwrap();
    assert_eq!(numbers(&out), (0..10).collect::<Vec<_>>());
}

#[test]
fn a_spool_is_not_written_over_by_its_own_records() {
    let folder = tempfile::tempdir().unwrap();
    let path = of_two_days(folder.path());
    let before = std::fs::read(&path).unwrap();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let parts = ["", "-wal", "-shm", ".lock"].map(|end| format!("{path}{end}"));
    for output in parts.iter().map(String::as_str).chain([link.to_str().unwrap()]) {
        let Some((_, said, good)) = command(&["export", &path, "-o", output]) else { return };
        assert!(!good && said.contains("belongs to the spool itself; name another file"), "{output}: {said}");
    }
    assert_eq!(std::fs::read(&path).unwrap(), before);
    let out = folder.path().join("x.jsonl");
    let (_, said, good) = command(&["export", &path, "-o", out.to_str().unwrap()]).unwrap();
    assert!(good && said.contains("25 records written"), "{said}");
    assert_eq!(std::fs::read_to_string(&out).unwrap().lines().count(), 25);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let Some(program) = option_env!("CARGO_BIN_EXE_vigil") else {
        println!("skipped: the command is not built");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path());
    for args in [vec!["show", "--folder", folder.path().to_str().unwrap()], vec!["export", &path]] {
        let mut child = Command::new(program)
            .arg("spool")
            .args(&args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.contains("panicked"), "{args:?}: {said}");
    }
}

/// A spool that takes more to write out than a pipe holds.
fn filled(folder: &Path) -> String {
    let spool = Spool::open(folder, "x", SpoolOptions::default(), clock()).unwrap();
    push(&spool, Kind::Frame, 0..5000);
    spool.path().to_str().unwrap().to_owned()
}

#[test]
fn nothing_is_left_beside_a_file_that_is_no_spool() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("notes.txt");
    std::fs::write(&file, "mine").unwrap();
    let Some((_, said, good)) = command(&["purge", file.to_str().unwrap(), "--yes"]) else { return };
    assert!(!good, "{said}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
}

#[test]
fn who_finds_no_spools_is_told_where_the_services_are() {
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = option_env!("CARGO_BIN_EXE_vigil") else {
        println!("skipped: the command is not built");
        return;
    };
    let run = |args: &[&str]| {
        let mut command = Command::new(program);
        command.arg("spool").args(args).env("VIGIL_SPOOL", folder.path());
        let output = command.output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let service = "sudo -u vigil vigil spool show --folder /var/lib/vigil/spool";
    assert!(run(&["show"]).contains(service));
    assert!(run(&["export", "x"]).contains(service));
    assert!(!run(&["show", "--folder", folder.path().to_str().unwrap()]).contains(service));
}
