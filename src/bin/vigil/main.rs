//! The `vigil` command.

mod bench;
mod bundle;
mod check;
mod doctor;
mod fleet;
mod import;
mod parity;
mod plan;
mod recognise;
mod run;
mod schema;
mod spool;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Video analytics beside the camera: models, bundles and checks for the Vigil GStreamer plugin.
#[derive(Parser)]
#[command(name = "vigil", version, arg_required_else_help = true)]
struct Arguments {
    /// ONNX Runtime's library [default: VIGIL_ORT_LIBRARY, beside the command, the set-up's folder, the system]
    #[arg(long, global = true, value_name = "FILE")]
    ort_library: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show what is installed and working here, and what to do about what is not
    Doctor(doctor::Arguments),
    /// Make, show, check, pack, sign and install model bundles
    #[command(subcommand)]
    Bundle(bundle::BundleCommand),
    /// Check a site's description: all that can be known before it runs
    Check(check::Arguments),
    /// Turn DeepStream's configuration into a site and bundles
    #[command(subcommand)]
    Import(import::ImportCommand),
    /// Measure a model in a pipeline against the bare engine, in one run
    Bench(bench::Arguments),
    /// Compare a model's results with those of a reference in Python, on the same pixels
    Parity(parity::Arguments),
    /// Print what a site's description becomes: launch lines, a graph, or the difference to another one
    Plan(plan::Arguments),
    /// Run a site: cameras, models and outputs, from one description
    Run(run::Arguments),
    /// Compare the cameras of many gateways, by what their models say
    #[command(subcommand)]
    Fleet(fleet::FleetCommand),
    /// Show, write out or remove records that wait on disk for a broker or a server
    #[command(subcommand)]
    Spool(spool::SpoolCommand),
    /// Print a published JSON Schema
    Schema(schema::Arguments),
    /// Run a model for vigilinfer, which starts this itself with isolation=process
    #[command(hide = true)]
    Worker,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let library = arguments.ort_library.as_deref();
    let result = match arguments.command {
        Command::Doctor(arguments) => doctor::run(&arguments, library),
        Command::Bundle(command) => bundle::run(command, library),
        Command::Check(arguments) => check::run(&arguments),
        Command::Import(command) => import::run(&command, library),
        Command::Bench(arguments) => bench::run(&arguments, library),
        Command::Parity(arguments) => Ok(parity::run(&arguments, library)),
        Command::Plan(arguments) => plan::run(&arguments),
        Command::Run(arguments) => run::run(&arguments, library),
        Command::Fleet(command) => fleet::run(&command),
        Command::Spool(command) => spool::run(&command),
        Command::Schema(arguments) => schema::run(&arguments),
        Command::Worker => worker::run(),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("vigil: {error}");
            ExitCode::FAILURE
        }
    }
}
