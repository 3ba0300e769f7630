//! `vigil worker`: the process of an engine, started by `vigilinfer`.

use std::error::Error;
use std::process::ExitCode;

use gstvigil::engine::worker::child;

/// Serves until the application that started it closes its end, and ends the process then.
pub fn run() -> Result<ExitCode, Box<dyn Error>> {
    let never = child::main()?;
    match never {}
}
