//! The one thread that changes the site: it reads the description, lays changes of the API over it, and applies the plan.

mod requests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use gstvigil::site::plan::Plan;
use gstvigil::site::problem::Problems;
use gstvigil::site::read::Document;
use gstvigil::site::status::Event;
use gstvigil::telemetry::utc_now_ns;
use serde_json::{Value, json};

use super::changes::{Changes, Shelf};
use super::compose::{Composer, read};
use super::files::Files;
use super::http::Http;
use super::scrub;
use super::service::{self, Service};
use super::shared::{Cause, Reading, Shared, details};
use super::swaps::Swaps;

pub use self::requests::Refusal;

/// Kinds of events that the keeper is told.
pub const HEARD: &[&str] = &["vigil-model", "vigil-watchdog"];

/// The site's keeper.
pub struct Keeper {
    shared: Arc<Shared>,
    composer: Composer,
    file: PathBuf,
    shelf: Shelf,
    http: Http,
    files: Option<Files>,
    service: Service,
    /// The description that runs, without changes of the API.
    document: Document,
    /// Whether the last one that was read is another one, which does not check.
    refused: Option<Document>,
    changes: Changes,
    swaps: Swaps,
    /// Cameras whose watchdog has given up, and since when.
    exhausted: BTreeMap<String, Instant>,
}

impl Keeper {
    /// Starts the site as its description and the changes that are kept say.
    ///
    /// # Errors
    /// All that is wrong with the description, or a text if the API cannot listen.
    pub fn start(
        shared: Arc<Shared>,
        file: PathBuf,
        shelf: Shelf,
        http: Http,
        files: Option<Files>,
        library: Option<PathBuf>,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let composer = Composer::new(library);
        let (document, written) = read(&file).map_err(unusable)?;
        let kept = shelf.read()?;
        let mut changes = Changes { kept, ..Changes::default() };
        let composed = composer.compose(&document, &changes, None);
        let (plan, found) = match composed {
            Err(problems) if !changes.kept.is_empty() => {
                // Better the site as it is described than none; the changes stay in their file.
                let (plan, mut all) = composer.compose(&document, &Changes::default(), None).map_err(unusable)?;
                tracing::error!("changes in {} are left out: {}", shelf.path().display(), one_line(&problems));
                all.0.extend(problems.0);
                changes = Changes::default();
                (plan, all)
            }
            composed => composed.map_err(unusable)?,
        };
        let mut keeper = Self {
            shared,
            composer,
            file,
            shelf,
            http,
            files,
            service: Service::default(),
            document,
            refused: None,
            changes,
            swaps: Swaps::default(),
            exhausted: BTreeMap::new(),
        };
        keeper.http.configure(&plan.api)?;
        keeper.apply(plan);
        keeper.took(Cause::Start, &joined(written, found), json!([]));
        keeper.shared.ready.store(true, Ordering::Relaxed);
        keeper.service.ready();
        keeper.tick();
        Ok(keeper)
    }

    /// Reads the description again; the site stays as it is if that does not check.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn reload(&mut self, cause: Cause) -> Result<(), Problems> {
        let (document, written) = match read(&self.file) {
            Ok(read) => read,
            Err(problems) => {
                self.refused = None;
                return Err(self.refuse(cause, problems));
            }
        };
        let taken = self.shared.report().reading.as_ref().is_some_and(|reading| reading.taken);
        let refused = || self.refused.as_ref().filter(|refused| refused.whole).map(|refused| &refused.document);
        let known = if taken { Some(&self.document) } else { refused() };
        if cause == Cause::File && known.is_some_and(|known| known.description == document.description) {
            tracing::debug!("the description says what it said before");
            // One of its folders may be another one.
            self.watch();
            return Ok(());
        }
        self.service.reloading();
        let result = self.take(cause, document, written);
        self.service.ready();
        result
    }

    fn take(&mut self, cause: Cause, document: Document, written: Problems) -> Result<(), Problems> {
        let before = self.shared.site.plan();
        let composed = self.composer.compose(&document, &self.changes, before.as_deref());
        let configured = composed.and_then(|(plan, problems)| match self.http.configure(&plan.api) {
            Ok(()) => Ok((plan, problems)),
            Err(text) => {
                let mut problems = Problems::default();
                problems.error(&document.places, "api.listen", text);
                Err(problems)
            }
        });
        match configured {
            Ok((plan, problems)) => {
                let hidden = self.changes.all().into_keys().filter(|id| changed(&self.document, &document, id));
                for id in hidden {
                    let camera = id.as_str();
                    tracing::warn!(camera, "what was changed through the API lies over what the description says now");
                }
                let told = before.map_or_else(|| json!([]), |before| told(&before, &plan));
                (self.document, self.refused) = (document, None);
                self.apply(plan);
                self.took(cause, &joined(written, problems), told);
                Ok(())
            }
            Err(problems) => {
                // What may put it right is to be seen.
                self.watch(Some(&document));
                self.refused = Some(document);
                Err(self.refuse(cause, joined(written, problems)))
            }
        }
    }

    fn apply(&mut self, plan: Plan) {
        scrub::learn(&plan);
        self.shared.site.apply(plan);
        self.watch(None);
        self.shared.report().changes = self.changes.all();
    }

    fn watch(&mut self, also: Option<&Document>) {
        let Some(files) = &mut self.files else { return };
        let documents = [Some(&self.document), also];
        let documents = || documents.iter().flatten();
        let all: Vec<PathBuf> = documents().flat_map(|document| document.files.iter().cloned()).collect();
        let patterns: Vec<PathBuf> = documents()
            .flat_map(|document| document.description.include.iter().map(|pattern| document.folder.join(pattern)))
            .collect();
        files.follow(&all, &patterns);
    }

    fn took(&self, cause: Cause, problems: &Problems, changes: Value) {
        problems.0.iter().for_each(|problem| tracing::warn!("{problem}"));
        let reading = Reading { time_ns: utc_now_ns(), cause, taken: true, problems: details(problems) };
        let mut report = self.shared.report();
        report.reading = Some(reading);
        report.reloads[0] += 1;
        drop(report);
        let text = "the site is as its description says now";
        let data = json!({ "action": "taken", "cause": cause.word(), "text": text, "changes": changes });
        self.shared.site.events().tell(None, "site", data);
    }

    fn refuse(&self, cause: Cause, problems: Problems) -> Problems {
        problems.0.iter().for_each(|problem| tracing::error!("{problem}"));
        let details = details(&problems);
        let text = format!("the description does not check, the site runs on as it was: {}", one_line(&problems));
        let data = json!({ "action": "refused", "cause": cause.word(), "text": text, "problems": &details });
        let reading = Reading { time_ns: utc_now_ns(), cause, taken: false, problems: details };
        let mut report = self.shared.report();
        report.reading = Some(reading);
        report.reloads[1] += 1;
        drop(report);
        self.shared.site.events().tell(None, "site", data);
        problems
    }

    /// Something happened on the site.
    pub fn heard(&mut self, event: &Event) {
        let Some(camera) = event.camera.as_deref() else { return };
        match event.kind.as_str() {
            "vigil-model" => {
                let Some(swap) = self.swaps.heard(camera, &event.data) else { return };
                let mut change = self.changes.of(camera);
                change.model.insert(swap.stage, swap.model);
                if let Err(refusal) = self.change(camera, swap.persist, change) {
                    tracing::error!(camera, "the new model is not kept for the next start: {refusal:?}");
                }
            }
            "vigil-watchdog" if event.data.get("exhausted") == Some(&Value::Bool(true)) => {
                self.exhausted.entry(camera.into()).or_insert_with(Instant::now);
            }
            "vigil-watchdog" => {
                self.exhausted.remove(camera);
            }
            _ => {}
        }
    }

    /// A camera whose watchdog has given up for longer than `limit`.
    pub fn exhausted(&self, limit: Duration) -> Option<&str> {
        self.exhausted.iter().find(|(_, since)| since.elapsed() >= limit).map(|(camera, _)| camera.as_str())
    }

    /// Once a second.
    pub fn tick(&mut self) {
        let (playing, all) = self.shared.playing();
        self.service.status(format!("{playing} of {all} cameras playing"));
        let site = &self.shared.site;
        self.exhausted.retain(|camera, _| site.camera(camera).is_ok());
    }

    /// Ends the site: files and exports are made whole within `limit`. `false` if something was not.
    pub fn stop(self, limit: Duration) -> bool {
        self.shared.stopping.store(true, Ordering::Relaxed);
        service::stopping(limit);
        self.shared.site.events().tell(None, "site", json!({ "action": "stopping", "text": "the cameras are ended" }));
        let whole = self.shared.site.stop(limit);
        self.http.end();
        whole
    }
}

/// Whether two descriptions say something different of a camera.
fn changed(before: &Document, after: &Document, id: &str) -> bool {
    before.description.camera.get(id) != after.description.camera.get(id)
}

/// The difference of two plans, a line each.
fn told(before: &Plan, after: &Plan) -> Value {
    let text = gstvigil::site::show::changes(&gstvigil::site::diff::diff(before, after));
    text.lines().map(str::to_owned).collect()
}

fn joined(mut some: Problems, more: Problems) -> Problems {
    some.0.extend(more.0);
    some
}

/// Logs what is wrong with the description at the start.
fn unusable(problems: Problems) -> String {
    problems.0.iter().for_each(|problem| tracing::error!("{problem}"));
    "the description does not check: nothing was started".into()
}

fn one_line(problems: &Problems) -> String {
    problems.to_string().trim_end().replace('\n', "; ")
}
