//! `GET /api/v1/aws`: the sync from AWS. `POST /api/v1/aws/sync`: another reading now; the answer holds the ticket to wait for.

use axum::extract::{Query, State};
use axum::http::{StatusCode, Uri};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Core;
use super::answer::{Json, Refusal};
use crate::aws::{AwsView, NoSync};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(default)]
    accept_shrink: bool,
}

pub(super) async fn view(State(shared): Core) -> Result<Json<AwsView>, Refusal> {
    shared
        .control
        .aws_view()
        .map(Json)
        .ok_or_else(|| refusal(NoSync::Off))
}

pub(super) async fn sync(State(shared): Core, uri: Uri) -> Result<Json<Value>, Refusal> {
    let Query(Asked { accept_shrink }) = Query::try_from_uri(&uri).map_err(Refusal::bad)?;
    let ticket = shared.control.aws_sync(accept_shrink).map_err(refusal)?;
    Ok(Json(json!({ "ticket": ticket })))
}

fn refusal(error: NoSync) -> Refusal {
    let status = match error {
        NoSync::Off => StatusCode::NOT_FOUND,
        NoSync::Busy => StatusCode::CONFLICT,
    };
    Refusal::new(status, error)
}
