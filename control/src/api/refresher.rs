//! Asks AWS again and again what the endpoints are that the API's records name: an instance gets another address, a load balancer
//! another name. What AWS does not say, or says is gone, stays as it is: health checks find out whether anybody answers.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::engine::Engine;

/// How often it is looked whether there is anything to ask when there was nothing.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Asks until it is dropped.
pub(crate) async fn run(engine: Arc<Engine>) {
    loop {
        let interval = engine.aws_interval();
        if interval.is_some() {
            engine.refresh().await;
        }
        sleep(interval.unwrap_or(LOOK_AGAIN)).await;
    }
}
