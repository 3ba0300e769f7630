//! `vigil plan`: what a description becomes.

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use gstvigil::site::diff::diff;
use gstvigil::site::live::introspect::Registry;
use gstvigil::site::plan::{CameraPlan, Plan, Value};
use gstvigil::site::problem::Problems;
use gstvigil::site::read::read;
use gstvigil::site::resolve::resolve;
use gstvigil::site::show;
use gstvigil::suggest::did_you_mean;

/// How a plan is printed.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For each camera a command for the shell that runs its pipeline, without its outputs
    Launch,
    /// A graph for Graphviz: `vigil plan site.toml --format dot | dot -Tsvg -o site.svg`
    Dot,
    /// A flow chart for Mermaid
    Mermaid,
}

/// Prints what a site's description becomes: each camera's pipeline as a launch line, or the site as a graph; or what
/// would be done to make one description of another.
///
/// Nothing is started, and no secret is read: where one is set, its place is shown. Whether elements, models, folders and ports
/// are there, `vigil check` says.
#[derive(clap::Args)]
pub struct Arguments {
    /// The description, TOML or JSON
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only this camera; may be given several times
    #[arg(long, value_name = "ID")]
    camera: Vec<String>,
    /// How it is printed
    #[arg(long, value_enum, default_value_t = Format::Launch)]
    format: Format,
    /// Print instead what makes OTHER of FILE: `+` comes, `-` goes, `~` becomes another
    #[arg(long, value_name = "OTHER", conflicts_with_all = ["format", "camera"])]
    diff: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// If GStreamer cannot be used, there is no camera of the name, or the result cannot be printed.
pub fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    gst::init()?;
    gstvigil::plugin::plugin_register_static()?;
    let registry = Registry::new();
    let plans = [Some(&arguments.file), arguments.diff.as_ref()];
    let plans: Vec<_> = plans.into_iter().flatten().map(|file| plan(file, &registry)).collect();
    let mut problems = plans.iter().filter_map(|plan| plan.as_ref().err()).peekable();
    if problems.peek().is_some() {
        problems.for_each(|problems| eprint!("{problems}"));
        return Ok(ExitCode::FAILURE);
    }
    let mut plans = plans.into_iter().flatten();
    let text = match (plans.next(), plans.next()) {
        (Some(from), Some(to)) => match show::changes(&diff(&from, &to)) {
            text if text.is_empty() => "nothing changes\n".into(),
            text => text,
        },
        (Some(plan), None) => {
            let plan = only(plan, &arguments.camera)?;
            match arguments.format {
                Format::Launch => plan.cameras.iter().map(|(id, camera)| lines(id, camera)).collect(),
                Format::Dot => show::graphviz(&plan),
                Format::Mermaid => show::mermaid(&plan),
            }
        }
        (None, _) => String::new(),
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// The plan of a description. Warnings, and what the machine lacks, are for `vigil check`.
fn plan(file: &Path, registry: &Registry) -> Result<Plan, Problems> {
    let (document, problems) = read(file);
    match document {
        Some(document) if !problems.has_errors() => resolve(&document, registry).map(|(plan, _)| plan),
        _ => Err(problems),
    }
}

/// The plan with the cameras that were asked for.
fn only(mut plan: Plan, ids: &[String]) -> Result<Plan, String> {
    if ids.is_empty() {
        return Ok(plan);
    }
    if let Some(unknown) = ids.iter().find(|id| !plan.cameras.contains_key(*id)) {
        let known = plan.cameras.keys().map(String::as_str);
        return Err(format!("there is no camera \"{unknown}\"; {}", did_you_mean(unknown, known, "the cameras are")));
    }
    plan.cameras.retain(|id, _| ids.contains(id));
    plan.tiles.clear();
    Ok(plan)
}

/// A camera's command with what must be known of it.
fn lines(id: &str, camera: &CameraPlan) -> String {
    let off = if camera.enabled { "" } else { " (switched off)" };
    let secrets = camera.source.iter().filter_map(|step| match step {
        gstvigil::site::plan::Step::Element(node) => Some(node),
        _ => None,
    });
    let hidden = secrets.flat_map(|node| node.properties.values()).any(|value| !matches!(value, Value::Text(_)));
    let note = if hidden { "\n# put in what stands in <>: GStreamer does not look there" } else { "" };
    format!("# {id}{off}: {}{note}\n{}\n", camera.shown_uri, show::shell_line(camera))
}
