//! `vigil schema`: prints a published JSON Schema.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use gstvigil::export::{event, record};
use gstvigil::site;
use gstvigil::site::live::introspect::Registry;

/// The schemas that there are.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Schema {
    /// Exported records, vigil/1
    Record,
    /// Exported events, vigil-event/1
    Event,
    /// Telemetry of a site, vigil-telemetry/1
    Telemetry,
    /// Descriptions of sites, for editors that complete and check them
    Site,
    /// The HTTP API of `vigil run`, as an OpenAPI description
    Openapi,
}

/// Arguments of `vigil schema`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Which schema
    schema: Schema,
}

/// Prints the schema on standard output.
///
/// # Errors
/// If it cannot be printed, or GStreamer cannot be asked for the properties of elements.
pub fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let text = match arguments.schema {
        Schema::Record => record::json_schema(),
        Schema::Event => event::json_schema(),
        Schema::Telemetry => site::report::json_schema(),
        Schema::Site => {
            gst::init()?;
            gstvigil::plugin::plugin_register_static()?;
            site::schema::json_schema(&Registry::new())
        }
        Schema::Openapi => crate::run::openapi(),
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
