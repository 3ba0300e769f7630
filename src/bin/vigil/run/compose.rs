//! From the description and the changes of the API to a plan, with all that is wrong.

use std::path::PathBuf;

use gstvigil::site::live::load;
use gstvigil::site::plan::{Plan, Value};
use gstvigil::site::problem::{Problems, Severity};
use gstvigil::site::read::Document;

use super::changes::Changes;

/// A plan and what there is to say of it, or all that is wrong.
type Composed = Result<(Plan, Problems), Problems>;

/// A description that was read.
#[derive(Debug, Clone)]
pub struct Described {
    /// What it says.
    pub document: Document,
    /// What is wrong with how it is written.
    pub written: Problems,
}

impl Described {
    /// The same with changes over it.
    fn with(&self, changes: &Changes) -> Document {
        let mut document = self.document.clone();
        changes.lay(&mut document.description);
        // What stands in a file for a camera that was replaced is nowhere any more.
        let unwritten = changes.unwritten();
        document.places.0.retain(|key, _| !unwritten(key));
        document
    }

    /// Takes the places from problems of what stands in no file: nor is that where the nearest table around it is.
    fn placed(&self, composed: Composed, changes: &Changes) -> Composed {
        let unwritten = changes.unwritten();
        let placed = |mut problems: Problems| {
            let found = problems.0.iter_mut().filter(|problem| !self.written.0.contains(problem));
            found.filter(|problem| unwritten(&problem.key)).for_each(|problem| problem.place = None);
            problems
        };
        match composed {
            Ok((plan, problems)) => Ok((plan, placed(problems))),
            Err(problems) => Err(placed(problems)),
        }
    }
}

/// Makes plans of descriptions.
pub struct Composer {
    /// ONNX Runtime's library that the command was given.
    library: Option<PathBuf>,
}

impl Composer {
    /// With ONNX Runtime's library, if the command was given one; GStreamer must have been initialised.
    pub fn new(library: Option<PathBuf>) -> Self {
        Self { library }
    }

    /// The plan of a description with changes over it, and what there is to say of it. `plan` is the one that runs, if one does.
    ///
    /// # Errors
    /// All that is wrong, if that is the description itself.
    pub fn compose(&self, described: &Described, changes: &Changes, plan: Option<&Plan>) -> Composed {
        let composed = load::plan(&described.with(changes), described.written.clone());
        self.finish(described.placed(composed, changes), plan)
    }

    /// The same for a site that runs by `plan` as `running` says.
    ///
    /// # Errors
    /// All that is wrong, if that keeps the site from changing.
    pub fn change(
        &self,
        (described, changes): (&Described, &Changes),
        running: (&Described, &Changes),
        plan: Option<&Plan>,
    ) -> Composed {
        let running = running.0.with(running.1);
        let composed = load::change(&described.with(changes), described.written.clone(), &running);
        self.finish(described.placed(composed, changes), plan)
    }

    fn finish(&self, composed: Composed, running: Option<&Plan>) -> Composed {
        let (mut plan, mut problems) = composed?;
        if let Some(running) = running {
            // Ports that are taken by this very process.
            let own = [
                ("api.listen", running.api.listen == plan.api.listen),
                ("rtsp.listen", running.rtsp.listen == plan.rtsp.listen),
            ];
            problems
                .0
                .retain(|problem| problem.severity == Severity::Error || !own.contains(&(problem.key.as_str(), true)));
        }
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
