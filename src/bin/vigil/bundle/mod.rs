//! `vigil bundle`: make, look at, check, pack, sign and install bundles.

mod compare;
mod installed;
mod keys;
mod predictions;
mod prove;
mod reference;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use gstvigil::bundle::create::{Draft, Given, Known, Reason, Value, write_new};
use gstvigil::bundle::{self, Bundle, BundleError, labels, pack, summary, verify};
use gstvigil::model::{Model, Request};

use crate::recognise;

/// What to do with a bundle.
#[derive(Debug, clap::Subcommand)]
pub enum BundleCommand {
    /// Make a bundle's folder from a bare .onnx model
    New(NewArgs),
    /// Tell what a bundle says
    Show(PathArgs),
    /// Check digests, manifest, labels, files and signature; exit code 1 if something is wrong
    Verify(VerifyArgs),
    /// Write a bundle as one .vigil archive
    Pack(PackArgs),
    /// Write a reference set into a bundle's folder: pictures, and what the model finds on them here
    Reference(reference::Arguments),
    /// Write into a bundle's folder how its model's answers are usually distributed, from records that it made
    Predictions(predictions::Arguments),
    /// Check that the model finds here what its reference set says; exit code 1 if it does not
    Prove(prove::Arguments),
    /// Compare what two bundles' models find on the same pictures: whether NEW may take the place of OLD; exit code 1 if
    /// they agree less than is demanded, 2 if they could not be compared
    Compare(compare::Arguments),
    /// Make a pair of keys for signing
    Keygen(keys::KeygenArgs),
    /// Sign a bundle, so that machines with the public key take it
    Sign(keys::SignArgs),
    /// Put bundles into this machine's store; the first release of a name becomes current
    Install(installed::InstallArgs),
    /// Show what is in the store, and which releases are in use
    List(installed::ListArgs),
    /// Prove an installed release here, and let those who play the bundle try it
    Use(installed::UseArgs),
    /// Make the previous release of a bundle current again
    Rollback(installed::RollbackArgs),
    /// Remove unused releases from the store
    Gc(installed::GcArgs),
}

/// A new bundle.
#[derive(Debug, clap::Args)]
pub struct NewArgs {
    /// The model
    model: PathBuf,
    /// Name of the bundle [default: the file's stem]
    #[arg(long)]
    name: Option<String>,
    /// Release of the bundle [default: 1]
    #[arg(long)]
    release: Option<String>,
    /// Licence of the weights, such as Apache-2.0
    #[arg(long)]
    license: Option<String>,
    /// File with one label per line
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// A key of bundle.toml with its value, such as output.decoder=yolov5 or input.size=[640,640]; as often as needed
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<Given>,
    /// Folder to write [default: the name]
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// An existing bundle.
#[derive(Debug, clap::Args)]
pub struct PathArgs {
    /// Folder, .vigil archive, or name of an installed bundle (NAME or NAME@RELEASE)
    path: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A bundle to check.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// Folder, .vigil archive, or name of an installed bundle (NAME or NAME@RELEASE)
    path: PathBuf,
    /// Load the model too: check its inputs and outputs against the bundle, and run it once
    #[arg(long)]
    load: bool,
    #[command(flatten)]
    keys: keys::KeyArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// An archive to write.
#[derive(Debug, clap::Args)]
pub struct PackArgs {
    /// Folder with bundle.toml, or name of an installed bundle
    dir: PathBuf,
    /// File to write [default: NAME-RELEASE.vigil]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// What went wrong, in a text for the user.
pub fn run(command: BundleCommand, library: Option<&Path>) -> Result<ExitCode, Box<dyn Error>> {
    match command {
        BundleCommand::New(args) => new(&args, library),
        BundleCommand::Show(args) => {
            let bundle = Bundle::open(&locate(&args.path)?)?;
            if args.json {
                println!("{}", serde_json::to_string_pretty(&summary::to_json(&bundle))?);
            } else {
                println!("{}", summary::Text(&bundle));
            }
            Ok(ExitCode::SUCCESS)
        }
        BundleCommand::Verify(args) => {
            let path = locate(&args.path)?;
            let mut report = verify::verify(&path, &args.keys.read()?);
            if args.load && report.ok {
                let check = load_check(&path, library);
                report.ok = check.ok;
                report.checks.push(check);
            }
            if args.json {
                println!("{}", serde_json::to_string_pretty(&report)?);
            } else {
                println!("{report}");
            }
            Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        BundleCommand::Reference(args) => reference::run(&args, library),
        BundleCommand::Compare(args) => Ok(compare::run(&args, library)),
        BundleCommand::Predictions(args) => predictions::run(&args),
        BundleCommand::Prove(args) => prove::run(&args, library),
        BundleCommand::Pack(args) => {
            let bundle = Bundle::open(&locate(&args.dir)?)?;
            let out = args.output.unwrap_or_else(|| pack::default_file_name(&bundle).into());
            pack::write_file(&bundle, &out)?;
            println!("{}  {} bytes  digest {}", out.display(), std::fs::metadata(&out)?.len(), bundle.digest);
            Ok(ExitCode::SUCCESS)
        }
        BundleCommand::Keygen(args) => keys::keygen(&args),
        BundleCommand::Sign(args) => keys::sign(&args),
        BundleCommand::Install(args) => installed::install(&args),
        BundleCommand::List(args) => installed::list(&args),
        BundleCommand::Use(args) => installed::use_release(&args, library),
        BundleCommand::Rollback(args) => installed::rollback(&args),
        BundleCommand::Gc(args) => installed::gc(&args),
    }
}

/// The path itself, or that of the installed bundle of this name; a name is always UTF-8.
fn locate(path: &Path) -> Result<PathBuf, BundleError> {
    path.to_str().map_or_else(|| Ok(path.into()), bundle::locate)
}

/// Loads the model as an element would.
pub fn load_check(path: &Path, library: Option<&Path>) -> verify::Check {
    let request = Request {
        model: path.display().to_string(),
        provider: "auto".into(),
        threads: 0,
        lanes: 1,
        max_batch: 1,
        ort_library: library.map(Path::to_path_buf),
        ..Request::default()
    };
    let (ok, detail) = match Model::load(&request) {
        Ok(model) => {
            (true, format!("inputs and outputs agree; {:.1?} a run on {}", model.run_time(), model.provider()))
        }
        Err(error) => (false, error.to_string()),
    };
    verify::Check { check: "model".into(), ok, detail }
}

fn new(args: &NewArgs, library: Option<&Path>) -> Result<ExitCode, Box<dyn Error>> {
    let given_labels = match &args.labels {
        Some(file) => {
            let bytes = std::fs::read(file).map_err(|e| format!("{}: {e}", file.display()))?;
            Some(labels::parse(&bytes, &file.display().to_string())?)
        }
        None => None,
    };
    let mut draft = recognise::draft(&args.model, given_labels, &args.set, library)?;
    for (key, value, target) in [("name", &args.name, &mut draft.name), ("release", &args.release, &mut draft.release)]
    {
        if let Some(value) = value {
            target.clone_from(value);
            draft.known.insert(key.into(), Reason::given());
        }
    }
    if let Some(license) = &args.license {
        draft.license = Some(license.clone());
        draft.known.insert("license".into(), Reason::given());
    }
    if !args.set.is_empty() {
        draft.give(&args.set)?;
    }
    let out = args.output.clone().unwrap_or_else(|| PathBuf::from(&draft.name));
    let bundle = write_new(&args.model, &draft, &out)?;
    let values = values(&draft);
    println!("\nwritten to {}, digest {}", out.display(), bundle.digest);
    if values.iter().any(|v| v.known == Known::Assumed && v.key.starts_with("input.")) {
        println!("check the assumed values in {}", out.join("bundle.toml").display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the values of a new bundle and how they were come by.
pub fn values(draft: &Draft) -> Vec<Value> {
    let values = draft.values();
    let width = values.iter().map(|v| v.key.len()).max().unwrap_or(0);
    for value in &values {
        println!("{:<10}  {:<width$}  {}  ({})", value.known.as_str(), value.key, value.value, value.because);
    }
    values
}
