//! The figures that the demo ends with, counted from what the clients noted and from the edge's own events. A pure function of
//! both, so that what is printed is what was measured, and can be tested.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use super::clients::{Failure, Note};
use super::datagrams::{self, Datagrams};

/// The moments of the story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marks {
    /// No SYN to the near region was answered from here on.
    pub(super) dark: Instant,
    /// The edge said DOWN of the last endpoint of the near region.
    pub(super) down: Option<Instant>,
    /// The near region had its power again.
    pub(super) back: Instant,
    /// The edge said UP of the first endpoint of the near region after that.
    pub(super) up: Option<Instant>,
}

/// Short connections of a part of the story.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Short {
    /// How many.
    pub(super) all: usize,
    /// How many failed, and how.
    pub(super) failed: Vec<Failure>,
    /// The longest that one took which did not fail.
    pub(super) slowest: Duration,
    /// Who served them.
    pub(super) served_by: BTreeMap<String, usize>,
}

impl Short {
    fn count(&mut self, began: Instant, ended: Instant, outcome: &Result<String, Failure>) {
        self.all += 1;
        match outcome {
            Ok(region) => {
                *self.served_by.entry(region.clone()).or_default() += 1;
                self.slowest = self.slowest.max(ended - began);
            }
            Err(failure) => self.failed.push(*failure),
        }
    }
}

/// Everything that was measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Figures {
    /// The region that went dark.
    pub(super) near: String,
    /// Connections that were over before it did.
    pub(super) before: Short,
    /// Connections begun before, and not over when it went dark: their endpoint died with them.
    pub(super) in_flight: Short,
    /// Connections begun while it was dark.
    pub(super) dark: Short,
    /// Connections begun after it came back.
    pub(super) after: Short,
    /// From the dark to the first answer of another region to a connection begun since.
    pub(super) elsewhere_after: Option<Duration>,
    /// From the dark to the edge's DOWN.
    pub(super) down_after: Option<Duration>,
    /// Lasting flows that the near region had when it went dark.
    pub(super) stranded: usize,
    /// How long after the dark each of them was let go, ascending.
    pub(super) let_go_after: Vec<Duration>,
    /// Lasting flows that other regions lost meanwhile.
    pub(super) lost_elsewhere: usize,
    /// From the return to the edge's UP.
    pub(super) up_after: Option<Duration>,
    /// From the return to the first answer of the near region to a connection begun since.
    pub(super) near_again_after: Option<Duration>,
    /// Over UDP.
    pub(super) datagrams: Datagrams,
}

/// Counts.
pub(super) fn count(near: &str, notes: &[Note], marks: Marks) -> Figures {
    let questions = notes.iter().filter_map(|note| match note {
        Note::Asked(question) => Some(question),
        Note::Short { .. } | Note::Settled { .. } | Note::Lost { .. } => None,
    });
    let mut figures = Figures {
        near: near.to_owned(),
        before: Short::default(),
        in_flight: Short::default(),
        dark: Short::default(),
        after: Short::default(),
        elsewhere_after: None,
        down_after: marks.down.map(|at| at - marks.dark),
        stranded: 0,
        let_go_after: Vec::new(),
        lost_elsewhere: 0,
        up_after: marks.up.map(|at| at - marks.back),
        near_again_after: None,
        datagrams: datagrams::count(near, questions, (marks.dark, marks.back)),
    };
    for note in notes {
        match note {
            Note::Short {
                began,
                ended,
                outcome,
            } => figures.count_short(marks, *began, *ended, outcome),
            Note::Settled { region, at } => {
                if region == near && *at <= marks.dark {
                    figures.stranded += 1;
                }
            }
            Note::Lost { region, at } => figures.count_lost(marks, region, *at),
            Note::Asked(_) => {}
        }
    }
    figures.let_go_after.sort();
    figures
}

impl Figures {
    fn count_short(
        &mut self,
        marks: Marks,
        began: Instant,
        ended: Instant,
        outcome: &Result<String, Failure>,
    ) {
        let part = if ended < marks.dark {
            &mut self.before
        } else if began < marks.dark {
            &mut self.in_flight
        } else if began < marks.back {
            &mut self.dark
        } else {
            &mut self.after
        };
        part.count(began, ended, outcome);
        let Ok(region) = outcome else { return };
        if *region != self.near && began >= marks.dark {
            earlier(&mut self.elsewhere_after, ended - marks.dark);
        }
        if *region == self.near && began >= marks.back {
            earlier(&mut self.near_again_after, ended - marks.back);
        }
    }

    fn count_lost(&mut self, marks: Marks, region: &str, at: Instant) {
        if region != self.near {
            self.lost_elsewhere += 1;
        } else if at < marks.dark {
            // It ended before, so it was not there to be stranded.
            self.stranded = self.stranded.saturating_sub(1);
        } else if at < marks.back {
            self.let_go_after.push(at - marks.dark);
        }
    }

    /// What should not have happened, each a sentence; the demo fails when there is one.
    pub(super) fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        for (part, when) in [
            (&self.before, "before anything was wrong"),
            (&self.dark, "while the region was dark"),
            (&self.after, "after the region came back"),
        ] {
            if !part.failed.is_empty() {
                complaints.push(format!(
                    "{} new connections failed {when}",
                    part.failed.len()
                ));
            }
            if part.all == 0 {
                complaints.push(format!("no connection was made {when}"));
            }
        }
        if self.let_go_after.len() < self.stranded {
            let left = self.stranded - self.let_go_after.len();
            complaints.push(format!("{left} stranded flows were not let go"));
        }
        if self.lost_elsewhere > 0 {
            complaints.push(format!(
                "{} flows of healthy regions were lost",
                self.lost_elsewhere
            ));
        }
        for (figure, what) in [
            (self.elsewhere_after, "no connection was served elsewhere"),
            (self.down_after, "the edge never said DOWN"),
            (self.up_after, "the edge never said UP again"),
            (
                self.near_again_after,
                "no connection went back to the near region",
            ),
        ] {
            if figure.is_none() {
                complaints.push(what.to_owned());
            }
        }
        complaints.extend(self.datagrams.complaints());
        complaints
    }
}

fn earlier(best: &mut Option<Duration>, candidate: Duration) {
    *best = Some(best.map_or(candidate, |best| best.min(candidate)));
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = |part: &Short| format!("{} of {}", part.failed.len(), part.all);
        let mut rows = vec![
            (
                "new connections failed",
                failed(&self.dark),
                format!("begun while {} was dark", self.near),
            ),
            (
                "first one served elsewhere",
                took(self.elsewhere_after),
                "after it went dark, answer included".into(),
            ),
            (
                "slowest new connection",
                took(Some(self.dark.slowest)),
                format!(
                    "to the end of its answer; {} before",
                    took(Some(self.before.slowest))
                ),
            ),
            (
                "declared DOWN",
                took(self.down_after),
                "after it went dark".into(),
            ),
            (
                "stranded flows let go",
                format!("{} of {}", self.let_go_after.len(), self.stranded),
                format!(
                    "the last {} after it went dark; else silent until idle_timeout, 340 s",
                    took(self.let_go_after.last().copied())
                ),
            ),
            (
                "in flight when it went dark",
                failed(&self.in_flight),
                "failed: the dead endpoint had their bytes already".into(),
            ),
            (
                "declared UP",
                took(self.up_after),
                "after it came back".into(),
            ),
            (
                "first one served there again",
                took(self.near_again_after),
                "after it came back".into(),
            ),
            (
                "new connections failed",
                failed(&self.after),
                "begun after it came back".into(),
            ),
        ];
        if self.lost_elsewhere > 0 {
            rows.push((
                "flows lost elsewhere",
                self.lost_elsewhere.to_string(),
                "on regions that were well".into(),
            ));
        }
        rows.extend(self.datagrams.rows(&self.near));
        for (what, value, note) in rows {
            writeln!(f, "  {what:<30}{value:>10}   {note}")?;
        }
        Ok(())
    }
}

/// `131 ms`, `1.02 s`, or a dash for what never happened.
pub(super) fn took(time: Option<Duration>) -> String {
    match time {
        None => "-".into(),
        Some(time) if time < Duration::from_secs(1) => format!("{} ms", time.as_millis()),
        Some(time) => format!("{:.2} s", time.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::datagrams::Question;
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn short(start: Instant, began: u64, took: u64, outcome: Result<&str, Failure>) -> Note {
        let began = start + ms(began);
        Note::Short {
            began,
            ended: began + ms(took),
            outcome: outcome.map(str::to_owned),
        }
    }

    fn asked(start: Instant, asked: u64, region: &str) -> Note {
        let asked = start + ms(asked);
        Note::Asked(Question {
            flow: 0,
            asked,
            answered: Some((region.to_owned(), asked + ms(10))),
        })
    }

    fn marks(start: Instant) -> Marks {
        Marks {
            dark: start + ms(1000),
            down: Some(start + ms(1120)),
            back: start + ms(3000),
            up: Some(start + ms(3600)),
        }
    }

    fn good_story(start: Instant) -> Vec<Note> {
        vec![
            Note::Settled {
                region: "near".into(),
                at: start,
            },
            Note::Settled {
                region: "near".into(),
                at: start,
            },
            short(start, 500, 10, Ok("near")),
            short(start, 995, 800, Err(Failure::Reset)),
            short(start, 1010, 90, Ok("far")),
            short(start, 1300, 30, Ok("far")),
            Note::Lost {
                region: "near".into(),
                at: start + ms(1900),
            },
            Note::Lost {
                region: "near".into(),
                at: start + ms(1400),
            },
            Note::Settled {
                region: "far".into(),
                at: start + ms(1950),
            },
            short(start, 3100, 30, Ok("far")),
            short(start, 3700, 10, Ok("near")),
            asked(start, 900, "near"),
            asked(start, 1100, "far"),
        ]
    }

    #[test]
    fn counts_each_connection_where_it_belongs() {
        let start = Instant::now();
        let figures = count("near", &good_story(start), marks(start));
        assert_eq!(
            (
                figures.before.all,
                figures.in_flight.all,
                figures.dark.all,
                figures.after.all
            ),
            (1, 1, 2, 2)
        );
        assert_eq!(figures.in_flight.failed, [Failure::Reset]);
        assert_eq!(figures.elsewhere_after, Some(ms(100)));
        assert_eq!(figures.dark.slowest, ms(90));
        assert_eq!(figures.down_after, Some(ms(120)));
        assert_eq!(
            (figures.stranded, figures.let_go_after.as_slice()),
            (2, [ms(400), ms(900)].as_slice())
        );
        assert_eq!(figures.near_again_after, Some(ms(710)));
        assert_eq!(figures.up_after, Some(ms(600)));
        assert_eq!(figures.complaints(), Vec::<String>::new());
    }

    #[test]
    fn complains_of_a_failed_new_connection_and_of_a_flow_left_hanging() {
        let start = Instant::now();
        let mut notes = good_story(start);
        notes.push(short(start, 1200, 3000, Err(Failure::TimedOut)));
        notes.retain(|note| {
            *note
                != Note::Lost {
                    region: "near".into(),
                    at: start + ms(1900),
                }
        });
        let figures = count("near", &notes, marks(start));
        assert_eq!(figures.complaints().len(), 2, "{:?}", figures.complaints());
    }

    #[test]
    fn complains_of_what_never_happened() {
        let start = Instant::now();
        let never = Marks {
            down: None,
            up: None,
            ..marks(start)
        };
        assert_eq!(
            count("near", &good_story(start), never).complaints().len(),
            2
        );
        assert!(count("near", &[], never).complaints().len() >= 6);
    }
}
