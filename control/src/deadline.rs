//! The one place where this crate's tests wait for time: until something is true, or too late.

use std::time::{Duration, Instant};

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Short on purpose: what is waited for is cheap to ask.
const STEP: Duration = Duration::from_millis(2);

/// Waits until `condition` is true; when it takes longer than [`PATIENCE`], fails with `what` was waited for and what `state` tells.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool, state: impl Fn() -> String) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(
            Instant::now() < deadline,
            "not within {PATIENCE:?}: {what}; {}",
            state()
        );
        tokio::time::sleep(STEP).await;
    }
}
