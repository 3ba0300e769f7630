//! `vigil parity`: a model's results here against those of a reference in Python, on the very same pixels.

pub mod frames;
mod ours;
mod reference;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use gstvigil::bundle::Bundle;
use gstvigil::bundle::contract::{Resize, Task};
use gstvigil::model::{Model, Request};
use gstvigil::parity::{About, Answer, Report, Sides, Tolerances, compare};
use serde_json::{Value, json};

use frames::Frame;
use ours::Ours;
use reference::Reference;

pub type Failure = Box<dyn Error>;

/// Arguments of `vigil parity`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Bundle folder, archive, .onnx file or name of an installed bundle
    model: String,
    /// Pictures, folders of pictures, or videos
    #[arg(required = true)]
    inputs: Vec<PathBuf>,
    /// Raw video format that Vigil gets; the reference gets RGB unless --same-pixels says otherwise
    #[arg(long, default_value = "RGB")]
    format: String,
    /// The reference gets the frame in --format too (RGB, NV12, I420 or YV12) and lets OpenCV convert it: without what
    /// the format loses, which is no difference between the two
    #[arg(long)]
    same_pixels: bool,
    /// Objects from this confidence on must be found by both [default: the bundle's]
    #[arg(long, value_parser = part)]
    confidence: Option<f32>,
    /// Confidence that both are asked for, so that an object just at --confidence is found on both sides
    /// [default: 2/3 of --confidence]
    #[arg(long, value_parser = part)]
    run_confidence: Option<f32>,
    /// Overlap from which two boxes of one class are one object [default: the bundle's]
    #[arg(long, value_parser = part)]
    iou: Option<f32>,
    /// Most objects of a picture [default: the bundle's]
    #[arg(long)]
    max_objects: Option<usize>,
    /// Take every Nth frame of a video
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    every: u32,
    /// Stop after this many pictures or frames
    #[arg(long, value_name = "N")]
    max_images: Option<usize>,
    /// Lowest overlap (IoU) of a box with the reference's
    #[arg(long, default_value_t = 0.99, value_parser = part)]
    min_iou: f32,
    /// Largest difference of a confidence or probability
    #[arg(long, default_value_t = 0.01, value_parser = part)]
    score_tolerance: f32,
    /// Largest distance of a keypoint, pixels of the picture
    #[arg(long, default_value_t = 1.0)]
    keypoint_tolerance: f32,
    /// Lowest overlap (IoU) of a mask with the reference's
    #[arg(long, default_value_t = 0.98, value_parser = part)]
    min_mask_iou: f32,
    /// Lowest cosine between an embedding and the reference's
    #[arg(long, default_value_t = 0.999, value_parser = part)]
    min_cosine: f32,
    /// Python with numpy, OpenCV and onnxruntime [default: the set-up's venv-parity, else python3]
    #[arg(long, value_name = "FILE")]
    python: Option<PathBuf>,
    /// CPU threads of each side (0 = one per processor)
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Write a page with the worst differences as pictures
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write what both found as results in COCO's format; the image ids are the numbers in the pictures' names
    #[arg(long, value_name = "OURS.json,REFERENCE.json", value_parser = two_files)]
    detections_out: Option<[PathBuf; 2]>,
}

fn two_files(text: &str) -> Result<[PathBuf; 2], String> {
    let files = text.split_once(',').filter(|(a, b)| !a.is_empty() && !b.is_empty() && !b.contains(','));
    files.map(|(a, b)| [a.into(), b.into()]).ok_or_else(|| format!("{text:?} is not two files with a comma between"))
}

/// A number from 0 to 1 on the command line.
pub fn part(text: &str) -> Result<f32, String> {
    let value = text.parse().ok().filter(|v| (0.0..=1.0).contains(v));
    value.ok_or_else(|| format!("{text:?} is not a number from 0 to 1"))
}

/// Formats that OpenCV can read in the reference.
const SAME: [&str; 4] = ["RGB", "NV12", "I420", "YV12"];

/// Compares, prints the report, and says by the exit code whether all is within tolerance (0), something is not (1), or
/// there was no comparison (2).
pub fn run(arguments: &Arguments, library: Option<&Path>) -> ExitCode {
    match compare_all(arguments, library) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("vigil: {error}");
            ExitCode::from(2)
        }
    }
}

fn compare_all(arguments: &Arguments, library: Option<&Path>) -> Result<bool, Failure> {
    gst::init()?;
    if arguments.same_pixels && !SAME.contains(&arguments.format.as_str()) {
        return Err(format!("--same-pixels goes with the formats {}", SAME.join(", ")).into());
    }
    let files = frames::files(&arguments.inputs)?;
    let request = Request {
        model: arguments.model.clone(),
        provider: "cpu".into(),
        threads: arguments.threads,
        lanes: 1,
        max_batch: 1,
        ort_library: library.map(Path::to_path_buf),
        ..Request::default()
    };
    let model = Model::load(&request)?;
    let tolerances = tolerances(arguments, model.bundle());
    let run_confidence = arguments.run_confidence.unwrap_or(tolerances.confidence * 2.0 / 3.0);
    let mut thresholds = model.post().thresholds();
    // A classifier's probabilities are compared, however small.
    let classifies = model.bundle().task == Task::Classify;
    thresholds.set_confidence(if classifies { 0.0 } else { run_confidence });
    thresholds.iou = tolerances.nms_iou;
    thresholds.max_objects = tolerances.max_objects;
    let mut theirs = Reference::start(model.bundle(), &thresholds, arguments.threads, arguments.python.as_deref())?;
    let about = about(model.bundle(), &arguments.format);
    let mut ours = Ours::new(model, thresholds, &arguments.format)?;
    let mut report = Report::new(about, tolerances);
    let mut detections = [Vec::new(), Vec::new()];
    'all: for file in &files {
        for frame in frames::of_file(file, arguments.every)? {
            if arguments.max_images.is_some_and(|most| report.pictures() >= most) {
                break 'all;
            }
            let frame = frame?;
            let converted = ours.convert(&frame)?;
            // Both at the same time: the answer is waited for only when ours is there.
            match arguments.same_pixels {
                true => theirs.send(&frame, &arguments.format, &converted.pixels()?)?,
                false => theirs.send(&frame, "RGB", &frame.picture.rgb)?,
            }
            let mine = ours.analyse(&converted)?;
            let other = theirs.receive()?;
            report.add(&frame.name, &mine, &other, &compare(&mine, &other, &tolerances), &frame.picture);
            if arguments.detections_out.is_some() {
                for (list, answer) in detections.iter_mut().zip([&mine, &other]) {
                    coco(list, &frame, answer);
                }
            }
        }
    }
    if report.pictures() == 0 {
        return Err("there is no picture in what was named".into());
    }
    for (path, list) in arguments.detections_out.iter().flatten().zip(&detections) {
        write(path, &serde_json::to_string(list)?)?;
    }
    if let Some(path) = &arguments.html {
        write(path, &report.to_html())?;
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report.to_json())?);
    } else {
        println!("{report}");
    }
    Ok(report.within())
}

/// Writes a file.
pub fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|e| format!("{} cannot be written: {e}", path.display()).into())
}

fn tolerances(arguments: &Arguments, bundle: &Bundle) -> Tolerances {
    Tolerances {
        confidence: arguments.confidence.unwrap_or(bundle.output.confidence),
        min_iou: arguments.min_iou,
        score: arguments.score_tolerance,
        keypoint: arguments.keypoint_tolerance,
        keypoint_part: 0.0,
        min_mask_iou: arguments.min_mask_iou,
        min_cosine: arguments.min_cosine,
        nms_iou: arguments.iou.unwrap_or(bundle.output.iou),
        max_objects: arguments.max_objects.unwrap_or(bundle.output.max_objects),
    }
}

fn about(bundle: &Bundle, format: &str) -> About {
    let (input, release) = (&bundle.input, &bundle.release);
    let resize = match input.resize {
        Resize::Stretch => "stretched",
        Resize::Letterbox => "letterboxed",
        Resize::Crop => "cropped",
    };
    About {
        model: if release.is_empty() { bundle.name.clone() } else { format!("{} {release}", bundle.name) },
        contract: format!("{}, {}x{} {resize}", bundle.output.decoder.as_str(), input.width, input.height),
        format: format.to_owned(),
        labels: bundle.labels.clone(),
        sides: Sides::default(),
    }
}

/// Appends a frame's objects as COCO's results have them.
fn coco(list: &mut Vec<Value>, frame: &Frame, answer: &Answer) {
    let digits: String = frame.name.chars().filter(char::is_ascii_digit).collect();
    let image: u64 = digits.parse().unwrap_or(0);
    list.extend(answer.objects.iter().map(|o| {
        let [x1, y1, x2, y2] = o.bbox;
        json!({"image_id": image, "category_id": o.class, "bbox": [x1, y1, x2 - x1, y2 - y1], "score": o.score})
    }));
}
