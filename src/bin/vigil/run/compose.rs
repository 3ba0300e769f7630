//! From the description's files and the changes of the API to a plan, with all that is wrong.

use std::path::{Path, PathBuf};

use gstvigil::site::check::check;
use gstvigil::site::live::introspect::Registry;
use gstvigil::site::live::surroundings::Machine;
use gstvigil::site::plan::{Plan, Value};
use gstvigil::site::problem::{Problems, Severity};
use gstvigil::site::read::Document;
use gstvigil::site::resolve::resolve;

use super::changes::Changes;

/// Reads the description; with what there is to warn of in how it is written.
///
/// # Errors
/// All that is wrong with how it is written, and the files that it is written in as far as they are known.
pub fn read(file: &Path) -> Result<(Document, Problems), (Option<Document>, Problems)> {
    match gstvigil::site::read::read(file) {
        (Some(document), problems) if !problems.has_errors() => Ok((document, problems)),
        unusable => Err(unusable),
    }
}

/// Makes plans of descriptions.
pub struct Composer {
    registry: Registry,
    /// ONNX Runtime's library that the command was given.
    library: Option<PathBuf>,
}

impl Composer {
    /// With the elements of this machine; GStreamer must have been initialised.
    pub fn new(library: Option<PathBuf>) -> Self {
        Self { registry: Registry::new(), library }
    }

    /// The plan of a description with changes over it, and what there is to warn of. `running` is the plan that runs.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn compose(
        &self,
        document: &Document,
        changes: &Changes,
        running: Option<&Plan>,
    ) -> Result<(Plan, Problems), Problems> {
        let mut document = document.clone();
        changes.lay(&mut document.description);
        // What stands in a file for a camera that was replaced is nowhere any more.
        let unwritten = changes.unwritten();
        document.places.0.retain(|key, _| !unwritten(key));
        // Nor is it where the nearest table around it is.
        let unplaced = |mut problems: Problems| {
            problems.0.iter_mut().filter(|problem| unwritten(&problem.key)).for_each(|problem| problem.place = None);
            problems
        };
        match self.planned(&document, running) {
            Ok((plan, problems)) => Ok((plan, unplaced(problems))),
            Err(problems) => Err(unplaced(problems)),
        }
    }

    fn planned(&self, document: &Document, running: Option<&Plan>) -> Result<(Plan, Problems), Problems> {
        let mut problems = check(document, &self.registry, &Machine::new());
        if let Some(running) = running {
            // Ports that are taken by this very process.
            let description = &document.description;
            let own = [
                ("api.listen", running.api.listen == description.api.listen),
                ("rtsp.listen", running.rtsp.listen == description.rtsp.listen),
            ];
            problems
                .0
                .retain(|problem| problem.severity == Severity::Error || !own.contains(&(problem.key.as_str(), true)));
        }
        if problems.has_errors() {
            return Err(problems);
        }
        let mut plan = resolve(document, &self.registry)?;
        if let Some(library) = &self.library {
            let library = Value::Text(library.display().to_string());
            let nodes = plan.cameras.values_mut().flat_map(|camera| camera.guarded.iter_mut().chain(&mut camera.open));
            for node in nodes.filter(|node| node.factory == "vigilinfer") {
                node.properties.entry("ort-library".into()).or_insert_with(|| library.clone());
            }
        }
        Ok((plan, problems))
    }
}
