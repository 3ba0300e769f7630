//! `vigil bundle reference`: pictures, and what the model finds on them here, as the reference set of a bundle.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use gstvigil::bundle::create::reference::{Limits, Set, path_of, write};
use gstvigil::cancel::Cancel;
use gstvigil::model::Model;
use gstvigil::parity::Answer;
use gstvigil::swap::look::{Look, RUN_LIMIT};
use gstvigil::swap::prove::{expected, prove, thresholds_to_expect};

use super::{locate, prove as command};
use crate::parity::{frames, part};

/// `auto` allows this many times the median of the runs here: the proof runs beside live video.
const AUTO_FACTOR: u32 = 4;
/// `auto` allows at least this, milliseconds: on a busy machine a short run may wait that long for its turn.
const AUTO_LEAST: u64 = 100;

/// A reference set to write.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Folder of the bundle
    bundle: PathBuf,
    /// Pictures, folders of pictures, or videos
    #[arg(required = true)]
    inputs: Vec<PathBuf>,
    /// Stop after this many pictures or frames
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1000))]
    max_images: u32,
    /// Take every Nth frame of a video
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    every: u32,
    /// Lowest overlap (IoU) of a found box with the expected one [default: the bundle's, else 0.9]
    #[arg(long, value_parser = part)]
    min_iou: Option<f32>,
    /// Largest difference of a confidence [default: the bundle's, else 0.05]
    #[arg(long, value_parser = part)]
    score_tolerance: Option<f32>,
    /// Longest run that the bundle allows (median), milliseconds; auto: four times that of this machine,
    /// and at least 100
    #[arg(long, value_name = "N|auto", value_parser = latency)]
    max_latency_ms: Option<MaxLatency>,
    /// Write the set even if nothing is found on any of its pictures
    #[arg(long)]
    allow_empty: bool,
    /// Execution provider
    #[arg(long, default_value = "auto")]
    provider: String,
}

/// What the user says about the longest run.
#[derive(Debug, Clone, Copy)]
enum MaxLatency {
    Auto,
    Milliseconds(u64),
}

fn latency(text: &str) -> Result<MaxLatency, String> {
    if text == "auto" {
        return Ok(MaxLatency::Auto);
    }
    let value = text.parse().ok().filter(|ms| (1..=600_000).contains(ms));
    value.map(MaxLatency::Milliseconds).ok_or_else(|| format!("{text:?} is neither auto nor a number from 1 to 600000"))
}

/// Writes the set, proves the model with it, and prints the outcome.
///
/// # Errors
/// What went wrong, in a text for the user; the bundle is then as it was.
pub fn run(arguments: &Arguments, library: Option<&Path>) -> Result<ExitCode, Box<dyn Error>> {
    gst::init()?;
    let path = locate(&arguments.bundle)?;
    if path.is_file() {
        let why = "not a bundle's folder, into which a reference set is written";
        return Err(format!(
            "{}: {why}. Unpack an archive first, or make a folder with `vigil bundle new`",
            path.display()
        )
        .into());
    }
    let request = command::request(&path, &arguments.provider, library);
    let model = Model::load(&request)?;
    let (set, runs) = look_at_all(arguments, &model)?;
    let limits = Limits {
        min_iou: arguments.min_iou,
        score_tolerance: arguments.score_tolerance,
        max_latency_ms: arguments.max_latency_ms.map(|max| match max {
            MaxLatency::Milliseconds(ms) => ms,
            MaxLatency::Auto => auto(runs),
        }),
    };
    let bundle = write(model.bundle(), &set, limits)?;
    // The new set with the same engine: what it says must hold at once.
    let model = Model::load(&request)?;
    let proof = prove(&model, &Cancel::default())
        .map_err(|e| format!("{}: the set was written, but the model does not keep to it: {e}", path.display()))?;
    let written = format!("written    {} pictures to {}", set.pictures.len(), path.join("reference").display());
    println!("{written}\n{}digest     {}", proof.map(|p| command::text(&model, &p)).unwrap_or_default(), bundle.digest);
    Ok(ExitCode::SUCCESS)
}

/// The longest run that `auto` allows.
fn auto(mut runs: Vec<Duration>) -> u64 {
    runs.sort_unstable();
    let median = runs.get(runs.len() / 2).copied().unwrap_or_default();
    let ms = (median * AUTO_FACTOR).as_secs_f64() * 1e3;
    (ms.ceil() as u64).clamp(AUTO_LEAST, 600_000)
}

/// The pictures with what the model finds on them, and how long its runs took.
fn look_at_all(arguments: &Arguments, model: &Model) -> Result<(Set, Vec<Duration>), Box<dyn Error>> {
    let mut look = Look::new(model, thresholds_to_expect(model));
    let (mut pictures, mut answers, mut runs) = (Vec::new(), Vec::new(), Vec::new());
    'all: for file in frames::files(&arguments.inputs)? {
        for frame in frames::of_file(&file, arguments.every)? {
            if pictures.len() == arguments.max_images as usize {
                break 'all;
            }
            let frame = frame?;
            let looked = look.at(&frame.picture, RUN_LIMIT).map_err(|e| format!("{}: {e}", frame.name))?;
            let broken = looked.dropped.non_finite;
            if broken > 0 {
                return Err(format!("{}: {broken} values of the model's answer are not finite", frame.name).into());
            }
            let path = path_of(pictures.len() + 1, &frame.name);
            answers.push((path.clone(), Answer::of_result(&looked.result)));
            pictures.push((path, frame.picture.to_png()?));
            runs.push(looked.run);
        }
    }
    if pictures.is_empty() {
        return Err("there is no picture in what was named".into());
    }
    let says = |a: &Answer| !(a.objects.is_empty() && a.classes.is_empty() && a.embedding.is_empty());
    if !arguments.allow_empty && !answers.iter().any(|(_, answer)| says(answer)) {
        let count = pictures.len();
        return Err(format!(
            "nothing was found on {count} pictures: a set without objects proves little. Name pictures on which the \
             model finds something, or give --allow-empty"
        )
        .into());
    }
    Ok((Set { pictures, expected: expected::write(&answers, &model.bundle().labels) }, runs))
}
