//! The `vigil` command.

mod bench;
mod bundle;
mod doctor;
mod recognise;
mod schema;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Video analytics beside the camera: models, bundles and checks for the Vigil GStreamer plugin.
#[derive(Parser)]
#[command(name = "vigil", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show what is installed and working here, and what to do about what is not
    Doctor(doctor::Arguments),
    /// Make, show, check and pack model bundles
    #[command(subcommand)]
    Bundle(bundle::BundleCommand),
    /// Measure a model in a pipeline against the bare engine, in one run
    Bench(bench::Arguments),
    /// Print a published JSON Schema
    Schema(schema::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Bundle(command) => bundle::run(command),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Schema(arguments) => schema::run(&arguments),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("vigil: {error}");
            ExitCode::FAILURE
        }
    }
}
