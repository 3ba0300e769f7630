//! What replacing the model of running video costs: `cargo bench --bench swap [-- SWAPS]`, on the machine's own clock.
//!
//! A thread pushes 30 frames of 1080p NV12 a second into `vigilinfer`, which runs YOLOX-nano (test data) and has it replaced
//! 100 times: by itself at 320 x 320 pixels and back. Each swap is proven in another process and on probation for half a
//! second. The same without swaps says what the machine does by itself. Then the engine in a process of its own, and what
//! bundles that are refused one after the other cost.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark may")]

mod sizes;
mod stream;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use stream::{Log, Stream};

const SWAPS: usize = 100;
const PERIOD: Duration = Duration::from_nanos(1_000_000_000 / 30);
/// Frames on both sides of a change of the model that do not count as usual ones; those behind it are a figure of their own.
const NEAR: usize = 3;
/// The swap after which memory is looked at first.
const EARLY: usize = 6;
/// Rounds with and without bundles that are refused, and their length.
const ROUNDS: usize = 10;
const ROUND: Duration = Duration::from_secs(3);
const PROBATION: &str = "options, probation-time=(guint64)500000000, probation-frames=(guint64)10";

fn main() {
    // Cargo's test runner asks benches for their tests.
    if !std::env::args().any(|a| a == "--bench") {
        return;
    }
    let data = std::env::var_os("VIGIL_TEST_DATA").map(PathBuf::from);
    let data = data.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"));
    let Ok(model) = std::fs::read(data.join("models/yolox_nano.onnx")) else {
        println!("skipped: the test data is not here (models/yolox_nano.onnx)");
        return;
    };
    let swaps = std::env::args().find_map(|a| a.parse().ok()).unwrap_or(SWAPS);
    gst::init().unwrap();
    gstvigil::plugin::plugin_register_static().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let bundle = |release: &'static str, side| sizes::bundle(&model, (release, side), "", folder.path());
    let bundles = [bundle("large", 416), bundle("small", 320)].map(|path| path.display().to_string());

    quiet(&bundles[0]);
    for isolation in ["none", "process"] {
        swapping(&bundles, isolation, swaps);
    }
    refusing(&bundles[0], &bad(&model, folder.path()));
}

/// A bundle that is refused by its reference pictures: it is to find what is not there.
fn bad(model: &[u8], under: &Path) -> String {
    let reference = "[reference]\nimages = [\"*.png\"]\nexpected = \"expected.json\"\n";
    let folder = sizes::bundle(model, ("bad", 320), reference, under);
    let entry = |n| {
        format!(
            r#"{{"file": "{n}.png", "objects": [{{"class": 0, "label": "thing 0", "score": 0.9, "box": [10, 10, 90, 90]}}]}}"#
        )
    };
    for n in 0..8 {
        let file = std::fs::File::create(folder.join(format!("{n}.png"))).unwrap();
        let mut encoder = png::Encoder::new(file, 640, 480);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.write_header().unwrap().write_image_data(&[90 + n; 640 * 480]).unwrap();
    }
    let entries: Vec<String> = (0..8).map(entry).collect();
    std::fs::write(folder.join("expected.json"), format!("{{\"format\": 1, \"pictures\": [{}]}}", entries.join(", ")))
        .unwrap();
    folder.display().to_string()
}

/// The stream without swaps.
fn quiet(model: &str) {
    let stream = Stream::start(&format!("model={model}"));
    let log = stream.push(Some(PERIOD), |number| number < 600);
    println!("no swaps: {}", frames(&log));
}

fn swapping(bundles: &[String; 2], isolation: &str, swaps: usize) {
    let stream = Stream::start(&format!("model={} isolation={isolation}", bundles[0]));
    let (done, mut memory, mut refused) = (AtomicBool::new(false), Vec::new(), 0);
    let (log, took) = std::thread::scope(|scope| {
        let operator = scope.spawn(|| {
            let begun = Instant::now();
            for swap in 1..=swaps {
                let outcome = stream.outcome(stream.ask(&bundles[swap % 2], PROBATION));
                if outcome.get::<&str>("phase") != Ok("confirmed") {
                    refused += 1;
                    println!("  swap {swap}: {outcome}");
                }
                // With the same model both times.
                if swap == EARLY || swap == swaps & !1 {
                    // The old engine's process may still be on its way out.
                    std::thread::sleep(Duration::from_secs(1));
                    memory.push(resident());
                }
            }
            done.store(true, Ordering::Relaxed);
            begun.elapsed()
        });
        let log = stream.push(Some(PERIOD), |_| !done.load(Ordering::Relaxed));
        (log, operator.join().unwrap())
    });
    println!(
        "isolation={isolation}, {swaps} swaps, {refused} of them not confirmed, one takes {:.2?}",
        took / swaps as u32
    );
    println!("  {}", frames(&log));
    activation(&log);
    let [first, .., last] = memory.as_slice() else { return };
    let (early, late) = (first.0 + first.1, last.0 + last.1);
    println!(
        "  memory: {:.1} MiB and {:.1} MiB of its processes after {EARLY} swaps, {:.1} MiB and {:.1} MiB after {}: {:+.1} %",
        first.0,
        first.1,
        last.0,
        last.1,
        swaps & !1,
        100.0 * (late / early - 1.0)
    );
}

/// What became of the frames, in a line.
fn frames(log: &Log) -> String {
    let stale = log.left.iter().filter(|frame| !frame.fresh).count();
    let gaps = log.left.windows(2).map(|pair| (pair[1].at - pair[0].at).as_secs_f64() / PERIOD.as_secs_f64());
    let mut gaps: Vec<f64> = gaps.collect();
    gaps.sort_by(f64::total_cmp);
    let late = log.entered.iter().map(|frame| frame.late).max().unwrap_or_default();
    format!(
        "{} frames in, {} dropped, {stale} without a fresh result; gaps of {:.2} periods (median), {:.2} (99.9 %), {:.2} (longest); the \
         camera was {:.1} ms late at most",
        log.entered.len(),
        log.entered.len() - log.left.len(),
        part(&gaps, 0.5),
        part(&gaps, 0.999),
        part(&gaps, 1.0),
        late.as_secs_f64() * 1e3
    )
}

/// What the first frame of a model costs the streaming thread more than its others do, and the frames behind it: the old
/// model begins to look at some frames too there.
fn activation(log: &Log) {
    let release = |at: usize| log.left.get(at).map_or("", |frame| frame.release.as_str());
    let changes: Vec<usize> = (1..log.left.len()).filter(|at| release(*at) != release(at - 1)).collect();
    let usual = |of: &str, time: fn(&stream::Entered) -> Duration| {
        let near = |at: usize| changes.iter().any(|change| at.abs_diff(*change) <= NEAR);
        let frames = log.entered.iter().enumerate().filter(|(at, _)| release(*at) == of && !near(*at));
        sorted(frames.map(|(_, frame)| time(frame).as_secs_f64() * 1e3))
    };
    for (what, time) in [("processor time", (|f| f.cpu) as fn(&stream::Entered) -> Duration), ("time", |f| f.wall)] {
        let medians = ["large", "small"].map(|release| part(&usual(release, time), 0.5));
        let of = |at: usize| {
            let median = medians[usize::from(release(at) == "small")];
            log.entered.get(at).map_or(f64::MIN, |frame| time(frame).as_secs_f64() * 1e3 - median)
        };
        println!(
            "  streaming thread, {what} a frame: {:.2} ms with 416, {:.2} ms with 320 (medians)",
            medians[0], medians[1]
        );
        let first = sorted(changes.iter().map(|at| of(*at)));
        let behind = sorted(changes.iter().map(|at| (at + 1..=at + NEAR).map(of).fold(f64::MIN, f64::max)));
        for (which, more) in [("the first frame of a model", first), ("the frames behind it", behind)] {
            println!(
                "    {which}: {:+.3} ms (median of {}), {:+.3} ms (90 %), {:+.3} ms (most)",
                part(&more, 0.5),
                more.len(),
                part(&more, 0.9),
                part(&more, 1.0)
            );
        }
    }
}

/// Frames per second with bundles that are refused one after the other, and without, in turns.
fn refusing(good: &str, bad: &str) {
    for (what, period) in [("30 fps", Some(PERIOD)), ("as fast as it goes", None)] {
        let stream = Stream::start(&format!("model={good}"));
        let (mut fps, mut ratios, mut refused) = ([Vec::new(), Vec::new()], Vec::new(), 0);
        for round in 0..ROUNDS {
            let mut of_round = [0.0; 2];
            for turn in [round % 2, 1 - round % 2] {
                let done = AtomicBool::new(false);
                let log = std::thread::scope(|scope| {
                    if turn == 1 {
                        scope.spawn(|| {
                            while !done.load(Ordering::Relaxed) {
                                let outcome = stream.outcome(stream.ask(bad, PROBATION));
                                assert_eq!(outcome.get::<&str>("reason"), Ok("reference-mismatch"), "{outcome}");
                                refused += 1;
                            }
                        });
                    }
                    let begun = Instant::now();
                    let log = stream.push(period, |_| begun.elapsed() < ROUND);
                    done.store(true, Ordering::Relaxed);
                    log
                });
                let (first, last) = (log.left.first().unwrap().at, log.left.last().unwrap().at);
                of_round[turn] = (log.left.len() - 1) as f64 / (last - first).as_secs_f64();
                fps[turn].push(of_round[turn]);
            }
            ratios.push(of_round[1] / of_round[0]);
        }
        let [without, with] = fps.map(|fps| part(&sorted(fps.into_iter()), 0.5));
        println!(
            "{what}: {without:.2} fps, {with:.2} while {refused} bundles are refused (medians of {ROUNDS} rounds); ratio {:.4}",
            part(&sorted(ratios.into_iter()), 0.5)
        );
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// The value that this part of the sorted `values` does not exceed.
fn part(values: &[f64], part: f64) -> f64 {
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * part).round() as usize).copied().unwrap_or(f64::NAN)
}

/// MiB of memory that this process has resident, and that its child processes have.
fn resident() -> (f64, f64) {
    let of = |pid: &str| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
        line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
    };
    let own = std::process::id().to_string();
    let parent = format!("PPid:\t{own}");
    let processes =
        std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let children = processes.filter(|pid| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().any(|line| line == parent)
    });
    (of("self"), children.map(|pid| of(&pid)).fold(0.0, |sum, more| sum + more))
}
