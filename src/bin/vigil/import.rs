//! `vigil import`: from DeepStream's configuration to a site and bundles.

use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use gstvigil::bundle::create::{Draft, Given, Known, Reason, write_new};
use gstvigil::site::import::app::{self, BUNDLES, Imported};
use gstvigil::site::import::emit;
use gstvigil::site::import::findings::{Findings, Level};
use gstvigil::site::import::nvinfer::{self, Infer, Said};

use crate::{bundle, recognise};

/// What to import.
#[derive(Debug, clap::Subcommand)]
pub enum ImportCommand {
    /// Turn a configuration of deepstream-app, with the models that it names, into a folder with site.toml and bundles;
    /// exit code 1 if there is no camera in it
    DeepstreamApp(AppArgs),
    /// Turn a configuration of nvinfer into a bundle; exit code 1 if its model cannot be used
    Nvinfer(NvinferArgs),
}

/// A configuration of deepstream-app.
#[derive(Debug, clap::Args)]
pub struct AppArgs {
    /// The configuration: a key file, or YAML if it ends in .yml or .yaml
    config: PathBuf,
    /// Folder to write [default: the configuration's name]
    #[arg(short, long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Frames a second of the cameras, for times that DeepStream counts in frames
    #[arg(long, value_name = "N", default_value_t = 25.0, value_parser = rate)]
    fps: f64,
}

/// A configuration of nvinfer.
#[derive(Debug, clap::Args)]
pub struct NvinferArgs {
    /// The configuration: a key file, or YAML if it ends in .yml or .yaml
    config: PathBuf,
    /// Folder of the bundle to write [default: the model's name]
    #[arg(short, long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Name of the bundle [default: the classifier's type, else the model's name]
    #[arg(long)]
    name: Option<String>,
    /// Licence of the weights, such as Apache-2.0
    #[arg(long)]
    license: Option<String>,
    /// A key of bundle.toml with its value, instead of what the configuration says; as often as needed
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<Given>,
    /// Frames a second of the cameras, for times that DeepStream counts in frames
    #[arg(long, value_name = "N", default_value_t = 25.0, value_parser = rate)]
    fps: f64,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "it is not a number".to_owned())?;
    if (0.01..=1000.0).contains(&rate) { Ok(rate) } else { Err("it lies in 0.01..1000".into()) }
}

/// Runs the command.
///
/// # Errors
/// What went wrong, in a text for the user.
pub fn run(command: &ImportCommand, library: Option<&Path>) -> Result<ExitCode, Box<dyn Error>> {
    match command {
        ImportCommand::DeepstreamApp(args) => site(args, library),
        ImportCommand::Nvinfer(args) => model(args, library),
    }
}

fn site(args: &AppArgs, library: Option<&Path>) -> Result<ExitCode, Box<dyn Error>> {
    let stem = || args.config.file_stem().map(PathBuf::from).unwrap_or_else(|| "site".into());
    let out = args.out.clone().unwrap_or_else(stem);
    let file = out.join("site.toml");
    if fs::symlink_metadata(&file).is_ok() {
        return Err(format!("{} exists already; name another folder with --out", file.display()).into());
    }
    let mut imported = app::read(&args.config, args.fps)?;
    if imported.description.camera.is_empty() {
        list(&imported.findings);
        return Err(format!("{}: no camera came out of it; nothing is written", args.config.display()).into());
    }
    fs::create_dir_all(&out).map_err(|e| format!("{}: {e}", out.display()))?;
    let mut lines = Vec::new();
    for infer in &imported.models {
        let folder = out.join(BUNDLES).join(&infer.name);
        match make(infer, &infer.said, None, &folder, &mut imported.findings, library) {
            Ok(_) => lines.push(format!("bundle   {}", folder.display())),
            Err(why) => lines.push(format!(
                "no bundle for {}: {why}\n         the site expects it at {}",
                infer.file,
                folder.display()
            )),
        }
    }
    let text = emit::site(&imported, &args.config.display().to_string())?;
    let written = fs::OpenOptions::new().write(true).create_new(true).open(&file);
    written.and_then(|mut f| f.write_all(text.as_bytes())).map_err(|e| format!("{}: {e}", file.display()))?;
    tell(&imported, &file, &lines);
    Ok(ExitCode::SUCCESS)
}

fn tell(imported: &Imported, file: &Path, lines: &[String]) {
    list(&imported.findings);
    let description = &imported.description;
    let stages: usize = description.profile.values().map(|profile| profile.stage.len()).sum();
    println!(
        "\nsite     {}: cameras: {}, stages: {stages}, tiles: {}",
        file.display(),
        description.camera.len(),
        description.tile.len()
    );
    lines.iter().for_each(|line| println!("{line}"));
    println!("next     vigil check {}", file.display());
}

fn model(args: &NvinferArgs, library: Option<&Path>) -> Result<ExitCode, Box<dyn Error>> {
    let mut findings = Findings::default();
    let mut infer = nvinfer::read(&args.config, args.fps, &mut findings)?;
    if let Some(name) = &args.name {
        infer.name.clone_from(name);
    }
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from(&infer.name));
    let mut said = infer.said.clone();
    said.retain(|s| args.set.iter().all(|given| given.key != s.given.key));
    said.extend(args.set.iter().map(|given| Said { given: given.clone(), because: "you said so".into(), entry: None }));
    findings.sort();
    let made = make(&infer, &said, args.license.as_deref(), &out, &mut findings, library);
    list(&findings);
    let draft = made?;
    println!();
    bundle::values(&draft);
    let check = bundle::load_check(&out, library);
    println!("\nbundle   {}", out.display());
    println!("{}     {}", if check.ok { "runs" } else { "FAIL" }, check.detail);
    if !infer.properties.is_empty() || infer.secondary {
        println!("stage    {}", stage(&infer, &out));
    }
    Ok(if check.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The stage as a launch line has it.
fn stage(infer: &Infer, bundle: &Path) -> String {
    let mut text = format!("vigilinfer model={}", bundle.display());
    for (key, value) in &infer.properties {
        let value = toml::Value::try_from(value).map(|v| v.to_string()).unwrap_or_default();
        text += &format!(" {key}={value}");
    }
    text
}

/// Makes the bundle of a configuration in the folder `out`.
fn make(
    infer: &Infer,
    said: &[Said],
    license: Option<&str>,
    out: &Path,
    findings: &mut Findings,
    library: Option<&Path>,
) -> Result<Draft, Box<dyn Error>> {
    let path = infer.model.as_ref().map_err(String::as_str)?;
    if !path.is_file() {
        return Err(format!("{}: there is no such file", path.display()).into());
    }
    let all: Vec<Given> = said.iter().map(|s| s.given.clone()).collect();
    let mut draft =
        recognise::draft(path, infer.labels.clone(), &all, library).map_err(|e| own_words(&e.to_string(), infer))?;
    // What is written in the model is before what a configuration says about it.
    let fixed = |key: &str| draft.known.get(key).is_some_and(|reason| reason.known == Known::Read);
    let values = draft.values();
    let (kept, fixed): (Vec<&Said>, Vec<&Said>) = said
        .iter()
        .partition(|s| !(matches!(s.given.key.as_str(), "input.size" | "input.layout") && fixed(&s.given.key)));
    for s in fixed {
        let own = values.iter().find(|v| v.key == s.given.key).map(|v| v.value.as_str()).unwrap_or_default();
        if let Some(entry) = s.entry.as_ref().filter(|_| own != s.given.value.to_string()) {
            findings.add(Level::Changed, entry, format!("the model itself says {own}"));
        }
    }
    let given: Vec<Given> = kept.iter().map(|s| s.given.clone()).collect();
    draft.give(&given)?;
    for s in kept {
        draft.known.insert(s.given.key.clone(), Reason::new(Known::Given, s.because.as_str()));
    }
    draft.name.clone_from(&infer.name);
    draft.license = license.map(str::to_owned).or(draft.license);
    write_new(path, &draft, out)?;
    Ok(draft)
}

/// An error of `vigil bundle new` with what to do here.
fn own_words(error: &str, infer: &Infer) -> String {
    let error = error.replace("vigil bundle new --set", "vigil import nvinfer --set");
    let error = error.replace("give --labels FILE", "name a labelfile-path");
    if !infer.own_parser {
        return error;
    }
    format!(
        "{error}\n(No parse-bbox-func-name is set: if the model is a DetectNet_v2, such as PeopleNet or TrafficCamNet, \
         Vigil has no decoder for its grid; take a YOLO, SSD or DETR)"
    )
}

/// Prints what has no counterpart, or another one.
fn list(findings: &Findings) {
    for level in Level::ALL {
        let count = findings.count(level);
        if count == 0 {
            continue;
        }
        println!("{} ({count}):", level.heading());
        let mut told: Vec<&str> = Vec::new();
        let of_level = || findings.0.iter().filter(|finding| finding.level == level);
        for finding in of_level() {
            if level != Level::Unneeded {
                println!("  {finding}");
            } else if !told.contains(&finding.text.as_str()) {
                // The same text holds for many keys.
                told.push(&finding.text);
                let same = of_level().filter(|other| other.text == finding.text);
                let keys: Vec<String> = same.map(|f| format!("{}:{}: {}", f.file, f.line, f.what)).collect();
                println!("  {}:\n      {}", finding.text, keys.join("\n      "));
            }
        }
    }
}
