//! The demo's clients of UDP: flows that ask something every tenth of a second, as a game or a name server's client does, and what is
//! counted of their questions.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep_until};

use super::clients::Note;

/// How often a flow asks.
const EVERY: Duration = Duration::from_millis(100);

/// A question that is not answered by then never is.
pub(super) const UNANSWERED: Duration = Duration::from_secs(1);

/// One question of a flow of UDP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// Which flow.
    pub(super) flow: usize,
    /// When it was sent.
    pub(super) asked: Instant,
    /// Which region answered, and when; `None` is nobody.
    pub(super) answered: Option<(String, Instant)>,
}

/// Asks until it is no longer wanted, and notes every question when it is answered or given up.
pub(super) async fn ask(
    flow: usize,
    edge: SocketAddr,
    wanted: Arc<AtomicBool>,
    notes: mpsc::Sender<Note>,
) {
    // Without a socket there is no flow, and the figures say so.
    let Ok(socket) = connected(edge).await else {
        return;
    };
    let mut pace = interval(EVERY);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut pending: VecDeque<(u32, Instant)> = VecDeque::new();
    let mut number = 0u32;
    let mut buffer = [0; 64];
    loop {
        let goes_on = wanted.load(Ordering::Relaxed);
        if !goes_on && pending.is_empty() {
            return;
        }
        let oldest = pending
            .front()
            .map_or_else(Instant::now, |(_, asked)| *asked);
        let question = tokio::select! {
            _ = pace.tick(), if goes_on => {
                number += 1;
                pending.push_back((number, Instant::now()));
                // One that cannot be sent is not answered either.
                let _ = socket.send(&number.to_be_bytes()).await;
                continue;
            }
            received = socket.recv(&mut buffer) => {
                let read = received.ok().and_then(|len| read(&buffer[..len]));
                let Some((number, region)) = read else { continue };
                let Some(place) = pending.iter().position(|(n, _)| *n == number) else { continue };
                pending.remove(place).map(|(_, asked)| (asked, Some((region, Instant::now()))))
            }
            () = sleep_until((oldest + UNANSWERED).into()), if !pending.is_empty() => {
                pending.pop_front().map(|(_, asked)| (asked, None))
            }
        };
        let Some((asked, answered)) = question else {
            continue;
        };
        let question = Question {
            flow,
            asked,
            answered,
        };
        if notes.send(Note::Asked(question)).await.is_err() {
            return;
        }
    }
}

async fn connected(edge: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((edge.ip(), 0)).await?;
    socket.connect(edge).await?;
    Ok(socket)
}

/// An answer: the number of its question, and the region.
fn read(answer: &[u8]) -> Option<(u32, String)> {
    let (number, region) = answer.split_first_chunk()?;
    let region = std::str::from_utf8(region).ok()?;
    Some((u32::from_be_bytes(*number), region.to_owned()))
}

/// Questions of a part of the story.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Questions {
    /// How many.
    pub(super) all: usize,
    /// How many nobody answered.
    pub(super) unanswered: usize,
}

/// What is counted of the questions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Datagrams {
    /// Asked before the region went dark, but for those that were on their way then.
    pub(super) before: Questions,
    /// Asked while it was dark.
    pub(super) dark: Questions,
    /// Asked after it was back.
    pub(super) after: Questions,
    /// Flows that the region had when it went dark.
    pub(super) stranded: usize,
    /// Of each of those that another region then answered: with which of its questions, the first asked in the dark being 1, and how long
    /// after the dark; ascending.
    pub(super) moved: Vec<(usize, Duration)>,
}

/// Counts. The region went dark at `dark` and was back at `back`.
pub(super) fn count<'n>(
    near: &str,
    questions: impl Iterator<Item = &'n Question>,
    (dark, back): (Instant, Instant),
) -> Datagrams {
    let mut counted = Datagrams::default();
    let mut flows: BTreeMap<usize, Vec<&Question>> = BTreeMap::new();
    for question in questions {
        let part = if question.asked >= back {
            &mut counted.after
        } else if question.asked >= dark {
            &mut counted.dark
        } else if question.answered.is_none() && dark - question.asked < UNANSWERED {
            // Its endpoint had it, and died with it.
            continue;
        } else {
            &mut counted.before
        };
        part.all += 1;
        part.unanswered += usize::from(question.answered.is_none());
        flows.entry(question.flow).or_default().push(question);
    }
    for questions in flows.values_mut() {
        questions.sort_by_key(|question| question.asked);
        let region = |question: &Question| question.answered.as_ref().map(|(r, _)| r.clone());
        let begin = questions.partition_point(|question| question.asked < dark);
        let was_at = questions[..begin].iter().rev().find_map(|q| region(q));
        if was_at.as_deref() != Some(near) {
            continue;
        }
        counted.stranded += 1;
        let elsewhere = |question: &&Question| {
            let answered = question.answered.as_ref()?;
            (answered.0 != near).then_some(answered.1 - dark)
        };
        let in_the_dark = questions[begin..].iter().take_while(|q| q.asked < back);
        let found = in_the_dark
            .enumerate()
            .find_map(|(index, question)| Some((index + 1, elsewhere(question)?)));
        counted.moved.extend(found);
    }
    counted.moved.sort();
    counted
}

impl Datagrams {
    /// The rows of the figures: what, how much, and what that is.
    pub(super) fn rows(&self, near: &str) -> [(&'static str, String, String); 2] {
        let most = self.moved.last().map_or(0, |(questions, _)| *questions);
        let last = self.moved.iter().map(|(_, after)| *after).max();
        [
            (
                "datagrams unanswered",
                format!("{} of {}", self.dark.unanswered, self.dark.all),
                format!(
                    "asked over UDP while {near} was dark; {} of {} before, {} of {} after",
                    self.before.unanswered, self.before.all, self.after.unanswered, self.after.all
                ),
            ),
            (
                "UDP flows moved",
                format!("{} of {}", self.moved.len(), self.stranded),
                format!(
                    "each answered elsewhere by its {most}. datagram at the latest, {} after it went dark",
                    super::figures::took(last)
                ),
            ),
        ]
    }

    /// What should not have happened.
    pub(super) fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        if self.stranded == 0 {
            complaints.push("no flow of UDP was there to be moved".to_owned());
        }
        if self.moved.len() < self.stranded {
            let left = self.stranded - self.moved.len();
            complaints.push(format!("{left} flows of UDP were not moved"));
        }
        complaints
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_was_lost_and_with_which_question_a_flow_had_moved() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let question = |flow, asked, region: Option<&str>| Question {
            flow,
            asked: at(asked),
            answered: region.map(|region| (region.to_owned(), at(asked + 10))),
        };
        let questions = [
            question(0, 100, Some("near")),
            question(0, 995, None),
            question(0, 1095, None),
            question(0, 1195, Some("far")),
            question(0, 2100, Some("far")),
            question(1, 150, Some("far")),
            question(1, 1150, Some("far")),
            question(2, 200, Some("near")),
            question(2, 1200, None),
        ];
        let counted = count("near", questions.iter(), (at(1000), at(2000)));
        assert_eq!(
            counted.before,
            Questions {
                all: 3,
                unanswered: 0
            }
        );
        assert_eq!(
            counted.dark,
            Questions {
                all: 4,
                unanswered: 2
            }
        );
        assert_eq!(
            counted.after,
            Questions {
                all: 1,
                unanswered: 0
            }
        );
        assert_eq!(counted.stranded, 2);
        assert_eq!(counted.moved, [(2, Duration::from_millis(205))]);
        assert_eq!(counted.complaints(), ["1 flows of UDP were not moved"]);
    }
}
