//! `GET /api/v1/store` and `POST /api/v1/store`: everything that the API made, out of the running process, which alone has the store
//! open, and back into it.

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::Core;
use super::answer::{Json, Refusal, computed};
use crate::api::{ApiHandle, ImportError};
use crate::store::Export;

/// Twenty accelerators with all that they may have are about 4 MB, a day's idempotency tokens ten times that.
pub(super) const BODY_LIMIT: usize = 256 * 1024 * 1024;

pub(super) async fn export(State(shared): Core) -> Result<Json<Export>, Refusal> {
    let exported = api(&shared.api)?.export().await;
    exported.map(Json).map_err(refusal)
}

pub(super) async fn import(
    State(shared): Core,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Refusal> {
    let api = api(&shared.api)?;
    let body = body.map_err(|rejection| Refusal::new(rejection.status(), rejection.body_text()))?;
    let read = computed(move || serde_json::from_slice::<Export>(&body)).await?;
    let export = read
        .map_err(|error| Refusal::bad(format_args!("the body is no export of a store: {error}")))?;
    let records = api.import(export).await.map_err(refusal)?;
    Ok(Json(json!({ "records": records })))
}

fn api(slot: &std::sync::OnceLock<ApiHandle>) -> Result<ApiHandle, Refusal> {
    let missing = || {
        Refusal::new(
            StatusCode::CONFLICT,
            "there is no [api] in the file, so no store is open",
        )
    };
    slot.get().cloned().ok_or_else(missing)
}

fn refusal(error: ImportError) -> Refusal {
    let status = match error {
        ImportError::Schema(_) | ImportError::Record(_) => StatusCode::UNPROCESSABLE_ENTITY,
        ImportError::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
        ImportError::Busy => StatusCode::SERVICE_UNAVAILABLE,
    };
    Refusal::new(status, error)
}
