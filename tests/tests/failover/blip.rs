//! An endpoint that refuses for a moment, and the flows that it serves meanwhile.

use super::*;

/// A flow that lives has 80 ms after a decision to show it. Where this machine keeps all of them quiet for longer, nothing is learned from
/// their ends.
const HELD_UP: Duration = Duration::from_millis(60);

/// How often a blip is tried until one is not held up.
const TRIES: usize = 8;

#[tokio::test]
async fn a_blip_of_200_ms_resets_nothing_that_moved_since() {
    for _ in 0..TRIES {
        match blip().await {
            Ok(()) => return,
            Err(quiet) => println!("flows were quiet for {quiet:?}: tried again"),
        }
    }
    panic!("{TRIES} times flows were quiet for longer than {HELD_UP:?}, and were reset");
}

/// Flows that talk, and for how long one of them was quiet at most.
struct Talk {
    callers: Vec<(Caller, Instant)>,
    quiet: Duration,
}

impl Talk {
    /// Everyone says something; whether all are answered.
    async fn go_on(&mut self) -> bool {
        let mut all = true;
        for (caller, _) in &mut self.callers {
            all &= caller.say("hello").await.is_ok();
        }
        for (caller, last) in &mut self.callers {
            all &= caller.listen().await.is_ok();
            self.quiet = self.quiet.max(last.elapsed());
            *last = Instant::now();
        }
        all
    }

    /// Everyone talks so long. An error is for how long one of them could not, when that has ended flows.
    ///
    /// # Panics
    /// When flows end that have talked all the time.
    async fn lives_throughout(&mut self, span: Duration) -> Result<(), Duration> {
        let begin = Instant::now();
        while begin.elapsed() < span {
            if !self.go_on().await {
                let quiet = self.quiet;
                assert!(
                    quiet > HELD_UP,
                    "it was never quiet for more than {quiet:?}"
                );
                return Err(quiet);
            }
        }
        Ok(())
    }
}

/// One blip under load. An error is for how long a flow that did not live through it had been quiet.
async fn blip() -> Result<(), Duration> {
    let (at, near, _far, edge) = near_and_far().await;
    let talking = callers(at, 20, "near").await.into_iter();
    let load = Load::start(at, 100);
    load.until_done(20).await;
    let mut talk = Talk {
        callers: talking.map(|caller| (caller, Instant::now())).collect(),
        quiet: Duration::ZERO,
    };

    near.refuse().await;
    talk.lives_throughout(Duration::from_millis(200)).await?;
    near.revive().await;
    talk.lives_throughout(Duration::from_secs(2)).await?;

    edge.until_health("near", "UP", PATIENCE).await;
    let attempts = load.stop().await;
    let unexplained = unexplained(&attempts, &near, &edge).await;
    assert!(unexplained.is_empty(), "{unexplained:#?}");
    Ok(())
}
