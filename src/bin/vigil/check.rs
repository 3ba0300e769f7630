//! `vigil check`: all that can be known of a site's description before it runs.

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use gstvigil::site::description::Description;
use gstvigil::site::live::load::load;
use gstvigil::site::problem::Problems;

/// Checks a description: unknown keys, wrong values, elements and their properties, models and their classes, files,
/// folders, ports and secrets. Everything that is wrong is told at once, each with its place.
///
/// Exit code 1 if there are errors. Those of the description keep the site from starting; those of this machine (`this machine:`: a bundle,
/// a folder, an element that is not there) cost what needs it until it is there. Warnings are about what may be right elsewhere or
/// later: a port that is taken, a secret that is not there.
#[derive(clap::Args)]
pub struct Arguments {
    /// The description, TOML or JSON
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(serde::Serialize)]
struct Report<'a> {
    /// Whether there are no errors.
    good: bool,
    /// Whether the site can start: there are no errors of the description.
    starts: bool,
    /// All problems, in the order of their places.
    problems: &'a Problems,
}

/// Runs the command.
///
/// # Errors
/// If GStreamer cannot be used, or the result cannot be printed.
pub fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    gst::init()?;
    gstvigil::plugin::plugin_register_static()?;
    let loaded = load(&arguments.file);
    let (description, problems) = match &loaded {
        Ok((document, _, warnings)) => (Some(&document.description), warnings),
        Err(problems) => (None, problems),
    };
    let good = !problems.has_errors();
    let mut out = std::io::stdout().lock();
    if arguments.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&Report { good, starts: !problems.bar_start(), problems })?)?;
    } else {
        write!(out, "{problems}")?;
        writeln!(out, "{}: {}", arguments.file.display(), summary(description, problems))?;
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn summary(description: Option<&Description>, problems: &Problems) -> String {
    let errors = problems.errors().count();
    let (warnings, lacks) = (problems.0.len() - errors, problems.lacks().count());
    let number = |count: usize, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
    let warned = if warnings == 0 { String::new() } else { format!(", {}", number(warnings, "warning")) };
    match description {
        Some(site) if errors == 0 => {
            let (cameras, profiles) = (number(site.camera.len(), "camera"), number(site.profile.len(), "profile"));
            format!("good{warned}: {cameras}, {profiles}, {}", number(site.tile.len(), "tile"))
        }
        _ if lacks == 0 => format!("{}{warned}", number(errors, "error")),
        _ if lacks == errors => {
            format!("{} of this machine{warned}: the rest of the site can start", number(errors, "error"))
        }
        _ => format!("{}, {lacks} of this machine{warned}", number(errors, "error")),
    }
}
