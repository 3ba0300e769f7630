//! The `vigil` command.

mod bundle;

use std::process::ExitCode;

use clap::Parser;

#[derive(Debug, Parser)]
#[command(name = "vigil", version)]
enum Cli {
    /// Make, look at, check and pack bundles
    #[command(subcommand)]
    Bundle(bundle::BundleCommand),
}

fn main() -> ExitCode {
    let Cli::Bundle(command) = Cli::parse();
    match bundle::run(command, |_, _, _| Err("recognition is not built in".into())) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("vigil: {e}");
            ExitCode::FAILURE
        }
    }
}
