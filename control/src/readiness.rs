//! `/livez` and `/readyz`: for Route 53, load balancers and service managers. The admin server has them among its pages; the
//! readiness listener serves them alone, to anybody, and tells nothing else.

use std::io;
use std::net::TcpListener;

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio_util::sync::CancellationToken;

use crate::ControlHandle;
use crate::admin;

/// Health checkers of several providers ask from many places at once; each asks and leaves.
const CONNECTIONS: usize = 512;

/// Answers on `listener` until `stop` is cancelled, or the future is dropped. Must be polled within a tokio runtime.
pub async fn serve(
    listener: TcpListener,
    control: ControlHandle,
    stop: CancellationToken,
) -> io::Result<()> {
    let router = routes(control).fallback(StatusCode::NOT_FOUND);
    admin::serve(listener, router, CONNECTIONS, stop).await
}

/// The two pages, whatever the state of the router that they are put in.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>(control: ControlHandle) -> Router<S> {
    let ready = move || async move { readyz(&control) };
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(ready))
}

async fn livez() -> &'static str {
    "ok\n"
}

fn readyz(control: &ControlHandle) -> Response {
    let readiness = control.readiness();
    let status = if readiness.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, axum::Json(readiness)).into_response()
}
