use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use super::super::fs::RealFs;
use super::*;

/// 2026-11-23T10:15:00Z.
const UTC: u64 = 1_795_428_900_000_000_000;

fn at(milliseconds: u64) -> Now {
    Now { monotonic: Duration::from_millis(milliseconds), utc_ns: UTC + milliseconds * 1_000_000 }
}

/// What is to go wrong, and what was seen.
#[derive(Default)]
struct Faults {
    /// Bytes until the device is full; writes are cut short there.
    room: Option<usize>,
    /// Most bytes that one write takes.
    chunk: Option<usize>,
    fail_sync: bool,
    fail_truncate: bool,
    fail_rename: bool,
    syncs: usize,
    folder_syncs: usize,
}

#[derive(Clone, Default)]
struct FaultyFs(Arc<Mutex<Faults>>);

struct FaultyFile(Box<dyn LogFile>, Arc<Mutex<Faults>>);

impl FileSystem for FaultyFs {
    fn open(&mut self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        Ok(Box::new(FaultyFile(RealFs.open(path)?, self.0.clone())))
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        if self.0.lock().unwrap().fail_rename {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        RealFs.rename(from, to)
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        RealFs.remove(path)
    }

    fn list(&mut self, folder: &Path) -> io::Result<Vec<String>> {
        RealFs.list(folder)
    }

    fn sync_folder(&mut self, _folder: &Path) -> io::Result<()> {
        self.0.lock().unwrap().folder_syncs += 1;
        Ok(())
    }
}

impl LogFile for FaultyFile {
    fn is_regular(&self) -> bool {
        self.0.is_regular()
    }

    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }

    fn ends_whole(&self) -> io::Result<bool> {
        self.0.ends_whole()
    }

    fn is_at(&self, path: &Path) -> bool {
        self.0.is_at(path)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut faults = self.1.lock().unwrap();
        let mut most = faults.chunk.unwrap_or(usize::MAX).min(bytes.len());
        if let Some(room) = &mut faults.room {
            if *room == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            most = most.min(*room);
            *room -= most;
        }
        self.0.write(&bytes[..most])
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        if self.1.lock().unwrap().fail_truncate {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        self.0.truncate(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut faults = self.1.lock().unwrap();
        faults.syncs += 1;
        if faults.fail_sync { Err(io::Error::from_raw_os_error(libc::EIO)) } else { Ok(()) }
    }
}

struct Bench {
    dir: tempfile::TempDir,
    fs: FaultyFs,
    options: FileOptions,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = FileOptions::new(dir.path().join("out.jsonl"));
        Self { dir, fs: FaultyFs::default(), options }
    }

    fn open(&self) -> FileSink {
        FileSink::open(self.options.clone(), Box::new(self.fs.clone()), at(0)).unwrap()
    }

    fn faults(&self) -> std::sync::MutexGuard<'_, Faults> {
        self.fs.0.lock().unwrap()
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.options.path).unwrap()
    }

    /// All files with their content, by name.
    fn files(&self) -> Vec<(String, String)> {
        let mut names = RealFs.list(self.dir.path()).unwrap();
        names.sort();
        names.into_iter().map(|n| (n.clone(), fs::read_to_string(self.dir.path().join(n)).unwrap())).collect()
    }
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect()
}

#[test]
fn appends_to_what_is_there_and_leaves_a_torn_line_behind() {
    let bench = Bench::new();
    fs::write(&bench.options.path, "1\n").unwrap();
    bench.open().write(b"2\n", at(0)).unwrap();
    assert_eq!(bench.text(), "1\n2\n");
    fs::write(&bench.options.path, "1\n{\"to").unwrap();
    let mut sink = bench.open();
    sink.write(b"2\n", at(0)).unwrap();
    sink.write(b"3\n", at(0)).unwrap();
    assert_eq!(bench.text(), "1\n{\"to\n2\n3\n");
}

#[test]
fn short_writes_make_whole_lines() {
    let bench = Bench::new();
    bench.faults().chunk = Some(2);
    let mut sink = bench.open();
    sink.write(b"12345\n", at(0)).unwrap();
    sink.write(b"678\n", at(0)).unwrap();
    assert_eq!(bench.text(), "12345\n678\n");
}

#[test]
fn a_full_disk_leaves_no_part_of_a_line() {
    let bench = Bench::new();
    let mut sink = bench.open();
    bench.faults().room = Some(6 + 3);
    sink.write(b"first\n", at(0)).unwrap();
    for t in 0..3 {
        let error = sink.write(b"second\n", at(t)).unwrap_err();
        assert!(matches!(error, SinkError::Full { .. }), "{error}");
        assert_eq!(bench.text(), "first\n");
    }
    bench.faults().room = None;
    sink.write(b"second\n", at(5)).unwrap();
    assert_eq!(bench.text(), "first\nsecond\n");
}

#[test]
fn a_part_that_cannot_be_taken_out_is_left_behind_on_its_own_line() {
    let bench = Bench::new();
    let mut sink = bench.open();
    *bench.faults() = Faults { room: Some(3), fail_truncate: true, ..Faults::default() };
    assert!(sink.write(b"second\n", at(0)).is_err());
    *bench.faults() = Faults::default();
    sink.write(b"second\n", at(0)).unwrap();
    assert_eq!(bench.text(), "sec\nsecond\n");
}

#[test]
fn rotates_before_the_file_grows_too_big() {
    let mut bench = Bench::new();
    bench.options.rotate_size = Some(8);
    let mut sink = bench.open();
    for (i, line) in ["aaa\n", "bbb\n", "ccc\n", "longer than the limit\n", "ddd\n"].iter().enumerate() {
        sink.write(line.as_bytes(), at(i as u64 * 500)).unwrap();
    }
    // The limit is not exceeded by 4 + 4 bytes. The third line comes at 1000 ms, the fourth at 1500, the fifth at 2000.
    assert_eq!(
        bench.files(),
        pairs(&[
            ("out.20261123T101501Z-000001.jsonl", "aaa\nbbb\n"),
            ("out.20261123T101501Z-000002.jsonl", "ccc\n"),
            ("out.20261123T101502Z-000001.jsonl", "longer than the limit\n"),
            ("out.jsonl", "ddd\n"),
        ])
    );
}

#[test]
fn rotates_by_time_but_never_an_empty_file() {
    let mut bench = Bench::new();
    bench.options.rotate_time = Some(Duration::from_secs(10));
    let mut sink = bench.open();
    sink.tick(at(60_000)).unwrap();
    sink.write(b"a\n", at(60_000)).unwrap();
    sink.write(b"b\n", at(69_999)).unwrap();
    sink.write(b"c\n", at(70_000)).unwrap();
    assert_eq!(bench.files(), pairs(&[("out.20261123T101610Z-000001.jsonl", "a\nb\n"), ("out.jsonl", "c\n")]));
}

#[test]
fn keeps_the_newest_and_touches_no_other_file() {
    let mut bench = Bench::new();
    bench.options.rotate_size = Some(1);
    bench.options.keep = Some(2);
    let others =
        ["out.notes.jsonl", "out.20261123T101500Z-1.jsonl", "other.20200101T000000Z-000001.jsonl", "out.jsonl.bak"];
    for name in others.iter().chain(&["out.20200101T000000Z-000001.jsonl"]) {
        fs::write(bench.dir.path().join(name), "old\n").unwrap();
    }
    let mut sink = bench.open();
    for i in 0..5 {
        sink.write(format!("{i}\n").as_bytes(), at(0)).unwrap();
    }
    let names: Vec<String> = bench.files().into_iter().map(|(n, _)| n).collect();
    let mut expected = vec!["out.20261123T101500Z-000003.jsonl", "out.20261123T101500Z-000004.jsonl", "out.jsonl"];
    expected.extend(others);
    expected.sort();
    assert_eq!(names, expected);
}

#[test]
fn a_rotation_that_fails_is_told_once_and_stops_no_record() {
    let mut bench = Bench::new();
    bench.options.rotate_size = Some(2);
    let mut sink = bench.open();
    sink.write(b"a\n", at(0)).unwrap();
    bench.faults().fail_rename = true;
    assert!(matches!(sink.write(b"b\n", at(0)), Err(SinkError::Permission { .. })));
    sink.write(b"b\n", at(1_000)).unwrap();
    sink.write(b"c\n", at(59_000)).unwrap();
    assert_eq!(bench.text(), "a\nb\nc\n");
    bench.faults().fail_rename = false;
    sink.write(b"d\n", at(60_000)).unwrap();
    assert_eq!(bench.text(), "d\n");
}

#[test]
fn a_removed_or_moved_file_is_made_anew() {
    let bench = Bench::new();
    let folder = bench.dir.path().join("deep/er");
    let options = FileOptions::new(folder.join("out.jsonl"));
    let mut sink = FileSink::open(options.clone(), Box::new(RealFs), at(0)).unwrap();
    sink.write(b"a\n", at(0)).unwrap();
    fs::remove_dir_all(bench.dir.path().join("deep")).unwrap();
    assert!(matches!(sink.tick(at(1_000)), Err(SinkError::Vanished { .. })));
    sink.write(b"b\n", at(1_000)).unwrap();
    assert_eq!(fs::read_to_string(&options.path).unwrap(), "b\n");
    fs::rename(&options.path, folder.join("moved")).unwrap();
    assert!(matches!(sink.write(b"c\n", at(2_000)), Err(SinkError::Vanished { .. })));
    sink.write(b"c\n", at(2_000)).unwrap();
    assert_eq!(fs::read_to_string(&options.path).unwrap(), "c\n");
}

#[test]
fn synchronises_as_the_policy_says() {
    for (policy, after_two_records, after_interval, after_finish) in [
        (Fsync::Never, 0, 0, 0),
        (Fsync::Rotate, 0, 0, 1),
        (Fsync::EveryRecord, 2, 3, 3),
        (Fsync::Interval(Duration::from_millis(500)), 0, 1, 2),
    ] {
        let mut bench = Bench::new();
        bench.options.fsync = policy;
        let mut sink = bench.open();
        sink.write(b"a\n", at(0)).unwrap();
        sink.write(b"b\n", at(499)).unwrap();
        assert_eq!(bench.faults().syncs, after_two_records, "{policy:?}");
        sink.write(b"c\n", at(500)).unwrap();
        assert_eq!(bench.faults().syncs, after_interval, "{policy:?}");
        sink.finish(at(500)).unwrap();
        sink.finish(at(500)).unwrap();
        sink.tick(at(5_000)).unwrap();
        assert_eq!(bench.faults().syncs, after_finish, "{policy:?}");
    }
}

#[test]
fn an_idle_file_is_synchronised_at_the_interval() {
    let mut bench = Bench::new();
    bench.options.fsync = Fsync::Interval(Duration::from_secs(2));
    let mut sink = bench.open();
    sink.write(b"a\n", at(0)).unwrap();
    sink.tick(at(1_000)).unwrap();
    assert_eq!(bench.faults().syncs, 0);
    sink.tick(at(2_000)).unwrap();
    sink.tick(at(4_000)).unwrap();
    assert_eq!(bench.faults().syncs, 1);
}

#[test]
fn a_record_that_could_not_be_synchronised_is_not_written() {
    let mut bench = Bench::new();
    bench.options.fsync = Fsync::EveryRecord;
    let mut sink = bench.open();
    bench.faults().fail_sync = true;
    let error = sink.write(b"a\n", at(0)).unwrap_err();
    assert!(matches!(error, SinkError::Io { .. }), "{error}");
    assert_eq!(bench.text(), "");
    bench.faults().fail_sync = false;
    sink.write(b"a\n", at(0)).unwrap();
    assert_eq!(bench.text(), "a\n");
}

#[test]
fn a_failed_synchronisation_at_an_interval_is_told_once() {
    let mut bench = Bench::new();
    bench.options.fsync = Fsync::Interval(Duration::from_millis(1));
    let mut sink = bench.open();
    sink.write(b"a\n", at(0)).unwrap();
    bench.faults().fail_sync = true;
    assert!(sink.write(b"b\n", at(1)).is_err());
    sink.write(b"b\n", at(1)).unwrap();
    assert_eq!(bench.text(), "a\nb\n");
}

#[test]
fn what_cannot_be_opened_is_a_typed_error() {
    let bench = Bench::new();
    let open = |path: PathBuf| FileSink::open(FileOptions::new(path), Box::new(RealFs), at(0)).err().unwrap();
    assert!(matches!(open(bench.dir.path().into()), SinkError::NotAFile { .. }));
    let _held = bench.open();
    assert!(matches!(open(bench.options.path.clone()), SinkError::Busy { .. }));
    let pipe = bench.dir.path().join("pipe");
    let status = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(status.success());
    assert!(matches!(open(pipe), SinkError::NotAFile { .. }));
    let closed = bench.dir.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).unwrap();
    // The superuser may write everywhere.
    if fs::write(closed.join("probe"), "").is_err() {
        assert!(matches!(open(closed.join("o")), SinkError::Permission { .. }));
    }
    assert!(matches!(open(bench.options.path.join("o")), SinkError::Io { .. }));
}

#[test]
fn a_device_is_written_and_never_renamed() {
    let options = FileOptions { rotate_size: Some(1), ..FileOptions::new("/dev/null".into()) };
    let mut null = FileSink::open(options.clone(), Box::new(RealFs), at(0)).unwrap();
    null.write(b"a\n", at(0)).unwrap();
    null.write(b"b\n", at(5_000)).unwrap();
    null.finish(at(5_000)).unwrap();
    let full = FileOptions { path: "/dev/full".into(), ..options };
    let mut full = FileSink::open(full, Box::new(RealFs), at(0)).unwrap();
    assert!(matches!(full.write(b"a\n", at(0)), Err(SinkError::Full { .. })));
    assert!(matches!(full.write(b"a\n", at(0)), Err(SinkError::Full { .. })));
}
