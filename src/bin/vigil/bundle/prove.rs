//! `vigil bundle prove`: the reference set of a bundle, on this machine.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use gstvigil::bundle::contract::Task;
use gstvigil::cancel::Cancel;
use gstvigil::model::{Isolated, Model, Request};
use gstvigil::priority::NICENESS;
use gstvigil::swap::prove::{Proof, ProofFailure, prove};
use serde_json::{Value, json};

use super::locate;

/// A bundle to prove.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Folder, .vigil archive, or name of an installed bundle
    bundle: PathBuf,
    /// Execution provider
    #[arg(long, default_value = "auto")]
    provider: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How a model is loaded to be proven: in a process of its own, as it is before it goes live, and with one thread for a
/// run, as an element has it where nothing else is asked of it.
pub fn request(path: &Path, provider: &str, library: Option<&Path>) -> Request {
    Request {
        model: path.display().to_string(),
        provider: provider.to_owned(),
        threads: 1,
        lanes: 1,
        max_batch: 1,
        ort_library: library.map(Path::to_path_buf),
        isolation: Some(Isolated { niceness: NICENESS, ..Isolated::default() }),
        ..Request::default()
    }
}

/// Proves a bundle and prints the outcome.
///
/// # Errors
/// What went wrong before there was one.
pub fn run(arguments: &Arguments, library: Option<&Path>) -> Result<ExitCode, Box<dyn Error>> {
    let path = locate(&arguments.bundle)?;
    let model = Model::load(&request(&path, &arguments.provider, library))?;
    let proof = match prove(&model, &Cancel::default()) {
        Ok(Some(proof)) => Ok(proof),
        Ok(None) => {
            let bundle = path.display();
            let how = format!("make one with `vigil bundle reference {bundle} PICTURES`");
            return Err(format!("{bundle}: there is no reference set that it could be proven with; {how}").into());
        }
        Err(failure) => Err(failure),
    };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&to_json(&model, &proof))?);
    } else {
        match &proof {
            Ok(proof) => print!("{}", text(&model, proof)),
            Err(failure) => eprintln!("vigil: {}: {failure}", path.display()),
        }
    }
    Ok(if proof.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn to_json(model: &Model, proof: &Result<Proof, ProofFailure>) -> Value {
    let bundle = model.bundle();
    let mut json = json!({
        "format": 1,
        "name": bundle.name,
        "release": bundle.release,
        "digest": bundle.digest,
        "provider": model.provider(),
        "proven": proof.is_ok(),
    });
    match proof {
        Ok(proof) => {
            json["pictures"] = json!(proof.pictures);
            json["objects"] = json!(proof.objects);
            json["least-iou"] = json!(proof.least_iou);
            json["most-score"] = json!(proof.most_score);
            json["run-ms"] = json!(proof.run.as_secs_f64() * 1e3);
            json["max-latency-ms"] = json!(bundle.reference.as_ref().and_then(|r| r.max_latency_ms));
            json["tolerated"] = json!(proof.tolerated);
        }
        Err(failure) => {
            json["reason"] = json!(failure.as_str());
            json["text"] = json!(failure.to_string());
        }
    }
    json
}

/// A few aligned lines.
pub fn text(model: &Model, proof: &Proof) -> String {
    let bundle = model.bundle();
    let limit = bundle.reference.as_ref().and_then(|r| r.max_latency_ms);
    let limit = limit.map_or_else(|| "no limit".into(), |ms| format!("at most {ms} ms are allowed"));
    let mut lines = vec![
        ("proven", format!("{} {} on {}", bundle.name, bundle.release, model.provider())),
        ("pictures", proof.pictures.to_string()),
    ];
    if !matches!(bundle.task, Task::Classify | Task::Embed) {
        lines.push(("objects", format!("{} found, IoU at least {:.3}", proof.objects, proof.least_iou)));
    }
    if bundle.task != Task::Embed {
        lines.push(("confidence", format!("{:.3} apart at most", proof.most_score)));
    }
    lines.push(("run", format!("{:.1?} (median); {limit}", proof.run)));
    lines.extend(proof.tolerated.iter().map(|text| ("tolerated", format!("{text} (rounding in NMS decided)"))));
    lines.into_iter().map(|(label, text)| format!("{label:<10} {text}\n")).collect()
}
