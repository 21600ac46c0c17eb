//! The one place where tests wait for time: for something to become true, or to stay true.

use std::time::Duration;

use tokio::time::Instant;

/// Long enough for anything that is not about time, on a loaded machine with two cores.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Short on purpose: what is waited for is cheap to ask.
const STEP: Duration = Duration::from_millis(10);

/// Asks until there is an answer, and gives it.
///
/// # Panics
/// When there is none `within` that time, saying `what` was waited for.
pub async fn eventually<T>(
    what: &str,
    within: Duration,
    mut ask: impl AsyncFnMut() -> Option<T>,
) -> T {
    let end = Instant::now() + within;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < end, "not within {within:?}: {what}");
        tokio::time::sleep(STEP).await;
    }
}

/// Waits until something is true.
///
/// # Panics
/// When it is not `within` that time.
pub async fn until(what: &str, within: Duration, mut ask: impl AsyncFnMut() -> bool) {
    eventually(what, within, async || ask().await.then_some(())).await;
}

/// Asks for as long as `span`, and demands that it is true every time.
///
/// # Panics
/// When it is not.
pub async fn throughout(what: &str, span: Duration, mut ask: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while begin.elapsed() < span {
        assert!(
            ask().await,
            "after {:?} of {span:?} no longer: {what}",
            begin.elapsed()
        );
        tokio::time::sleep(STEP).await;
    }
}

/// Lets a future take [`PATIENCE`].
///
/// # Panics
/// When it takes longer.
pub async fn patiently<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}
