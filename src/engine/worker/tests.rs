//! Workers that lie, die, hang and talk nonsense. They are this test binary once more, run by a script.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::supervisor::Backoff;
use super::wire::{Answer, Command, Report, Run};
use super::*;
use crate::engine::options::{Isolation, Worker};
use crate::engine::{DataType, TensorData, TensorSpec, memory};

const MODE: &str = "VIGIL_TEST_WORKER";
const FOLDER: &str = "VIGIL_TEST_FOLDER";
pub(super) const LONG: Duration = Duration::from_secs(60);

fn spec() -> Spec {
    let tensor = |name: &str, shape: &[Option<usize>]| TensorSpec {
        name: name.into(),
        dtype: DataType::F32,
        shape: shape.into(),
    };
    Spec {
        inputs: vec![tensor("in", &[Some(1), Some(4)])],
        outputs: vec![tensor("fixed", &[Some(1), Some(4)]), tensor("open", &[None])],
        ..Spec::default()
    }
}

fn options() -> Options {
    let isolation = Isolation::Process(Worker::default());
    Options { provider: "cpu".into(), threads: 2, lanes: 2, spin: false, max_batch: 1, isolation }
}

/// An engine whose worker behaves as `mode` says, and its folder. A mode that begins with `run-` is for the first
/// worker only; the next ones are good.
pub(super) fn remote(mode: &str) -> (Result<Remote, EngineError>, tempfile::TempDir) {
    remote_beside_video(mode, None)
}

/// As [`remote`], loaded in the background.
pub(super) fn remote_beside_video(
    mode: &str,
    background: Option<&Background>,
) -> (Result<Remote, EngineError>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (remote_in(&folder, mode, background), folder)
}

/// As [`remote_beside_video`], in a folder of the test's.
pub(super) fn remote_in(
    folder: &tempfile::TempDir,
    mode: &str,
    background: Option<&Background>,
) -> Result<Remote, EngineError> {
    let script = folder.path().join("worker");
    let lines = format!(
        "#!/bin/sh\n{MODE}={mode} {FOLDER}={} exec {} engine::worker::tests::double --exact --nocapture\n",
        folder.path().display(),
        std::env::current_exe().unwrap().display()
    );
    std::fs::write(&script, lines).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let weights = weights::file(b"weights", mode).unwrap();
    Remote::load_with(weights, &options(), background, Box::new(move || Ok(script.clone())))
}

fn say(bytes: &[u8]) {
    wire::send_bytes(std::io::stdin(), bytes, None).unwrap();
}

fn tell(report: &Report) {
    wire::send(std::io::stdin(), report, None).unwrap();
}

fn hello() {
    tell(&Report::Hello { version: crate::VERSION.into() });
}

/// A file of zeros that takes no memory.
fn sparse(bytes: u64) -> std::os::fd::OwnedFd {
    let file = rustix::fs::memfd_create("sparse", rustix::fs::MemfdFlags::empty()).unwrap();
    rustix::fs::ftruncate(&file, bytes).unwrap();
    file
}

/// Says what `mode` is about before a model is loaded; `true` if it was about that.
fn misbehave_at_start(mode: &str) -> bool {
    let loaded = |spec: Spec, lanes| {
        hello();
        let (command, file) = wire::receive::<Command>(std::io::stdin()).unwrap();
        assert!(matches!(command, Command::Load { .. }) && wire::read_file(file.unwrap()).unwrap() == b"weights");
        tell(&Report::Loaded(Loaded { spec, provider: "cpu".into(), lanes, placement: None }));
    };
    let with = |shape: Vec<Option<usize>>| {
        let mut spec = spec();
        spec.outputs[0].shape = shape;
        spec
    };
    match mode {
        "version" => tell(&Report::Hello { version: "0.0.0-other".into() }),
        "exit" => std::process::exit(3),
        "crash" => std::process::abort(),
        "random" => say(&[0x17, 0x00, 0xff, 0x7e, 0x80, 0x22]),
        "truncated" => say(&serde_json::to_vec(&Report::Hello { version: "1".into() }).unwrap()[..9]),
        "long" => say(&[b'['; 40_000]),
        "deep" => say(&[b'['; 30_000]),
        "empty" => say(b""),
        "no-file" => say(b"~"),
        "large-file" => {
            wire::send_bytes(std::io::stdin(), b"~", Some(sparse(1 << 40).as_fd())).unwrap();
        }
        "zero-file" => {
            wire::send_bytes(std::io::stdin(), b"~", Some(sparse(1 << 20).as_fd())).unwrap();
        }
        "twice" => {
            hello();
            hello();
        }
        "loads-too-early" => {
            tell(&Report::Loaded(Loaded { spec: spec(), provider: "cpu".into(), lanes: 1, placement: None }));
        }
        "dies-loading" => {
            hello();
            std::process::abort();
        }
        "hangs" | "hangs-loading" => {
            if mode == "hangs-loading" {
                hello();
            }
            let folder = PathBuf::from(std::env::var(FOLDER).unwrap());
            std::fs::write(folder.join("new"), std::process::id().to_string()).unwrap();
            std::fs::rename(folder.join("new"), folder.join("hangs")).unwrap();
        }
        "no-memory" => {
            hello();
            tell(&Report::Failed(EngineError::of_load("Exception: std::bad_alloc".into())));
        }
        "refuses" => {
            hello();
            tell(&Report::Failed(EngineError::Provider("there is no such device".into())));
        }
        "huge-tensor" => loaded(with(vec![Some(1 << 40)]), 1),
        "overflow" => loaded(with(vec![Some(usize::MAX), Some(usize::MAX)]), 1),
        "no-outputs" => loaded(Spec { outputs: Vec::new(), ..spec() }, 1),
        "many-tensors" => loaded(Spec { inputs: vec![spec().inputs[0].clone(); 1000], ..spec() }, 1),
        "many-lanes" => loaded(spec(), 1_000_000),
        "no-lanes" => loaded(spec(), 0),
        _ => return false,
    }
    // The application ends a worker that says such a thing.
    std::thread::sleep(2 * LONG);
    true
}

/// The worker: no test by itself.
#[test]
fn double() {
    let Ok(mode) = std::env::var(MODE) else { return };
    if misbehave_at_start(&mode) {
        return;
    }
    hello();
    let _ = wire::receive::<Command>(std::io::stdin()).unwrap();
    // Much metadata makes a message that needs a file.
    let mut spec = spec();
    spec.metadata.insert("much".into(), "x".repeat(100_000));
    tell(&Report::Log(2, "loading".into()));
    tell(&Report::Loaded(Loaded { spec, provider: "cpu".into(), lanes: 2, placement: None }));
    let once = PathBuf::from(std::env::var(FOLDER).unwrap()).join("once");
    // As in the real one, a socket for runs has a thread, and the first socket's end is the process's.
    while let Ok((_, Some(socket))) = wire::receive::<Command>(std::io::stdin()) {
        let (mode, once) = (mode.clone(), once.clone());
        std::thread::spawn(move || serve(socket.as_fd(), &mode, &once));
    }
    std::process::exit(0);
}

fn serve(socket: BorrowedFd<'_>, mode: &str, once: &Path) {
    let mut known = std::collections::HashMap::new();
    while let Ok((run, file)) = wire::receive::<Run>(socket) {
        if let (Some(rooms), Some(file)) = (&run.rooms, file) {
            if mode == "run-shrink" {
                assert!(rustix::fs::ftruncate(&file, 0).is_err(), "the file is sealed");
                assert!(rustix::fs::ftruncate(&file, 1 << 40).is_err(), "the file is sealed");
            }
            known.insert(run.io, memory::Mapping::open(file.as_fd(), rooms).unwrap());
        }
        let mapping = &known[&run.io];
        let input = TensorData::shared(DataType::F32, mapping, 0, 4).unwrap();
        // A third output room would be another tensor's.
        assert!(TensorData::shared(DataType::F32, mapping, 3, 0).is_none());
        let mut fixed = TensorData::shared(DataType::F32, mapping, 1, 0).unwrap();
        let mut open = TensorData::shared(DataType::F32, mapping, 2, 0).unwrap();
        fixed.copy_part(&input, 0..4);
        open.copy_part(&input, 0..2);
        let good = Answer::Done(vec![vec![1, 4], vec![2]]);
        if mode == "run-fails-thrice" && input.get(0) == Some(-1.0) {
            wire::send(socket, &Answer::Failed("as asked".into()), None).unwrap();
            continue;
        }
        if !mode.starts_with("run-") || once.exists() {
            wire::send(socket, &good, None).unwrap();
            continue;
        }
        if mode != "run-fails-thrice" {
            std::fs::write(once, "").unwrap();
        }
        let shapes = |shapes: &[&[usize]]| Answer::Done(shapes.iter().map(|s| s.to_vec()).collect());
        let answer = match mode {
            "run-few" => shapes(&[&[1, 4]]),
            "run-many" => shapes(&[&[1, 4], &[2], &[2]]),
            "run-other-shape" => shapes(&[&[4, 1], &[2]]),
            "run-huge" => shapes(&[&[1, 4], &[1 << 40]]),
            "run-overflow" => shapes(&[&[1, 4], &[usize::MAX, 3]]),
            "run-random" => return wire::send_bytes(socket, &[0xff, 0, 1, 2], None).unwrap(),
            "run-truncated" => return wire::send_bytes(socket, br#"{"Done":[[1,4],[2"#, None).unwrap(),
            "run-negative" => return wire::send_bytes(socket, br#"{"Done":[[1,4],[-2]]}"#, None).unwrap(),
            "run-closes" => return,
            "run-crashes" => std::process::abort(),
            "run-speaks" => {
                hello();
                std::thread::sleep(2 * LONG);
                return;
            }
            "run-hangs" => {
                std::thread::sleep(2 * LONG);
                return;
            }
            _ => good,
        };
        wire::send(socket, &answer, None).unwrap();
    }
}

fn run(remote: &Remote, first: f32, until: Option<Instant>) -> Result<Io, EngineError> {
    let mut io = remote.io(&[]);
    if let TensorData::F32(values) = &mut io.inputs[0].data {
        values.copy_from_slice(&[first, 2.0, 3.0, 4.0]);
    }
    remote.run(&mut io, until).map(|()| io)
}

/// Waits until the engine answers; how often another worker took over.
#[track_caller]
pub(super) fn back(remote: &Remote) -> u64 {
    let begun = Instant::now();
    loop {
        match run(remote, 7.0, None) {
            Ok(io) => {
                let values = |i: usize| (0..4).map_while(|k| io.outputs[i].data.get(k)).collect::<Vec<_>>();
                assert_eq!((values(0), values(1)), (vec![7.0, 2.0, 3.0, 4.0], vec![7.0, 2.0]));
                assert_eq!(io.outputs[1].shape, [2]);
                return remote.worker().unwrap().restarts;
            }
            Err(error) => assert!(begun.elapsed() < LONG, "it does not come back: {error}"),
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_worker_that_cannot_be_trusted_at_its_start_is_an_error_that_says_so() {
    for (mode, says) in [
        ("version", "install both from one build"),
        ("exit", "exit code 3"),
        ("crash", "SIGABRT"),
        ("random", "garbage"),
        ("truncated", "garbage"),
        ("long", "garbage"),
        ("deep", "garbage"),
        ("empty", "signal 9"),
        ("no-file", "garbage"),
        ("large-file", "garbage"),
        ("zero-file", "garbage"),
        ("twice", "twice"),
        ("loads-too-early", "does not begin as a worker does"),
        ("dies-loading", "SIGABRT"),
        ("refuses", "there is no such device"),
        ("huge-tensor", "garbage"),
        ("overflow", "garbage"),
        ("no-outputs", "garbage"),
        ("many-tensors", "garbage"),
        ("many-lanes", "garbage"),
        ("no-lanes", "garbage"),
    ] {
        let (remote, folder) = remote(mode);
        let error = remote.err().unwrap_or_else(|| panic!("{mode} is taken"));
        assert!(error.to_string().contains(says), "{mode}: {error}");
        assert_eq!(mode == "refuses", matches!(error, EngineError::Provider(_)), "{mode}: {error:?}");
        // One that is not a worker yet has not seen the model.
        let early = ["version", "exit", "crash", "random", "truncated", "long", "deep", "empty", "no-file"];
        let early = early.contains(&mode) || mode.ends_with("-file") || mode == "loads-too-early";
        assert_eq!(early, matches!(error, EngineError::Runtime(_)), "{mode}: {error:?}");
        assert_eq!(!early && mode != "refuses", matches!(error, EngineError::Crashed(_)), "{mode}: {error:?}");
        drop(folder);
    }
}

#[test]
fn nonsense_in_a_run_costs_that_run_and_the_worker() {
    for (mode, says) in [
        ("run-few", "garbage"),
        ("run-many", "garbage"),
        ("run-other-shape", "garbage"),
        ("run-huge", "garbage"),
        ("run-overflow", "garbage"),
        ("run-random", "garbage"),
        ("run-truncated", "garbage"),
        ("run-negative", "garbage"),
        ("run-crashes", "SIGABRT"),
        ("run-speaks", "without being asked"),
    ] {
        let (remote, _folder) = remote(mode);
        let remote = remote.unwrap();
        let error = run(&remote, 1.0, None).err().unwrap_or_else(|| panic!("{mode} is taken"));
        let died = ["run-crashes", "run-speaks"].contains(&mode);
        assert_eq!(died, matches!(error, EngineError::Crashed(_)), "{mode}: {error:?}");
        assert!(
            matches!(error, EngineError::Run(_) | EngineError::Crashed(_)) && error.to_string().contains(says),
            "{mode}: {error:?}"
        );
        assert_eq!(back(&remote), 1, "{mode}");
    }
}

#[test]
fn a_worker_that_closes_a_socket_for_runs_is_replaced() {
    let (remote, _folder) = remote("run-closes");
    let remote = remote.unwrap();
    assert!(matches!(run(&remote, 1.0, None), Err(EngineError::Crashed(_))));
    assert_eq!(back(&remote), 1);
}

#[test]
fn a_worker_cannot_take_shared_memory_away() {
    let (remote, _folder) = remote("run-shrink");
    let remote = remote.unwrap();
    // A worker whose check fails panics and answers nothing.
    let io = run(&remote, 1.0, None).unwrap();
    assert_eq!(io.inputs[0].data.get(3), Some(4.0));
    assert_eq!(back(&remote), 0);
}

/// Runs until a run has begun before its time was over: a busy machine may be later than that.
fn late(mut run: impl FnMut() -> Option<EngineError>) -> Option<EngineError> {
    loop {
        match run() {
            Some(EngineError::Deadline(Duration::ZERO)) => {}
            other => return other,
        }
    }
}

#[test]
fn a_run_that_hangs_is_cut_by_its_own_limit_or_by_the_watch() {
    for by_watch in [false, true] {
        let (remote, folder) = remote("run-hangs");
        let remote = Arc::new(remote.unwrap());
        let begun = Instant::now();
        // Long enough for the worker to note that it has hung once: the next one would hang as well.
        let limit = if by_watch { 10 * LONG } else { Duration::from_secs(3) };
        let runner = {
            let remote = Arc::clone(&remote);
            std::thread::spawn(move || late(|| run(&remote, 1.0, Some(Instant::now() + limit)).err()))
        };
        if by_watch {
            while !folder.path().join("once").exists() {
                assert!(begun.elapsed() < LONG);
                std::thread::sleep(Duration::from_millis(1));
            }
            remote.cut(begun);
            while !runner.is_finished() {
                remote.cut(Instant::now() + limit);
                assert!(begun.elapsed() < LONG);
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        let error = runner.join().unwrap();
        assert!(matches!(error, Some(EngineError::Deadline(_))), "{error:?}");
        assert_eq!(back(&remote), 1);
    }
}

#[test]
fn a_run_that_is_too_late_before_it_begins_costs_no_worker() {
    let (remote, _folder) = remote("good");
    let remote = remote.unwrap();
    let error = run(&remote, 1.0, Some(Instant::now() - Duration::from_millis(1)));
    assert!(matches!(error, Err(EngineError::Deadline(_))));
    assert_eq!(back(&remote), 0);
}

#[test]
fn three_failed_runs_in_a_row_replace_the_worker() {
    let (remote, _folder) = remote("run-fails-thrice");
    let remote = remote.unwrap();
    let text = || run(&remote, -1.0, None).err().unwrap().to_string();
    assert_eq!([text(), text()], ["as asked"; 2]);
    // One that succeeds in between begins the count anew.
    assert_eq!(back(&remote), 0);
    assert_eq!([text(), text()], ["as asked"; 2]);
    let third = text();
    assert!(third.contains("3 runs in a row failed") && third.contains("as asked"), "{third}");
    assert_eq!(back(&remote), 1);
}

#[test]
fn tensors_from_elsewhere_are_taken_along() {
    let (remote, _folder) = remote("good");
    let remote = remote.unwrap();
    let mut io = Io::new(remote.spec(), &[]);
    io.inputs[0] = crate::engine::Tensor::from_f32("in", &[1, 4], vec![5.0, 6.0, 7.0, 8.0]);
    remote.run(&mut io, None).unwrap();
    assert_eq!(io.outputs[0].data, TensorData::F32(vec![5.0, 6.0, 7.0, 8.0].into()));
    // Replaced between runs, as code does that knows nothing of shared memory.
    io.inputs[0].data = TensorData::F32(vec![1.0; 4].into());
    io.outputs[1].data = TensorData::F32(Vec::new().into());
    io.outputs[1].shape = vec![0];
    remote.run(&mut io, None).unwrap();
    assert_eq!((io.outputs[0].data.get(0), io.outputs[1].data.get(0)), (Some(1.0), Some(1.0)));
    io.inputs[0].data = TensorData::F32(vec![1.0; 5].into());
    assert!(matches!(remote.run(&mut io, None), Err(EngineError::Run(_))));
    io.inputs[0].data = TensorData::U8(vec![1; 4].into());
    assert!(matches!(remote.run(&mut io, None), Err(EngineError::Run(_))));
    assert_eq!(remote.worker().unwrap().state, "running");
}

#[test]
fn restarts_begin_at_once_and_take_longer_while_there_is_no_hope() {
    let millis = |useful: &[bool]| {
        let mut backoff = Backoff::default();
        useful.iter().map(|useful| backoff.next(*useful).as_millis()).collect::<Vec<_>>()
    };
    let hopeless = millis(&[false; 12]);
    assert_eq!(hopeless[..5], [0, 100, 200, 400, 800]);
    assert_eq!(hopeless[9..], [25_600, 30_000, 30_000]);
    assert_eq!(millis(&[true; 6]), [0, 100, 200, 250, 250, 250]);
    // Work after a long time without hope makes it short again.
    assert_eq!(millis(&[false, false, false, false, false, false, true, false])[5..], [1600, 250, 500]);
    let mut backoff = Backoff::default();
    backoff.next(false);
    backoff.reset();
    assert_eq!(backoff.next(false), Duration::ZERO);
}

#[test]
fn an_output_outside_of_shared_memory_is_told() {
    let (_file, mapping) = memory::Mapping::create(&[16]).unwrap();
    let mut tensor = crate::engine::Tensor::from_f32("masks", &[0], Vec::new());
    tensor.data = TensorData::shared(DataType::F32, &mapping, 0, 0).unwrap();
    // As the runtime's answer is copied out.
    let mut fill = |len: usize| {
        tensor.data.resize(0);
        tensor.data.resize(len);
        tensor.shape = vec![len];
        child::at_home(&mut tensor)
    };
    assert_eq!(fill(4), Ok(vec![4]));
    let error = fill(5).unwrap_err();
    assert!(error.contains("masks") && error.contains("20 bytes") && error.contains("isolation=none"), "{error}");
}
