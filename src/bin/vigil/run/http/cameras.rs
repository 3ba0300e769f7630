//! `/api/v1/cameras`.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{Method, StatusCode, header};
use axum::response::IntoResponse;
use gstvigil::site::description::Camera;
use gstvigil::site::live::{Site, SiteError};
use gstvigil::site::read;
use gstvigil::site::standing::Standing;
use gstvigil::site::status::CameraStatus;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Context;
use super::answer::{Answer, Asked, Body, ask, beside};
use super::openapi::{Operation, Table};
use crate::run::keeper::Refusal;

/// A camera by its id.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct ById {
    /// Its id.
    pub id: String,
}

/// Whether a change lasts.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lasting {
    /// Whether the change outlives the process; without it, it lasts until the next start.
    #[serde(default)]
    pub persist: bool,
}

/// A camera to add.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCamera {
    /// Its id: letters, digits, `-`, `_` and `.`.
    pub id: String,
    /// What the description would say of it under `camera.ID`.
    #[schemars(with = "Camera")]
    pub camera: Value,
}

/// A model to swap to.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SwapModel {
    /// Bundle folder, archive, `.onnx` file, or the name of an installed bundle.
    pub model: String,
    /// The stage; empty: all that have a model.
    #[serde(default)]
    pub stage: String,
    /// Options of the signal `swap-model` of `vigilinfer`.
    #[serde(default)]
    pub options: Map<String, Value>,
}

/// A swap that has begun; events `vigil-model` tell what becomes of it.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct SwapBegun {
    /// The stage.
    pub stage: String,
    /// What events `vigil-model` call it in `request`.
    pub request: String,
}

/// Whether to bypass the analysis.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bypass {
    /// `true`: frames pass by the analysis until it is `false` again.
    pub bypass: bool,
}

/// A camera and how it is doing.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "CameraStatus")]
pub struct Shown {
    #[serde(flatten)]
    status: CameraStatus,
    /// How it stands among the site's cameras with the same profile and model; `null` without a stage `vigildrift`, before it was compared,
    /// and while it says nothing new.
    peers: Option<Standing>,
}

fn site_error(error: SiteError) -> Answer {
    Refusal::from(error).into()
}

async fn status(context: &Context, id: String) -> Result<Json<Shown>, Answer> {
    let site = context.shared.site.clone();
    let found = move || {
        let peers = site.peers().get(&id).map(Standing::from);
        site.camera(&id).map(|status| Json(Shown { status, peers }))
    };
    beside(found).await?.map_err(site_error)
}

/// All cameras, in the order of their ids.
pub async fn list(State(context): State<Context>) -> Result<Json<Vec<Shown>>, Answer> {
    let site = context.shared.site.clone();
    let all = move || {
        let peers = site.peers();
        let shown = |status: CameraStatus| Shown { peers: peers.get(&status.id).map(Standing::from), status };
        site.cameras().into_iter().map(shown).collect()
    };
    beside(all).await.map(Json)
}

/// One camera.
pub async fn get(State(context): State<Context>, Path(ById { id }): Path<ById>) -> Result<Json<Shown>, Answer> {
    status(&context, id).await
}

/// Adds a camera.
pub async fn add(
    State(context): State<Context>,
    Asked(Lasting { persist }): Asked<Lasting>,
    Body(new): Body<NewCamera>,
) -> Result<(StatusCode, Json<Shown>), Answer> {
    put_camera(&context, new, false, persist).await
}

/// Puts a camera in place of the one of this id, or adds it.
pub async fn put(
    State(context): State<Context>,
    Path(ById { id }): Path<ById>,
    Asked(Lasting { persist }): Asked<Lasting>,
    Body(camera): Body<Value>,
) -> Result<(StatusCode, Json<Shown>), Answer> {
    put_camera(&context, NewCamera { id, camera }, true, persist).await
}

async fn put_camera(
    context: &Context,
    NewCamera { id, camera }: NewCamera,
    replace: bool,
    persist: bool,
) -> Result<(StatusCode, Json<Shown>), Answer> {
    let camera = read::camera(&id, &camera).map_err(Refusal::Problems)?;
    let added = {
        let id = id.clone();
        ask(context, move |keeper| keeper.put(&id, &camera, replace, persist)).await?
    };
    let code = if added { StatusCode::CREATED } else { StatusCode::OK };
    Ok((code, status(context, id).await?))
}

/// Takes a camera away.
pub async fn remove(
    State(context): State<Context>,
    Path(ById { id }): Path<ById>,
    Asked(Lasting { persist }): Asked<Lasting>,
) -> Result<StatusCode, Answer> {
    ask(&context, move |keeper| keeper.remove(&id, persist)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Switches a camera on.
pub async fn enable(state: State<Context>, id: Path<ById>, lasting: Asked<Lasting>) -> Result<Json<Shown>, Answer> {
    switch(state, id, lasting, true).await
}

/// Switches a camera off.
pub async fn disable(state: State<Context>, id: Path<ById>, lasting: Asked<Lasting>) -> Result<Json<Shown>, Answer> {
    switch(state, id, lasting, false).await
}

async fn switch(
    State(context): State<Context>,
    Path(ById { id }): Path<ById>,
    Asked(Lasting { persist }): Asked<Lasting>,
    on: bool,
) -> Result<Json<Shown>, Answer> {
    let camera = id.clone();
    ask(&context, move |keeper| keeper.enable(&camera, on, persist)).await?;
    status(&context, id).await
}

/// Swaps models.
pub async fn swap_model(
    State(context): State<Context>,
    Path(ById { id }): Path<ById>,
    Asked(Lasting { persist }): Asked<Lasting>,
    Body(SwapModel { model, stage, options }): Body<SwapModel>,
) -> Result<(StatusCode, Json<Vec<SwapBegun>>), Answer> {
    let begun = ask(&context, move |keeper| keeper.swap(&id, &stage, &model, &options, persist)).await?;
    let begun = begun.into_iter().map(|(stage, request)| SwapBegun { stage, request }).collect();
    Ok((StatusCode::ACCEPTED, Json(begun)))
}

/// Has frames pass by the analysis, or not any more.
pub async fn bypass(
    State(context): State<Context>,
    Path(ById { id }): Path<ById>,
    Body(Bypass { bypass }): Body<Bypass>,
) -> Result<StatusCode, Answer> {
    let site = context.shared.site.clone();
    beside(move || site.force_bypass(&id, bypass)).await?.map_err(site_error)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Has a camera's stages `vigildrift` learn anew what is usual.
pub async fn relearn(State(context): State<Context>, Path(ById { id }): Path<ById>) -> Result<StatusCode, Answer> {
    let site = context.shared.site.clone();
    beside(move || site.relearn(&id)).await?.map_err(site_error)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Longest time for a picture to be made.
const SNAPSHOT: Duration = Duration::from_secs(5);

/// The last picture as JPEG.
pub async fn snapshot(
    State(context): State<Context>,
    Path(ById { id }): Path<ById>,
) -> Result<impl IntoResponse, Answer> {
    let busy = |_| Answer::new(StatusCode::SERVICE_UNAVAILABLE, "too many pictures are asked for at once");
    let place = context.snapshots.clone().try_acquire_owned().map_err(busy)?;
    let site: Site = context.shared.site.clone();
    let picture = beside(move || {
        // Until the picture is made, whether the client waits for it or not.
        let _place = place;
        site.snapshot(&id, SNAPSHOT)
    });
    let picture = picture.await?.map_err(site_error)?;
    let headers = [(header::CONTENT_TYPE, "image/jpeg"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, picture))
}

/// Adds the paths of this file.
pub fn add_to(table: &mut Table) {
    let named = |id, summary| Operation::new(id, "cameras", summary);
    let all = "/api/v1/cameras";
    let listing = named("listCameras", "All cameras and how they are doing");
    table.add(Method::GET, all, list, listing.json::<Vec<Shown>>(200, "In the order of their ids."));
    let adding = named("addCamera", "Add a camera").asked::<Lasting>().body::<NewCamera>();
    table.add(Method::POST, all, add, adding.json::<Shown>(201, "It was added."));

    let one = "/api/v1/cameras/{id}";
    let getting = named("getCamera", "A camera and how it is doing");
    table.add(Method::GET, one, get, getting.json::<Shown>(200, "The camera."));
    let putting = named("putCamera", "Replace a camera, or add it").asked::<Lasting>().body::<Camera>();
    let putting = putting.json::<Shown>(200, "It was replaced.").json::<Shown>(201, "It was added.");
    table.add(Method::PUT, one, put, putting);
    let removing = named("removeCamera", "Take a camera away").asked::<Lasting>();
    table.add(Method::DELETE, one, remove, removing.nothing(204, "It is gone."));

    let enabling = named("enableCamera", "Switch a camera on").asked::<Lasting>();
    let enabling = enabling.json::<Shown>(200, "It is on.");
    table.add(Method::POST, "/api/v1/cameras/{id}/enable", enable, enabling);
    let disabling = named("disableCamera", "Switch a camera off").asked::<Lasting>();
    let disabling = disabling.json::<Shown>(200, "It is off.");
    table.add(Method::POST, "/api/v1/cameras/{id}/disable", disable, disabling);
    let swapping = named("swapModel", "Swap models while the camera runs").asked::<Lasting>().body::<SwapModel>();
    let swapping = swapping.json::<Vec<SwapBegun>>(202, "It has begun; events tell what becomes of it.");
    table.add(Method::POST, "/api/v1/cameras/{id}/swap-model", swap_model, swapping);
    let bypassing = named("bypassAnalysis", "Have frames pass by the analysis, or not any more").body::<Bypass>();
    table.add(Method::POST, "/api/v1/cameras/{id}/bypass", bypass, bypassing.nothing(204, "It was told."));
    let relearning =
        named("relearnPredictions", "Learn anew what the model usually says of this camera (stages vigildrift)");
    let relearning = relearning.nothing(204, "What was learned is forgotten; what comes now is usual.");
    table.add(Method::POST, "/api/v1/cameras/{id}/relearn", relearn, relearning);
    let showing = named("getSnapshot", "The last picture, with what is drawn on it");
    let showing = showing.media::<String>("image/jpeg", "A JPEG picture.");
    table.add(Method::GET, "/api/v1/cameras/{id}/snapshot", snapshot, showing);
}
