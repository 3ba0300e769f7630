//! The site as a whole: health, figures, the description, what was changed.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::IntoResponse;
use gstvigil::site::resolve::{shown, without_secrets};
use gstvigil::site::status::TileStatus;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::oneshot;

use super::Context;
use super::answer::{Answer, ask, beside};
use super::cameras::ById;
use super::openapi::{Operation, Table};
use crate::run::changes::Change;
use crate::run::keeper::Refusal;
use crate::run::metrics::{self, Format, Process};
use crate::run::shared::{Cause, Detail, Reading};

/// Whether the gateway is well.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Health {
    /// Whether it is.
    pub ok: bool,
    /// What is wrong; empty if nothing is.
    pub text: String,
}

impl Health {
    fn answer(text: Option<&str>) -> (StatusCode, Json<Self>) {
        let code = if text.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (code, Json(Self { ok: text.is_none(), text: text.unwrap_or_default().into() }))
    }
}

/// Longest time for the site to answer a health check.
const ALIVE: Duration = Duration::from_secs(5);

/// Whether the process is at work: the site answers, changes come to an end.
pub async fn livez(State(context): State<Context>) -> (StatusCode, Json<Health>) {
    match tokio::time::timeout(ALIVE, answers(&context)).await {
        Ok(true) => Health::answer(context.shared.stuck(Instant::now())),
        _ => Health::answer(Some("the site does not answer")),
    }
}

/// Whether the site answers, found out on a thread of its own: what other requests wait for says nothing of that.
async fn answers(context: &Context) -> bool {
    let Ok(place) = context.probes.clone().acquire_owned().await else { return false };
    let (shared, (tell, told)) = (context.shared.clone(), oneshot::channel());
    let thread = std::thread::Builder::new().name("vigil-probe".into()).spawn(move || {
        shared.playing();
        drop(place);
        // Who asked may have gone.
        let _ = tell.send(());
    });
    thread.is_ok() && told.await.is_ok()
}

/// Whether all cameras were started, and the end has not begun.
pub async fn readyz(State(context): State<Context>) -> (StatusCode, Json<Health>) {
    let text = if context.shared.stopping.load(Ordering::Relaxed) { "it is stopping" } else { "it is starting" };
    Health::answer((!context.shared.is_ready()).then_some(text))
}

/// Figures for Prometheus, in the text format that the client prefers.
pub async fn metrics(State(context): State<Context>, headers: HeaderMap) -> Result<impl IntoResponse, Answer> {
    let accepted: Vec<_> = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let format = Format::wanted(&accepted.join(","));
    let shared = context.shared.clone();
    let text = beside(move || metrics::page(&shared, format)).await?;
    let text = text.map_err(|error| Answer::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    // What is between keeps one for each format.
    Ok(([(header::CONTENT_TYPE, format.content_type()), (header::VARY, "Accept")], text))
}

/// The site.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct SiteStatus {
    /// Its name.
    pub name: String,
    /// Vigil's version.
    pub version: &'static str,
    /// When the process started, nanoseconds of Unix time.
    pub started_ns: u64,
    /// Whether all cameras were started.
    pub ready: bool,
    /// Whether the end has begun.
    pub stopping: bool,
    /// Cameras that are to run.
    pub cameras: usize,
    /// Those of them whose pictures come.
    pub playing: usize,
    /// The description's file.
    pub description: String,
    /// The last time that it was read.
    pub reading: Option<Reading>,
    /// What the machine lacks for what runs: it costs what needs it, and is looked for again and again.
    pub lacks: Vec<Detail>,
    /// Cameras of which something was changed through the API.
    pub changed: Vec<String>,
}

/// The site and its description.
pub async fn site(State(context): State<Context>) -> Result<Json<SiteStatus>, Answer> {
    let shared = context.shared.clone();
    let status = beside(move || {
        let (playing, cameras) = shared.playing();
        let report = shared.report();
        SiteStatus {
            name: shared.site.plan().map(|plan| plan.name.clone()).unwrap_or_default(),
            version: gstvigil::VERSION,
            started_ns: shared.started_ns,
            ready: shared.is_ready(),
            stopping: shared.stopping.load(Ordering::Relaxed),
            cameras,
            playing,
            description: shared.description.clone(),
            reading: report.reading.clone(),
            lacks: report.lacks.clone(),
            changed: report.changes.all().into_keys().collect(),
        }
    });
    status.await.map(Json)
}

/// Has the description read again.
pub async fn reload(State(context): State<Context>) -> Result<StatusCode, Answer> {
    ask(&context, |keeper| keeper.reload(Cause::Api).map_err(Refusal::Problems)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// All tiles, in the order of their names.
pub async fn tiles(State(context): State<Context>) -> Result<Json<Vec<TileStatus>>, Answer> {
    let site = context.shared.site.clone();
    beside(move || site.tiles()).await.map(Json)
}

/// What was changed of a camera.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Changed {
    /// What was changed.
    #[serde(flatten)]
    pub change: Change,
    /// The site did not check with it when it was started: it counts for nothing until it does, and is not lost.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub left_out: bool,
}

impl Changed {
    fn new((id, mut change): (String, Change), left_out: bool) -> (String, Self) {
        if let Some(camera) = &mut change.camera {
            camera.uri = camera.uri.as_deref().map(shown);
            camera.launch = camera.launch.as_deref().map(without_secrets);
        }
        (id, Self { change, left_out })
    }
}

/// What was changed through the API. Addresses are as they may be shown.
pub async fn changes(State(context): State<Context>) -> Json<BTreeMap<String, Changed>> {
    let changes = context.shared.report().changes.clone();
    let mut all: BTreeMap<_, _> = changes.left_out.clone().into_iter().map(|of| Changed::new(of, true)).collect();
    all.extend(changes.all().into_iter().map(|of| Changed::new(of, false)));
    Json(all)
}

/// Forgets all that was changed through the API.
pub async fn forget_all(State(context): State<Context>) -> Result<StatusCode, Answer> {
    ask(&context, |keeper| keeper.forget(None)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Forgets what was changed of one camera.
pub async fn forget(State(context): State<Context>, Path(ById { id }): Path<ById>) -> Result<StatusCode, Answer> {
    ask(&context, move |keeper| keeper.forget(Some(&id))).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Figures.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Statistics {
    /// Of the process.
    pub process: Process,
    /// `stats` of stages and watchdogs, by camera and name.
    pub cameras: BTreeMap<String, BTreeMap<String, Value>>,
}

/// Figures of the process and of all stages.
pub async fn statistics(State(context): State<Context>) -> Result<Json<Statistics>, Answer> {
    let shared = context.shared.clone();
    let statistics = beside(move || Statistics {
        process: Process::now(),
        cameras: shared.site.cameras().into_iter().map(|camera| (camera.id, camera.stages)).collect(),
    });
    statistics.await.map(Json)
}

/// Adds the paths of this file.
pub fn add_to(table: &mut Table) {
    let live = Operation::new("livez", "health", "Whether the process is at work");
    let live = live.json::<Health>(200, "It is.").json::<Health>(503, "It is not, and should be started anew.");
    table.add(Method::GET, "/livez", livez, live);
    let ready = Operation::new("readyz", "health", "Whether all cameras were started");
    let ready = ready.json::<Health>(200, "They were.").json::<Health>(503, "It is starting or stopping.");
    table.add(Method::GET, "/readyz", readyz, ready);
    let figures = Operation::new("metrics", "health", "Figures for Prometheus");
    let text = "Prometheus's text format, or OpenMetrics where `Accept` asks for it.";
    let figures = figures.media::<String>("text/plain", text).media::<String>("application/openmetrics-text", text);
    table.add(Method::GET, "/metrics", metrics, figures);

    let getting = Operation::new("getSite", "site", "The site and its description");
    table.add(Method::GET, "/api/v1/site", site, getting.json::<SiteStatus>(200, "The site."));
    let reading = Operation::new("reload", "site", "Read the description again");
    let reading = reading.nothing(204, "What it says runs now.");
    table.add(Method::POST, "/api/v1/site/reload", reload, reading);
    let counting = Operation::new("getStatistics", "site", "Figures of the process and of all stages");
    table.add(Method::GET, "/api/v1/statistics", statistics, counting.json::<Statistics>(200, "Figures."));

    let listing =
        Operation::new("listTiles", "site", "Pictures of many cameras in one, and how their outputs are doing");
    let listing = listing.json::<Vec<TileStatus>>(200, "In the order of their names.");
    table.add(Method::GET, "/api/v1/tiles", tiles, listing);

    let looking = Operation::new("getChanges", "changes", "What was changed through the API");
    table.add(Method::GET, "/api/v1/changes", changes, looking.json::<BTreeMap<String, Changed>>(200, "By camera."));
    let forgetting = Operation::new("forgetChanges", "changes", "Go back to the description");
    table.add(Method::DELETE, "/api/v1/changes", forget_all, forgetting.nothing(204, "It runs as described."));
    let forgetting = Operation::new("forgetChange", "changes", "Go back to what the description says of a camera");
    table.add(Method::DELETE, "/api/v1/changes/{id}", forget, forgetting.nothing(204, "It runs as described."));
}
