//! Answers that say no, and how requests are read and handed on.

use std::time::Duration;

use axum::Json;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::Context;
use crate::run::access::Refused;
use crate::run::keeper::{Keeper, Refusal};
use crate::run::shared::{Detail, Wish, details};

/// Why a request was not done.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Failure {
    /// What is wrong and what to do.
    pub error: String,
    /// What is wrong with the description that would come of it.
    pub details: Vec<Detail>,
}

/// An answer that says no.
#[derive(Debug)]
pub struct Answer(pub StatusCode, pub Failure);

impl Answer {
    /// An answer of this status with this text.
    pub fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self(status, Failure { error: error.into(), details: Vec::new() })
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let challenge = (self.0 == StatusCode::UNAUTHORIZED).then_some([(header::WWW_AUTHENTICATE, "Bearer")]);
        let body = (self.0, Json(self.1));
        match challenge {
            Some(challenge) => (challenge, body).into_response(),
            None => body.into_response(),
        }
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoCamera(id) => Self::new(StatusCode::NOT_FOUND, format!("there is no camera \"{id}\"")),
            Refusal::Conflict(text) => Self::new(StatusCode::CONFLICT, text),
            Refusal::Forbidden(text) => Self::new(StatusCode::FORBIDDEN, text),
            Refusal::Failed(text) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, text),
            Refusal::Problems(problems) => {
                let error = "the description would not check; nothing was changed".into();
                Self(StatusCode::UNPROCESSABLE_ENTITY, Failure { error, details: details(&problems) })
            }
        }
    }
}

/// The answer to a request that may not be asked.
pub fn refused(why: Refused) -> Answer {
    match why {
        Refused::Token => {
            Answer::new(StatusCode::UNAUTHORIZED, "this needs the token of the API: Authorization: Bearer TOKEN")
        }
        Refused::Foreign => Answer::new(StatusCode::FORBIDDEN, "the API has no token, and answers this machine only"),
        Refused::Host => {
            Answer::new(StatusCode::FORBIDDEN, "the API has no token, and answers to localhost and addresses only")
        }
        Refused::Origin => {
            Answer::new(StatusCode::FORBIDDEN, "the API has no token, and answers no other site's pages")
        }
    }
}

/// For paths that lead nowhere.
pub async fn nothing_here() -> Answer {
    Answer::new(StatusCode::NOT_FOUND, "there is nothing here; /api/v1/openapi.json says what there is")
}

/// For methods that a path does not have.
pub async fn no_such_method() -> Answer {
    Answer::new(StatusCode::METHOD_NOT_ALLOWED, "this path has other methods; /api/v1/openapi.json says which")
}

/// A JSON body.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Answer;

    async fn from_request(request: Request, state: &S) -> Result<Self, Answer> {
        let late = |_| Answer::new(StatusCode::REQUEST_TIMEOUT, "the body of the request did not come in time");
        let Json(body) = tokio::time::timeout(BODY, Json::from_request(request, state))
            .await
            .map_err(late)?
            .map_err(|rejection| Answer::new(rejection.status(), rejection.body_text()))?;
        Ok(Self(body))
    }
}

/// Longest time for a body to come.
const BODY: Duration = Duration::from_secs(30);

/// What stands behind the `?`.
pub struct Asked<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Answer;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Answer> {
        let Query(asked) = Query::from_request_parts(parts, state)
            .await
            .map_err(|rejection| Answer::new(rejection.status(), rejection.body_text()))?;
        Ok(Self(asked))
    }
}

/// Does something that may wait, beside the thread that answers.
pub async fn beside<T: Send + 'static>(what: impl FnOnce() -> T + Send + 'static) -> Result<T, Answer> {
    tokio::task::spawn_blocking(what)
        .await
        .map_err(|_| Answer::new(StatusCode::INTERNAL_SERVER_ERROR, "it has failed for a reason that is not known"))
}

/// Has the keeper do something.
pub async fn ask<T: Send + 'static>(
    context: &Context,
    what: impl FnOnce(&mut Keeper) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Answer> {
    let ending = || Answer::new(StatusCode::SERVICE_UNAVAILABLE, "the gateway is coming to its end");
    let (tell, told) = oneshot::channel();
    let wish = Wish::Do(Box::new(move |keeper| {
        // Who asked may have gone.
        let _ = tell.send(what(keeper));
    }));
    if !context.shared.wish(wish) {
        return Err(ending());
    }
    Ok(told.await.map_err(|_| ending())??)
}
