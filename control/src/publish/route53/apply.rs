//! Applying a plan as a state machine without time, chance or network of its own: one request in flight, requests that Route 53
//! has no time for are sent again later, a request that it refuses is taken apart until the bad group is alone and set aside.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::batches::Batch;

/// First bound of the wait after "not now"; doubled each time.
const BACKOFF: Duration = Duration::from_millis(500);

/// The longest wait.
const BACKOFF_CAP: Duration = Duration::from_secs(20);

/// How often one request is sent: with full jitter that is about a minute in all.
const ATTEMPTS: u32 = 10;

/// What Route 53 said to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It will be so; the id of the change.
    Accepted(String),
    /// Not now: throttled, or another change of the zone is not through. Nothing was changed.
    Later(String),
    /// Refused: a rule, or somebody was faster. Nothing was changed.
    Refused(String),
    /// Nothing can be changed: no permission, no such zone.
    Denied(String),
    /// No answer that says whether it was done.
    Unknown(String),
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this request.
    Send(Batch),
    /// Nothing before then.
    Wait(Instant),
    /// It is over.
    Done,
}

/// A group that was not applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Its name.
    pub group: String,
    /// What Route 53 said.
    pub why: String,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Names that were applied.
    pub applied: Vec<String>,
    /// Ids of changes that were accepted.
    pub changes: Vec<String>,
    /// Groups that Route 53 refuses.
    pub set_aside: Vec<SetAside>,
    /// Why it ended before the end; the rest is for the next plan.
    pub stopped: Option<String>,
    /// Whether the last request may have been done all the same.
    pub uncertain: bool,
}

/// A plan on its way.
#[derive(Debug)]
pub struct Apply {
    queue: VecDeque<Batch>,
    in_flight: Option<Batch>,
    not_before: Option<Instant>,
    attempts: u32,
    outcome: Outcome,
}

impl Apply {
    /// Of these requests, in their order.
    pub fn new(batches: Vec<Batch>) -> Self {
        Self {
            queue: batches.into(),
            in_flight: None,
            not_before: None,
            attempts: 0,
            outcome: Outcome::default(),
        }
    }

    /// What to do at `now`. A request is given out once, until it is answered.
    pub fn next(&mut self, now: Instant) -> Step {
        if let Some(until) = self.not_before.filter(|until| *until > now) {
            return Step::Wait(until);
        }
        match self.queue.pop_front() {
            None => Step::Done,
            Some(batch) => {
                self.in_flight = Some(batch.clone());
                Step::Send(batch)
            }
        }
    }

    /// Takes the answer to the request in flight; `chance` is from 0 to 1.
    pub fn answered(&mut self, answer: Answer, now: Instant, chance: f64) {
        let Some(batch) = self.in_flight.take() else {
            return;
        };
        self.not_before = None;
        match answer {
            Answer::Accepted(change) => {
                self.attempts = 0;
                self.outcome.applied.extend(batch.names().map(Into::into));
                self.outcome.changes.push(change);
            }
            Answer::Later(why) => {
                self.attempts += 1;
                if self.attempts >= ATTEMPTS {
                    return self.stop(format!("{why}, {ATTEMPTS} times"));
                }
                // Full jitter, so that PoPs that met once do not meet again.
                let bound = BACKOFF.saturating_mul(1 << (self.attempts - 1).min(16));
                let wait = bound.min(BACKOFF_CAP).mul_f64(chance.clamp(0.0, 1.0));
                self.not_before = Some(now + wait);
                self.queue.push_front(batch);
            }
            Answer::Refused(why) => {
                self.attempts = 0;
                let names: Vec<String> = batch.names().map(Into::into).collect();
                match batch.halves() {
                    Some((first, second)) => {
                        self.queue.push_front(second);
                        self.queue.push_front(first);
                    }
                    None => self
                        .outcome
                        .set_aside
                        .extend(names.into_iter().map(|group| SetAside {
                            group,
                            why: why.clone(),
                        })),
                }
            }
            Answer::Denied(why) => self.stop(why),
            // Sending it again could meet its own success as a conflict. The next plan begins with what is there.
            Answer::Unknown(why) => {
                self.outcome.uncertain = true;
                self.stop(format!("whether it was done is not known: {why}"));
            }
        }
    }

    fn stop(&mut self, why: String) {
        self.queue.clear();
        self.outcome.stopped = Some(why);
    }

    /// What came of it.
    pub fn outcome(self) -> Outcome {
        self.outcome
    }
}

#[cfg(test)]
mod tests;
