//! `vigil bundle compare`: two models on the same pictures, as the gate before an update.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use gstvigil::bundle::TrialLimits;
use gstvigil::model::Model;
use gstvigil::swap::offline::Offline;
use gstvigil::swap::rules::Rules;

use super::prove::request;
use crate::parity::{Failure, frames, part, write};

/// Two bundles to compare.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The model that is in use: bundle's folder, .vigil archive, .onnx file or name of an installed bundle
    old: String,
    /// The model that is to take its place
    new: String,
    /// Pictures, or folders of pictures
    #[arg(long, value_name = "PATH", num_args = 1.., required_unless_present = "video", conflicts_with = "video")]
    images: Vec<PathBuf>,
    /// A video
    #[arg(long, value_name = "FILE")]
    video: Option<PathBuf>,
    /// Take every Nth frame of a video
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    every: u32,
    /// Stop after this many pictures or frames
    #[arg(long, value_name = "N")]
    max_images: Option<usize>,
    /// Lowest confidence that counts, for both models [default: that of each one's bundle]
    #[arg(long, value_parser = part)]
    confidence: Option<f32>,
    /// Lowest agreement, 0 to 1, of the two models; less is exit code 1, 0 is a report only [default: min-agreement of the new
    /// bundle's [probation], else 0.3]
    #[arg(long, value_name = "PART", value_parser = share)]
    min_agreement: Option<f64>,
    /// Execution provider of both
    #[arg(long, default_value = "auto")]
    provider: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Write a page with the largest differences as pictures
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

fn share(text: &str) -> Result<f64, String> {
    let value = text.parse().ok().filter(|v| (0.0..=1.0).contains(v));
    value.ok_or_else(|| format!("{text:?} is not a number from 0 to 1"))
}

/// What the new model would have to keep to on probation. The rule is a decimal number of single precision.
fn demanded(new: &Model) -> f64 {
    let least = Rules::probation(new.bundle(), &TrialLimits::default()).min_agreement;
    (f64::from(least) * 1e6).round() / 1e6
}

/// Compares, prints the figures, and says by the exit code whether the models agree as much as is demanded (0), they do
/// not (1), or there was no comparison (2).
pub fn run(arguments: &Arguments, library: Option<&Path>) -> ExitCode {
    match compare(arguments, library) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("vigil: {error}");
            ExitCode::from(2)
        }
    }
}

fn compare(arguments: &Arguments, library: Option<&Path>) -> Result<bool, Failure> {
    gst::init()?;
    let inputs = arguments.video.as_ref().map_or(arguments.images.as_slice(), std::slice::from_ref);
    let files = frames::files(inputs)?;
    // Each in a process of its own: a model that crashes the runtime is an error of this command.
    let load = |model: &str| Model::load(&request(Path::new(model), &arguments.provider, library));
    let (old, new) = (load(&arguments.old)?, load(&arguments.new)?);
    let mut comparison = Offline::new(&old, &new, arguments.confidence)?;
    'all: for file in &files {
        for frame in frames::of_file(file, arguments.every)? {
            if arguments.max_images.is_some_and(|most| comparison.pictures() >= most) {
                break 'all;
            }
            let frame = frame?;
            comparison.add(&frame.name, &frame.picture)?;
        }
    }
    if comparison.pictures() == 0 {
        return Err("there is no picture in what was named".into());
    }
    let least = arguments.min_agreement.unwrap_or_else(|| demanded(&new));
    if let Some(path) = &arguments.html {
        write(path, &comparison.to_html(least))?;
    }
    let within = comparison.score() >= least;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&comparison.to_json(least))?);
    } else {
        let word = if within { "within" } else { "NOT within" };
        println!("{comparison}{:<10} {word} the agreement that is demanded ({least})", "result");
    }
    Ok(within)
}
