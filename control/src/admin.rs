//! The admin server: liveness, readiness, metrics, the state and its events, `why`, drains, reload, and the dashboard. Asked by
//! operators, `portolan status` and its kin, Prometheus and load balancers. It reads what the controller publishes and hands wishes
//! to it; it decides nothing, and nothing on the data path waits for it.

mod answer;
mod aws;
mod connections;
mod drain;
mod events;
mod guard;
mod store;
mod token;
mod why;

#[cfg(test)]
pub(crate) mod idle;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub(crate) use self::connections::serve;
pub use self::token::TokenError;

use self::answer::{Json, Refusal};
use self::guard::Guard;
use self::token::Token;
use crate::ControlHandle;
use crate::api::ApiHandle;
use crate::flow_log::FlowLog;
use crate::handle::{ReloadError, ReloadOutcome};
use crate::metrics::Metrics;
use crate::readiness;
use crate::state::StateView;

/// Requests with a body are drains, which are short.
const BODY_LIMIT: usize = 64 * 1024;

/// Operators, scrapers and load balancers of one PoP; a connection that says nothing is closed after seconds.
const CONNECTIONS: usize = 256;

/// Event streams live long, so they must leave connections for everything else.
const EVENT_STREAMS: usize = 64;

/// Covers a slow body and a reload of a large file.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// What the admin server stands on.
pub struct AdminOptions {
    /// The controller.
    pub control: ControlHandle,
    /// Whose counters are shown.
    pub flow_log: Arc<FlowLog>,
    /// A bearer token is read from here, again whenever the file changes; `None` lets everybody in who reaches the listener.
    pub token_file: Option<PathBuf>,
}

/// The admin server.
pub struct Admin {
    shared: Arc<Shared>,
}

struct Shared {
    control: ControlHandle,
    metrics: Metrics,
    token: Option<Token>,
    event_streams: Arc<Semaphore>,
    /// One scrape at a time: each may take a core for tens of milliseconds.
    scraping: Mutex<()>,
    /// Empty without an API, and until it is there.
    api: OnceLock<ApiHandle>,
}

type Core = State<Arc<Shared>>;

impl Admin {
    /// Reads the token.
    pub fn new(options: AdminOptions) -> Result<Self, TokenError> {
        let AdminOptions {
            control,
            flow_log,
            token_file,
        } = options;
        let token = token_file.map(Token::read).transpose()?;
        Ok(Self {
            shared: Arc::new(Shared {
                metrics: Metrics::new(control.clone(), flow_log),
                control,
                token,
                event_streams: Arc::new(Semaphore::new(EVENT_STREAMS)),
                scraping: Mutex::new(()),
                api: OnceLock::new(),
            }),
        })
    }

    /// Lets the store of an API be exported and imported.
    pub fn share_api(&self, api: ApiHandle) {
        // One process has one.
        let _ = self.shared.api.set(api);
    }

    /// Answers on `listener` until `stop` is cancelled, or the future is dropped, which also ends every connection. Must be polled within
    /// a tokio runtime.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) -> io::Result<()> {
        let listen = listener.local_addr()?;
        connections::serve(listener, self.router(listen), CONNECTIONS, stop).await
    }

    fn router(self, listen: SocketAddr) -> Router {
        let guard = Arc::new(Guard {
            listen,
            shared: self.shared.clone(),
        });
        Router::new()
            .route("/metrics", get(metrics))
            .route("/api/v1/state", get(state))
            .route("/api/v1/events", get(events::stream))
            .route("/api/v1/why", get(why::why))
            .route("/api/v1/endpoints/{id}/drain", post(drain::drain))
            .route("/api/v1/endpoints/{id}/undrain", post(drain::undrain))
            .route("/api/v1/pop/drain", post(drain::drain_pop))
            .route("/api/v1/pop/undrain", post(drain::undrain_pop))
            .route("/api/v1/reload", post(reload))
            .route("/api/v1/aws", get(aws::view))
            .route("/api/v1/aws/sync", post(aws::sync))
            .route(
                "/api/v1/store",
                get(store::export)
                    .post(store::import)
                    .layer(DefaultBodyLimit::max(store::BODY_LIMIT)),
            )
            .layer(middleware::from_fn_with_state(guard.clone(), guard::token))
            // Below here without a token: nothing of it tells more than whether the PoP is up.
            .route("/", get(dashboard))
            .merge(readiness::routes(self.shared.control.clone()))
            .fallback(no_such_page)
            .method_not_allowed_fallback(no_such_method)
            .with_state(self.shared)
            .layer(middleware::from_fn_with_state(guard, guard::origin))
            .layer(middleware::from_fn(in_time))
            .layer(DefaultBodyLimit::max(BODY_LIMIT))
    }
}

async fn metrics(State(shared): Core) -> Result<Response, Refusal> {
    let _one = shared.scraping.lock().await;
    let page = shared.metrics.clone();
    let text = answer::computed(move || page.render()).await?;
    match text {
        Ok(text) => {
            let kind = [(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)];
            Ok((kind, text).into_response())
        }
        Err(error) => Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error)),
    }
}

async fn state(State(shared): Core) -> Result<Json<StateView>, Refusal> {
    let control = shared.control.clone();
    answer::computed(move || control.state()).await.map(Json)
}

async fn reload(State(shared): Core) -> Result<Json<ReloadOutcome>, Refusal> {
    shared.control.reload().await.map(Json).map_err(|error| {
        let status = match error {
            ReloadError::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
            ReloadError::NoFile => StatusCode::CONFLICT,
            ReloadError::Ended => StatusCode::SERVICE_UNAVAILABLE,
        };
        Refusal::new(status, error)
    })
}

/// The page holds no data of its own: it asks for the state like any other client.
async fn dashboard() -> Response {
    const PAGE: &str = include_str!("admin/dashboard.html");
    const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
        connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, PAGE).into_response()
}

async fn no_such_page() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "no such page")
}

async fn no_such_method() -> Refusal {
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "this page does not take that method",
    )
}

/// Bounds a request from its head to the head of its answer, and marks every answer as not to be stored or guessed about.
async fn in_time(request: Request, next: Next) -> Response {
    let mut response = match timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            Refusal::new(StatusCode::REQUEST_TIMEOUT, "the request took too long").into_response()
        }
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}
