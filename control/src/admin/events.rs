//! `GET /api/v1/events`: what the controller tells, as server-sent events. A reader that is too slow loses the oldest ones and is
//! told how many by a `lagged` event; it never holds anything up.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use futures_util::stream::{self, Stream, StreamExt};
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;

use super::Core;
use super::answer::Refusal;

/// Well below the minute after which proxies drop a silent stream.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// The first event: what generation the following ones begin after.
#[derive(Serialize)]
struct Hello {
    generation: u64,
}

/// Said to a slow reader in place of what it missed; it should read the state again.
#[derive(Serialize)]
struct Lagged {
    missed: u64,
}

pub(super) async fn stream(
    State(shared): Core,
) -> Result<Sse<impl Stream<Item = Result<Sent, Infallible>>>, Refusal> {
    let Ok(permit) = shared.event_streams.clone().try_acquire_owned() else {
        return Err(Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many event streams are open",
        ));
    };
    // Subscribed before the generation is read, so that nothing falls between.
    let events = shared.control.events();
    let hello = sent(
        "hello",
        &Hello {
            generation: shared.control.snapshot().generation,
        },
    );
    let following = stream::unfold((events, permit), |(mut events, permit)| async move {
        let next = match events.recv().await {
            Ok(event) => sent(event.what.name(), &event),
            Err(RecvError::Lagged(missed)) => sent("lagged", &Lagged { missed }),
            Err(RecvError::Closed) => return None,
        };
        Some((next, (events, permit)))
    });
    let all = stream::iter([hello]).chain(following).map(Ok);
    Ok(Sse::new(all).keep_alive(KeepAlive::new().interval(HEARTBEAT)))
}

fn sent(name: &'static str, data: &impl Serialize) -> Sent {
    // Our own types always serialize; JSON has no line ends, so it is one line of data.
    let data = serde_json::to_string(data).unwrap_or_default();
    Sent::default().event(name).data(data)
}
