//! The one thread that changes the site: it reads the description, lays changes of the API over it, and applies the plan.

mod lacks;
mod requests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use gstvigil::site::again::Again;
use gstvigil::site::plan::{CameraPlan, Plan};
use gstvigil::site::problem::{Problems, Severity};
use gstvigil::site::read::{Document, read};
use gstvigil::site::status::Event;
use gstvigil::telemetry::utc_now_ns;
use serde_json::{Value, json};

use super::changes::{Change, Changes, Shelf};
use super::compose::{Composer, Described};
use super::files::Files;
use super::http::Http;
use super::scrub;
use super::service::{self, Service};
use super::shared::{Cause, Reading, Shared, details};
use super::swaps::Swaps;

pub use self::requests::Refusal;

/// Kinds of events that the keeper is told.
pub const HEARD: &[&str] = &["camera", "vigil-model", "vigil-watchdog"];

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
    described: Described,
    /// The last one that was read, if it is another one, which does not check.
    refused: Option<Described>,
    /// When the machine is looked at again.
    again: Again,
    changes: Changes,
    swaps: Swaps,
    /// Cameras whose watchdog has given up, and since when.
    exhausted: BTreeMap<String, Instant>,
}

impl Keeper {
    /// Starts the site as its description and the changes that are kept say. What the machine lacks costs what needs it.
    ///
    /// # Errors
    /// All that is wrong, if that is the description itself.
    pub fn start(
        shared: Arc<Shared>,
        file: PathBuf,
        shelf: Shelf,
        http: Http,
        files: Option<Files>,
        library: Option<PathBuf>,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let composer = Composer::new(library);
        let described = match read(&file) {
            (Some(document), written) => Described { document, written },
            (None, problems) => return Err(unusable(problems).into()),
        };
        let (changes, plan, found) = begin(&composer, &described, &shelf)?;
        let mut keeper = Self {
            shared,
            composer,
            file,
            shelf,
            http,
            files,
            service: Service::default(),
            described,
            refused: None,
            again: Again::default(),
            changes,
            swaps: Swaps::default(),
            exhausted: BTreeMap::new(),
        };
        let found = keeper.serve(&plan, found);
        keeper.apply(plan);
        keeper.took(Cause::Start, &found, json!([]));
        keeper.shared.ready.store(true, Ordering::Relaxed);
        keeper.service.ready();
        keeper.tick();
        Ok(keeper)
    }

    /// Reads the description again; the site stays as it is if that does not check, or if the machine lacks something for it that it
    /// does not lack for what runs.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn reload(&mut self, cause: Cause) -> Result<(), Problems> {
        let described = match read(&self.file) {
            (Some(document), written) => Described { document, written },
            (None, problems) => {
                self.refused = None;
                self.watch();
                return Err(self.refuse(cause, problems));
            }
        };
        let taken = self.shared.report().reading.as_ref().is_some_and(|reading| reading.taken);
        // What is badly written is not in the document: such a one is like no other.
        let whole = |described: &Described| !described.written.has_errors();
        let known = if taken { Some(&self.described) } else { self.refused.as_ref() }.filter(|known| whole(known));
        let same = known.is_some_and(|known| known.document.description == described.document.description);
        if cause == Cause::File && same && whole(&described) {
            tracing::debug!("the description says what it said before");
            // One of its folders may be another one.
            self.watch();
            return Ok(());
        }
        self.service.reloading();
        let result = self.take(cause, described);
        self.service.ready();
        result
    }

    fn take(&mut self, cause: Cause, described: Described) -> Result<(), Problems> {
        let before = self.shared.site.plan();
        let composed = self.compose(&described, before.as_deref());
        let configured = composed.and_then(|(changes, plan, mut problems)| match self.http.configure(&plan.api) {
            Ok(()) => Ok((changes, plan, problems)),
            Err(text) => {
                lacks::add_api(&mut problems, &described, text);
                // Where it is to be as before, it goes on as before, if it did.
                let same = before.as_ref().is_some_and(|before| before.api == plan.api);
                if same { Ok((changes, plan, problems)) } else { Err(problems) }
            }
        });
        match configured {
            Ok((changes, plan, problems)) => {
                for camera in self.changes.left_out.keys().filter(|id| !changes.left_out.contains_key(*id)) {
                    tracing::info!(camera, "the site checks with what was changed through the API again");
                }
                self.changes = changes;
                let (old, new) = (&self.described.document, &described.document);
                let hidden = self.changes.all().into_keys().filter(|id| changed(old, new, id));
                for id in hidden {
                    let camera = id.as_str();
                    tracing::warn!(camera, "what was changed through the API lies over what the description says now");
                }
                let told = before.map_or_else(|| json!([]), |before| told(&before, &plan));
                (self.described, self.refused) = (described, None);
                self.apply(plan);
                self.took(cause, &problems, told);
                Ok(())
            }
            Err(problems) => {
                self.refused = Some(described);
                // What may put it right is to be seen.
                self.watch();
                Err(self.refuse(cause, problems))
            }
        }
    }

    fn apply(&mut self, plan: Plan) {
        scrub::learn(&plan);
        self.shared.site.apply(plan);
        self.watch();
        self.shared.report().changes = self.changes.clone();
    }

    /// The plan of a description that is to take the place of what runs by `plan`, with the changes that were left out if it checks with
    /// them now.
    fn compose(&self, described: &Described, plan: Option<&Plan>) -> Result<(Changes, Plan, Problems), Problems> {
        let running = (&self.described, &self.changes);
        if !self.changes.left_out.is_empty() {
            let complete = self.changes.complete();
            if let Ok((plan, problems)) = self.composer.change((described, &complete), running, plan) {
                return Ok((complete, plan, problems));
            }
        }
        let (plan, problems) = self.composer.change((described, &self.changes), running, plan)?;
        Ok((self.changes.clone(), plan, problems))
    }

    /// Watches the files of what runs, and of what was refused.
    fn watch(&mut self) {
        let Some(files) = &mut self.files else { return };
        let documents = [Some(&self.described.document), self.refused.as_ref().map(|refused| &refused.document)];
        let documents = || documents.iter().flatten();
        let all: Vec<PathBuf> = documents().flat_map(|document| document.files.iter().cloned()).collect();
        let patterns: Vec<PathBuf> = documents()
            .flat_map(|document| document.description.include.iter().map(|pattern| document.folder.join(pattern)))
            .collect();
        files.follow(&all, &patterns);
    }

    fn took(&mut self, cause: Cause, problems: &Problems, changes: Value) {
        for problem in &problems.0 {
            match problem.severity {
                Severity::Error => tracing::error!("{problem}"),
                Severity::Warning => tracing::warn!("{problem}"),
            }
        }
        let reading = Reading { time_ns: utc_now_ns(), cause, taken: true, problems: details(problems) };
        let mut report = self.shared.report();
        report.reading = Some(reading);
        report.reloads[0] += 1;
        drop(report);
        let text = "the site is as its description says now";
        let data = json!({ "action": "taken", "cause": cause.word(), "text": text, "changes": changes });
        self.shared.site.events().tell(None, "site", data);
        self.again = Again::default();
        self.looked(problems);
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
            // Its elements are others when it plays again.
            "camera" if event.data.get("state").and_then(Value::as_str) != Some("playing") => self.swaps.forget(camera),
            "vigil-model" => {
                let Some(swap) = self.swaps.heard(camera, &event.data) else { return };
                let edit = |change: &mut Change| _ = change.model.insert(swap.stage.clone(), swap.model.clone());
                if let Err(refusal) = self.change(camera, swap.persist, edit) {
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
        let (site, plan) = (&self.shared.site, self.shared.site.plan());
        self.exhausted.retain(|id, _| {
            let planned = plan.as_ref().and_then(|plan| plan.cameras.get(id));
            planned.is_some_and(|planned| site.camera(id).is_ok_and(|camera| is_exhausted(planned, &camera.stages)))
        });
        self.look_again();
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

/// Whether a camera whose watchdog has given up still has that one, by what its stages said last. One that was switched off, or has
/// another watchdog or none, is past that, and tells nobody.
fn is_exhausted(camera: &CameraPlan, stages: &BTreeMap<String, Value>) -> bool {
    let Some(watchdog) = camera.watchdog.as_ref().filter(|_| camera.enabled) else { return false };
    stages.get(&watchdog.name).is_none_or(|stats| stats.get("exhausted") != Some(&Value::Bool(false)))
}

/// The first plan: with the changes that are kept, but for those with which the site does not check. They stay in their file.
fn begin(composer: &Composer, described: &Described, shelf: &Shelf) -> Result<(Changes, Plan, Problems), String> {
    let mut changes = Changes { kept: shelf.read()?, ..Changes::default() };
    let mut found = Problems::default();
    loop {
        match composer.compose(described, &changes, None) {
            Ok((plan, problems)) => {
                found.append(problems);
                return Ok((changes, plan, found));
            }
            Err(problems) if changes.kept.is_empty() || described.written.has_errors() => {
                return Err(unusable(problems));
            }
            Err(problems) => {
                changes.leave_out(&problems);
                let cameras = changes.left_out.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                let wrong = Problems(problems.wrong().cloned().collect());
                let (file, why) = (shelf.path().display(), one_line(&wrong));
                tracing::error!("changes of {cameras} in {file} are left out, and stay there: {why}");
                found.append(wrong);
            }
        }
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

/// Logs what is wrong with the description at the start.
fn unusable(problems: Problems) -> String {
    problems.0.iter().for_each(|problem| tracing::error!("{problem}"));
    "the description does not check: nothing was started".into()
}

fn one_line(problems: &Problems) -> String {
    problems.to_string().trim_end().replace('\n', "; ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may")]
mod tests {
    use gstvigil::site::live::introspect::Registry;
    use gstvigil::site::read::read_text;
    use gstvigil::site::resolve::resolve;

    use super::*;

    #[test]
    fn a_watchdog_that_has_given_up_counts_while_it_is_there() {
        gst::init().unwrap();
        gstvigil::plugin::plugin_register_static().unwrap();
        let camera = |more: &str| {
            let text = format!(
                "format = 1\nname = \"s\"\n[profile.p]\nstage = [{{ element = \"identity\" }}]\n[camera.a]\nuri = \"test:\"\n{more}"
            );
            let (document, _) = read_text(&text, "site.toml", std::path::Path::new("/"));
            resolve(&document.unwrap(), &Registry::new()).unwrap().0.cameras["a"].clone()
        };
        let said = |exhausted: bool| BTreeMap::from([("watchdog".to_owned(), json!({ "exhausted": exhausted }))]);
        let guarded = camera("profile = \"p\"");
        assert!(is_exhausted(&guarded, &said(true)) && is_exhausted(&guarded, &BTreeMap::new()), "it may hang");
        assert!(!is_exhausted(&guarded, &said(false)), "another one, or it was reset");
        assert!(!is_exhausted(&camera("profile = \"p\"\nenabled = false"), &said(true)));
        assert!(!is_exhausted(&camera(""), &said(true)), "it has none any more");
    }
}
