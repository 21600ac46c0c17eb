//! Who may ask: refuses what a foreign web page makes a browser send (DNS rebinding by the Host header, cross-site requests by
//! Origin and Sec-Fetch-Site), and asks for the token where there is one.

#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Shared;
use super::answer::Refusal;

/// What requests are judged by.
pub(super) struct Guard {
    /// Where the server listens.
    pub(super) listen: SocketAddr,
    pub(super) shared: Arc<Shared>,
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Middleware: lets a request pass that comes from no foreign page.
pub(super) async fn origin(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    let mutates = !request.method().is_safe();
    match judge(request.uri(), request.headers(), mutates, guard.listen.ip()) {
        Ok(()) => next.run(request).await,
        Err(why) => Refusal::new(StatusCode::FORBIDDEN, why).into_response(),
    }
}

/// Middleware: lets a request pass that carries the token, or any when there is none.
pub(super) async fn token(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    let authorization = request.headers().get(header::AUTHORIZATION);
    let admitted = match &guard.shared.token {
        None => true,
        Some(token) => token.admits(authorization.map(HeaderValue::as_bytes)),
    };
    if admitted {
        return next.run(request).await;
    }
    let challenge = [(header::WWW_AUTHENTICATE, "Bearer realm=\"portolan\"")];
    let why = "a token is required: Authorization: Bearer …, as [admin] token_file says";
    (challenge, Refusal::new(StatusCode::UNAUTHORIZED, why)).into_response()
}

fn judge(
    uri: &Uri,
    headers: &HeaderMap,
    mutates: bool,
    listen: IpAddr,
) -> Result<(), &'static str> {
    let named = named(uri, headers)?;
    if let Some(host) = &named
        && !is_ours(host.host(), listen)
    {
        return Err("foreign Host: use the address that [admin] listen names, or localhost");
    }
    if let Some(origin) = headers.get(header::ORIGIN)
        && !is_same_origin(origin, named.as_ref())
    {
        return Err("foreign Origin");
    }
    if mutates
        && headers
            .get(SEC_FETCH_SITE)
            .is_some_and(|site| site != "same-origin" && site != "none")
    {
        return Err("this page may not be asked for by another site");
    }
    Ok(())
}

/// The authority that the client believes to speak with. Old clients name none; browsers always do.
fn named(uri: &Uri, headers: &HeaderMap) -> Result<Option<Authority>, &'static str> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err("more than one Host");
    }
    let host = match host {
        None => None,
        Some(host) => {
            let host = Authority::try_from(host.as_bytes()).map_err(|_| "malformed Host")?;
            if host.as_str().contains('@') {
                return Err("malformed Host");
            }
            Some(host)
        }
    };
    match (uri.authority(), host) {
        // The absolute form names it in the request line, and Host must then say the same (RFC 9112 §3.2.2).
        (Some(line), Some(host)) if *line != host => Err("Host is not what the request line names"),
        (Some(line), _) => Ok(Some(line.clone())),
        (None, host) => Ok(host),
    }
}

/// Whether a page that a browser got under this host is ours. The port may differ: it does behind `ssh -L`.
fn is_ours(host: &str, listen: IpAddr) -> bool {
    let bare = host
        .strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .unwrap_or(host);
    match bare.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        // A wildcard listens on every address of this host, and a literal address cannot be rebound.
        Ok(ip) => ip.is_loopback() || listen.is_unspecified() || ip == listen.to_canonical(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

fn is_same_origin(origin: &HeaderValue, named: Option<&Authority>) -> bool {
    let Ok(origin) = origin.to_str() else {
        return false;
    };
    let authority = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"));
    matches!((authority, named), (Some(origin), Some(named)) if origin.eq_ignore_ascii_case(named.as_str()))
}
