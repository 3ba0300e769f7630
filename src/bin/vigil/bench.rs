//! `vigil bench`: a pipeline against the bare engine loop, in one run.
//!
//! Machines are noisy, so the two take turns and the figure that counts is their ratio.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gst::prelude::*;
use gstvigil::engine::Engine;
use gstvigil::engine::onnx::OnnxEngine;
use gstvigil::engine::options::{Isolation, Options};
use gstvigil::model::{Model, Request};
use gstvigil::telemetry::processor_time;
use serde_json::{Value, json};

type Failure = Box<dyn Error>;

/// Arguments of `vigil bench`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Bundle folder, archive, .onnx file or name of an installed bundle
    #[arg(long)]
    model: String,
    /// Clip whose first frames are decoded to memory before the measurement (default: a test picture)
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Size of the test picture
    #[arg(long, value_name = "WIDTHxHEIGHT", default_value = "1920x1080", value_parser = parse_size)]
    size: (i32, i32),
    /// Raw video format that the pipeline starts with
    #[arg(long, default_value = "NV12")]
    format: String,
    /// CPU threads for the bare loop and for the pipeline's engine (0 = one per processor)
    #[arg(long, default_value_t = 0)]
    threads: u32,
    /// The element's max-in-flight (0 = automatic)
    #[arg(long, default_value_t = 0)]
    max_in_flight: u32,
    /// Elements after vigilinfer, as in a launch line, such as "vigiltrack ! vigiloverlay"
    #[arg(long, value_name = "ELEMENTS")]
    then: Option<String>,
    /// Frames to measure in each turn
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    frames: u32,
    /// Turns of each
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn parse_size(text: &str) -> Result<(i32, i32), String> {
    let parsed = text.split_once('x').and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
    parsed.filter(|(w, h)| *w > 0 && *h > 0).ok_or_else(|| format!("{text:?} is not WIDTHxHEIGHT, such as 1920x1080"))
}

/// Frames before each measurement.
const WARM_UP: u32 = 10;
/// Frames that are decoded to memory and played in a loop.
const LOOP: usize = 60;

/// One turn's figures.
#[derive(Clone, Copy)]
struct Turn {
    fps: f64,
    /// Processor time of the whole process, milliseconds per frame.
    cpu_ms: f64,
}

/// Wall clock and processor time since a moment.
struct Meter {
    start: Instant,
    cpu: Duration,
}

impl Meter {
    fn start() -> Self {
        Self { start: Instant::now(), cpu: processor_time() }
    }

    fn turn(&self, frames: u32) -> Turn {
        let frames = f64::from(frames);
        Turn {
            fps: frames / self.start.elapsed().as_secs_f64(),
            cpu_ms: (processor_time() - self.cpu).as_secs_f64() * 1e3 / frames,
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// Frames in memory, all with the same caps.
struct Material {
    caps: gst::Caps,
    frames: Vec<gst::Buffer>,
}

/// Measures, and prints the medians.
pub fn run(arguments: &Arguments, library: Option<&Path>) -> Result<ExitCode, Failure> {
    gst::init()?;
    gstvigil::plugin::plugin_register_static()?;
    let processors = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
    let threads = if arguments.threads == 0 { processors } else { arguments.threads };
    let material = material(arguments)?;
    let request = Request {
        model: arguments.model.clone(),
        provider: "cpu".into(),
        threads: threads as usize,
        lanes: arguments.max_in_flight as usize,
        ort_library: library.map(Path::to_path_buf),
        ..Request::default()
    };
    let (mut bare, mut piped, mut stats) = (Vec::new(), Vec::new(), None);
    // Loaded once, so that the pipeline finds its engine shared and no turn pays for loading.
    let model = Model::load(&request)?;
    let engine = bare_engine(&model, threads as usize)?;
    for _ in 0..arguments.rounds {
        bare.push(bare_turn(&engine, &model, arguments.frames)?);
        let (turn, seen) = pipeline_turn(arguments, threads, &material)?;
        piped.push(turn);
        stats = Some(seen);
    }
    let report = report(arguments, threads, &model, &material, &bare, &piped, stats.as_deref());
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print_report(&report);
    }
    Ok(ExitCode::SUCCESS)
}

fn bare_engine(model: &Model, threads: usize) -> Result<OnnxEngine, Failure> {
    let bundle = model.bundle();
    let variant = bundle.variant_for("cpu").ok_or("the bundle has no variant for the CPU")?;
    let bytes = bundle.weights(variant)?;
    Ok(OnnxEngine::load(
        &bytes,
        &Options { provider: "cpu".into(), threads, lanes: 1, spin: true, max_batch: 1, isolation: Isolation::None },
        None,
    )?)
}

/// The engine alone: one run after another, on all threads, which spin as by default.
fn bare_turn(engine: &OnnxEngine, model: &Model, frames: u32) -> Result<Turn, Failure> {
    let mut io = model.io();
    for _ in 0..WARM_UP {
        engine.run(&mut io, None)?;
    }
    let meter = Meter::start();
    for _ in 0..frames {
        engine.run(&mut io, None)?;
    }
    Ok(meter.turn(frames))
}

/// Where a pipeline turn stands: frames seen at its end, the meter once warmed up, the figures when it is over.
#[derive(Default)]
struct Progress {
    seen: u32,
    meter: Option<Meter>,
    turn: Option<Turn>,
}

fn pipeline_turn(arguments: &Arguments, threads: u32, material: &Material) -> Result<(Turn, gst::Structure), Failure> {
    let total = WARM_UP + arguments.frames;
    let then = arguments.then.as_ref().map_or_else(String::new, |t| format!("! {t} "));
    let line = format!(
        "fakesrc name=source num-buffers={total} sizetype=empty format=time ! {} ! vigilinfer name=infer {then}\
         ! fakesink name=end sync=false",
        material.caps
    );
    let pipeline = gst::parse::launch(&line)?.downcast::<gst::Pipeline>().map_err(|_| "the line is no pipeline")?;
    let element = |name| pipeline.by_name(name).ok_or("the pipeline lost an element");
    let infer = element("infer")?;
    infer.set_property("model", &arguments.model);
    infer.set_property("provider", "cpu");
    infer.set_property("threads", threads);
    infer.set_property("max-in-flight", arguments.max_in_flight);
    play_material(&element("source")?, material)?;
    let progress = Arc::new(Mutex::new(Progress::default()));
    let shared = Arc::clone(&progress);
    let frames = arguments.frames;
    let end = element("end")?.static_pad("sink").ok_or("fakesink has no pad")?;
    end.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        let mut progress = shared.lock().unwrap_or_else(PoisonError::into_inner);
        progress.seen += 1;
        if progress.seen == WARM_UP {
            progress.meter = Some(Meter::start());
        } else if progress.seen == WARM_UP + frames {
            progress.turn = progress.meter.as_ref().map(|m| m.turn(frames));
        }
        gst::PadProbeReturn::Ok
    });
    let outcome = play_to_end(&pipeline);
    let stats = infer.property::<gst::Structure>("stats");
    pipeline.set_state(gst::State::Null)?;
    outcome?;
    let turn = progress.lock().unwrap_or_else(PoisonError::into_inner).turn;
    Ok((turn.ok_or("the pipeline ended before all frames were out")?, stats))
}

fn play_to_end(pipeline: &gst::Pipeline) -> Result<(), Failure> {
    let bus = pipeline.bus().ok_or("the pipeline has no bus")?;
    // Why it fails is on the bus.
    let _ = pipeline.set_state(gst::State::Playing);
    let wanted = [gst::MessageType::Eos, gst::MessageType::Error];
    match bus.timed_pop_filtered(gst::ClockTime::NONE, &wanted) {
        Some(message) => match message.view() {
            gst::MessageView::Error(error) => Err(error.error().to_string().into()),
            _ => Ok(()),
        },
        None => Err("the pipeline's bus closed".into()),
    }
}

/// Replaces the empty buffers of a `fakesrc` by the frames, over and over, 30 a second by their time stamps.
fn play_material(source: &gst::Element, material: &Material) -> Result<(), Failure> {
    let pad = source.static_pad("src").ok_or("fakesrc has no pad")?;
    let frames = material.frames.clone();
    let mut n = 0u64;
    let next = Mutex::new(move || {
        let mut buffer = frames.get(n as usize % frames.len()).cloned()?;
        let time = gst::ClockTime::SECOND.mul_div_floor(n, 30)?;
        n += 1;
        buffer.make_mut().set_pts(time);
        Some(buffer)
    });
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let mut next = next.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(buffer) = next() {
            info.data = Some(gst::PadProbeData::Buffer(buffer));
        }
        gst::PadProbeReturn::Ok
    });
    Ok(())
}

fn material(arguments: &Arguments) -> Result<Material, Failure> {
    let line = match &arguments.input {
        Some(path) => {
            if !path.is_file() {
                return Err(format!("there is no clip at {}", path.display()).into());
            }
            "filesrc name=file ! decodebin ! videoconvert".to_owned()
        }
        None => {
            let (width, height) = arguments.size;
            format!(
                "videotestsrc num-buffers={LOOP} pattern=ball ! video/x-raw,width={width},height={height} ! videoconvert"
            )
        }
    };
    let line = format!(
        "{line} ! video/x-raw,format={} ! identity eos-after={LOOP} ! fakesink name=end sync=false",
        arguments.format
    );
    let pipeline = gst::parse::launch(&line)?.downcast::<gst::Pipeline>().map_err(|_| "the line is no pipeline")?;
    if let (Some(file), Some(path)) = (pipeline.by_name("file"), &arguments.input) {
        file.set_property("location", path);
    }
    let end = pipeline.by_name("end").and_then(|e| e.static_pad("sink")).ok_or("fakesink has no pad")?;
    let frames = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&frames);
    end.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Ok(copy)) = info.buffer().map(|b| b.copy_deep()) {
            kept.push(copy);
        }
        gst::PadProbeReturn::Ok
    });
    let outcome = play_to_end(&pipeline);
    let caps = end.current_caps();
    pipeline.set_state(gst::State::Null)?;
    outcome?;
    let frames = std::mem::take(&mut *frames.lock().unwrap_or_else(PoisonError::into_inner));
    match caps {
        Some(caps) if !frames.is_empty() => Ok(Material { caps, frames }),
        _ => Err("no frame could be decoded".into()),
    }
}

fn report(
    arguments: &Arguments,
    threads: u32,
    model: &Model,
    material: &Material,
    bare: &[Turn],
    piped: &[Turn],
    stats: Option<&gst::StructureRef>,
) -> Value {
    let of = |turns: &[Turn], pick: fn(&Turn) -> f64| median(turns.iter().map(pick).collect());
    let stage = |name: &str| {
        let field =
            |kind: &str| stats.and_then(|s| s.get::<u64>(format!("{name}-{kind}")).ok()).map(|ns| ns as f64 / 1e6);
        json!({ "median_ms": field("median"), "p99_ms": field("p99") })
    };
    let ratios: Vec<f64> = bare.iter().zip(piped).map(|(b, p)| p.fps / b.fps).collect();
    json!({
        "model": model.id().name,
        "input": arguments.input.as_deref().map_or("test picture".into(), |p: &Path| p.display().to_string()),
        "caps": material.caps.to_string(),
        "threads": threads,
        "lanes": model.lanes().engine().at_once(),
        "frames": arguments.frames,
        "rounds": arguments.rounds,
        "bare": { "fps": of(bare, |t| t.fps), "cpu_ms_per_frame": of(bare, |t| t.cpu_ms) },
        "pipeline": { "fps": of(piped, |t| t.fps), "cpu_ms_per_frame": of(piped, |t| t.cpu_ms) },
        "ratio": median(ratios),
        "stages": {
            "pre": stage("pre"), "queue": stage("queue"), "run": stage("run"), "post": stage("post"),
            "total": stage("total"),
        },
    })
}

fn print_report(report: &Value) {
    let number = |path: &str| report.pointer(path).and_then(Value::as_f64).unwrap_or(f64::NAN);
    let text =
        |path: &str| report.pointer(path).map(|v| v.to_string().trim_matches('"').to_owned()).unwrap_or_default();
    println!("model     {}, {} threads, {} lanes", text("/model"), text("/threads"), text("/lanes"));
    println!("input     {}: {}", text("/input"), text("/caps"));
    println!("          {} rounds of {} frames each, medians", text("/rounds"), text("/frames"));
    for (label, key) in [("bare loop", "bare"), ("pipeline", "pipeline")] {
        let (fps, cpu) = (number(&format!("/{key}/fps")), number(&format!("/{key}/cpu_ms_per_frame")));
        println!("{label:<9} {fps:8.2} fps  {cpu:8.2} ms of processor time a frame");
    }
    println!("ratio     {:8.3}", number("/ratio"));
    for stage in ["pre", "queue", "run", "post", "total"] {
        let (median, p99) = (number(&format!("/stages/{stage}/median_ms")), number(&format!("/stages/{stage}/p99_ms")));
        println!("{stage:<9} {median:8.3} ms median, {p99:.3} ms p99");
    }
}
