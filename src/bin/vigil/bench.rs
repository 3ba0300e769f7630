//! `vigil bench`: pipelines against the bare engine loop, in one run.
//!
//! Machines are noisy, so the two take turns and the figure that counts is their ratio.

mod report;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gst::prelude::*;
use gstvigil::engine::Engine;
use gstvigil::engine::onnx::OnnxEngine;
use gstvigil::engine::options::Options;
use gstvigil::model::{Model, Request};
use gstvigil::telemetry::processor_time;

use report::{Measured, print, to_json};

type Failure = Box<dyn Error>;

/// Arguments of `vigil bench`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Bundle folder, archive, .onnx file or name of an installed bundle
    #[arg(long)]
    model: String,
    /// Execution provider of the bare loop and of the pipelines: cpu, cuda, tensorrt, openvino, or auto for the bundle's order
    #[arg(long, default_value = "cpu")]
    provider: String,
    /// Pipelines that play side by side and share the engine; frames a second are those of all together
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    streams: u32,
    /// A property of vigilinfer with its value, such as isolation=process; as often as needed
    #[arg(long, value_name = "PROPERTY=VALUE", value_parser = property)]
    set: Vec<(String, String)>,
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
    /// Frames to measure in each turn, of each stream
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

fn property(text: &str) -> Result<(String, String), String> {
    let given = text.split_once('=').filter(|(name, _)| !name.is_empty() && !name.contains(char::is_whitespace));
    given.map(|(name, value)| (name.into(), value.into())).ok_or_else(|| format!("{text:?} is not PROPERTY=VALUE"))
}

/// Frames before each measurement, of each stream.
const WARM_UP: u32 = 10;
/// Frames that are decoded to memory and played in a loop.
const LOOP: usize = 60;

/// One turn's figures.
#[derive(Clone, Copy)]
struct Turn {
    fps: f64,
    /// Processor time of the whole process, milliseconds per frame; an engine's own process does not count.
    cpu_ms: f64,
    /// Part of the frames, 0..1, that the slowest stream had; an even share is 1 / streams.
    least: f64,
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

    fn turn(&self, frames: u32, least: u32) -> Turn {
        let frames = f64::from(frames);
        Turn {
            fps: frames / self.start.elapsed().as_secs_f64(),
            cpu_ms: (processor_time() - self.cpu).as_secs_f64() * 1e3 / frames,
            least: f64::from(least) / frames,
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
        provider: arguments.provider.clone(),
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
    let measured = Measured { bare, piped, stats };
    let report = to_json(arguments, threads, &model, &material.caps, &measured);
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print(&report);
    }
    Ok(ExitCode::SUCCESS)
}

fn bare_engine(model: &Model, threads: usize) -> Result<OnnxEngine, Failure> {
    let bundle = model.bundle();
    // The very weights that the pipelines run: `auto` may have gone past a variant.
    let variant = bundle.variants.iter().find(|v| v.sha256 == model.id().digest);
    let bytes = bundle.weights(variant.ok_or("the bundle lost the variant that runs")?)?;
    Ok(OnnxEngine::load(&bytes, &Options { threads, spin: true, ..Options::least(model.provider()) }, None)?)
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
    Ok(meter.turn(frames, frames))
}

/// Where the streams of a turn stand: frames seen at their ends, the meter once all are warmed up, and the frames since.
struct Progress {
    seen: Vec<u32>,
    meter: Option<Meter>,
    counted: Vec<u32>,
}

impl Progress {
    fn new(streams: u32) -> Self {
        let none = vec![0; streams as usize];
        Self { seen: none.clone(), meter: None, counted: none }
    }

    /// Takes note of a frame at the end of a stream; the figures with the one that makes `frames` of all streams.
    fn frame(&mut self, stream: usize, frames: u32) -> Option<Turn> {
        let Some(meter) = &self.meter else {
            if let Some(seen) = self.seen.get_mut(stream) {
                *seen += 1;
            }
            if self.seen.iter().all(|seen| *seen >= WARM_UP) {
                self.meter = Some(Meter::start());
            }
            return None;
        };
        if let Some(counted) = self.counted.get_mut(stream) {
            *counted += 1;
        }
        let all: u32 = self.counted.iter().sum();
        (all == frames).then(|| meter.turn(all, self.counted.iter().copied().min().unwrap_or(0)))
    }
}

/// The pipelines together: they play until they have shown as many frames as are to be measured, all of them while all play.
fn pipeline_turn(arguments: &Arguments, threads: u32, material: &Material) -> Result<(Turn, gst::Structure), Failure> {
    let (sender, outcome) = mpsc::channel();
    let progress = Arc::new(Mutex::new(Progress::new(arguments.streams)));
    let streams = (0..arguments.streams as usize)
        .map(|stream| pipeline(arguments, threads, material, stream, &progress, &sender))
        .collect::<Result<Vec<_>, _>>()?;
    drop(sender);
    for stream in &streams {
        // Why it fails is on the bus.
        let _ = stream.set_state(gst::State::Playing);
    }
    let turn = outcome.recv()?;
    let infer = streams.first().and_then(|stream| stream.by_name("infer")).ok_or("the pipeline lost an element")?;
    let stats = infer.property::<gst::Structure>("stats");
    for stream in &streams {
        stream.set_state(gst::State::Null)?;
    }
    Ok((turn?, stats))
}

/// One stream's pipeline, which tells `sender` when the turn is over or why it cannot go on.
fn pipeline(
    arguments: &Arguments,
    threads: u32,
    material: &Material,
    stream: usize,
    progress: &Arc<Mutex<Progress>>,
    sender: &Sender<Result<Turn, String>>,
) -> Result<gst::Pipeline, Failure> {
    let then = arguments.then.as_ref().map_or_else(String::new, |t| format!("! {t} "));
    let set = arguments.set.iter().map(|(name, value)| format!("{name}={value:?} ")).collect::<String>();
    let line = format!(
        "fakesrc name=source sizetype=empty format=time ! {} ! vigilinfer name=infer {set}{then}\
         ! fakesink name=end sync=false",
        material.caps
    );
    let pipeline = gst::parse::launch(&line)?.downcast::<gst::Pipeline>().map_err(|_| "the line is no pipeline")?;
    let element = |name| pipeline.by_name(name).ok_or("the pipeline lost an element");
    let infer = element("infer")?;
    infer.set_property("model", &arguments.model);
    infer.set_property("provider", &arguments.provider);
    infer.set_property("threads", threads);
    infer.set_property("max-in-flight", arguments.max_in_flight);
    play_material(&element("source")?, material)?;
    let end = element("end")?.static_pad("sink").ok_or("fakesink has no pad")?;
    let (progress, frames, done) =
        (Arc::clone(progress), arguments.frames.saturating_mul(arguments.streams), sender.clone());
    end.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        if let Some(turn) = progress.lock().unwrap_or_else(PoisonError::into_inner).frame(stream, frames) {
            // Nobody listens any more where another stream has failed.
            let _ = done.send(Ok(turn));
        }
        gst::PadProbeReturn::Ok
    });
    let failed = sender.clone();
    pipeline.bus().ok_or("the pipeline has no bus")?.set_sync_handler(move |_, message| {
        let text = match message.view() {
            gst::MessageView::Error(error) => error.error().to_string(),
            gst::MessageView::Eos(_) => "the pipeline ended before all frames were out".into(),
            _ => return gst::BusSyncReply::Drop,
        };
        let _ = failed.send(Err(text));
        gst::BusSyncReply::Drop
    });
    Ok(pipeline)
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
        "{line} ! video/x-raw,format={} ! queue ! fakesink name=end sync=false num-buffers={LOOP}",
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
