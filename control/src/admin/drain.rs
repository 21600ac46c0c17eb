//! `POST /api/v1/endpoints/{id}/drain` and `/undrain`, and the same for the whole PoP. What to drain is said in the query or in a
//! JSON body, `region` and `for`; unknown keys are refused, since a misspelt `region` would drain every region.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, Uri};
use portolan_config::file;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Core;
use super::answer::{Json, Refusal};
use crate::handle::{DrainError, DrainOutcome, DrainRequest, UndrainRequest};

/// Longer is no drain but a change of the configuration.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct DrainArgs {
    region: Option<String>,
    #[serde(rename = "for")]
    for_: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct UndrainArgs {
    region: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoArgs {}

type Id = Result<Path<String>, PathRejection>;
type Body = Result<Bytes, BytesRejection>;

pub(super) async fn drain(
    State(shared): Core,
    id: Id,
    uri: Uri,
    body: Body,
) -> Result<Json<DrainOutcome>, Refusal> {
    let Path(endpoint) = id.map_err(Refusal::bad)?;
    let DrainArgs { region, for_ } = args(&uri, body)?;
    let for_ = for_.as_deref().map(duration).transpose()?;
    let outcome = shared
        .control
        .drain(DrainRequest {
            endpoint,
            region,
            for_,
        })
        .await;
    outcome.map(Json).map_err(refusal)
}

pub(super) async fn undrain(
    State(shared): Core,
    id: Id,
    uri: Uri,
    body: Body,
) -> Result<Json<DrainOutcome>, Refusal> {
    let Path(endpoint) = id.map_err(Refusal::bad)?;
    let UndrainArgs { region } = args(&uri, body)?;
    let outcome = shared
        .control
        .undrain(UndrainRequest { endpoint, region })
        .await;
    outcome.map(Json).map_err(refusal)
}

pub(super) async fn drain_pop(
    State(shared): Core,
    uri: Uri,
    body: Body,
) -> Result<Json<Value>, Refusal> {
    let NoArgs {} = args(&uri, body)?;
    shared.control.drain_pop(true).await.map_err(refusal)?;
    Ok(Json(json!({ "pop_draining": true })))
}

pub(super) async fn undrain_pop(
    State(shared): Core,
    uri: Uri,
    body: Body,
) -> Result<Json<Value>, Refusal> {
    let NoArgs {} = args(&uri, body)?;
    shared.control.drain_pop(false).await.map_err(refusal)?;
    Ok(Json(json!({ "pop_draining": false })))
}

/// From the body, or without one from the query; both at once could contradict each other.
fn args<T: DeserializeOwned>(uri: &Uri, body: Body) -> Result<T, Refusal> {
    let body = body.map_err(|rejection| Refusal::new(rejection.status(), rejection.body_text()))?;
    if body.trim_ascii().is_empty() {
        let Query(args) = Query::try_from_uri(uri).map_err(Refusal::bad)?;
        return Ok(args);
    }
    if uri.query().is_some_and(|query| !query.is_empty()) {
        return Err(Refusal::bad(
            "say what to drain in the query or in the body, not in both",
        ));
    }
    // Read as an object first: serde would take an array as well.
    let object: serde_json::Map<String, Value> = serde_json::from_slice(&body)
        .map_err(|error| Refusal::bad(format_args!("the body is not a JSON object: {error}")))?;
    serde_json::from_value(Value::Object(object)).map_err(Refusal::bad)
}

fn duration(text: &str) -> Result<Duration, Refusal> {
    let duration =
        file::duration(text).map_err(|error| Refusal::bad(format_args!("for: {error}")))?;
    if duration.is_zero() || duration > LONGEST {
        return Err(Refusal::bad(format_args!(
            "for={text:?} is not between 1us and a year"
        )));
    }
    Ok(duration)
}

fn refusal(error: DrainError) -> Refusal {
    let status = match error {
        DrainError::UnknownEndpoint { .. } => StatusCode::NOT_FOUND,
        DrainError::NotDraining { .. } | DrainError::TooMany { .. } => StatusCode::CONFLICT,
        DrainError::Ended => StatusCode::SERVICE_UNAVAILABLE,
    };
    Refusal::new(status, error)
}
