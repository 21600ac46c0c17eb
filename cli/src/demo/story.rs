//! What happens on the stage of the demo, as it is seen, noted and shown: the clients' notes and the edge's events in one place.

use std::time::{Duration, Instant};

use portolan_control::event::{Event, EventKind};
use tokio::sync::{broadcast, mpsc};

use super::clients::Note;
use super::screen::{self, Failed, Screen};
use crate::assembly::Assembly;

/// What "a second" on the screen is counted over.
const LATELY: Duration = Duration::from_secs(1);

/// What happens on the stage, as it is seen, noted and shown.
pub(super) struct Story {
    incoming: mpsc::Receiver<Note>,
    /// Everything that the clients noted.
    pub(super) notes: Vec<Note>,
    /// Region, new health and when the edge said so.
    health: Vec<(String, String, Instant)>,
    /// When the near region went dark: what was begun before may die with it.
    dark: Option<Instant>,
    failed: Failed,
    /// Where it is shown.
    pub(super) screen: Screen,
}

impl Story {
    /// Begins, with nobody on the stage.
    pub(super) fn new(incoming: mpsc::Receiver<Note>) -> Self {
        Self {
            incoming,
            notes: Vec::new(),
            health: Vec::new(),
            dark: None,
            failed: Failed::default(),
            screen: Screen::new(Instant::now()),
        }
    }

    /// Says something that stays.
    pub(super) fn say(&mut self, text: &str) {
        self.screen.headline(Instant::now(), text);
    }

    /// Notes and shows what happens until then.
    pub(super) async fn watch(
        &mut self,
        edge: &Assembly,
        events: &mut broadcast::Receiver<Event>,
        until: Instant,
    ) {
        let mut frame = tokio::time::interval(Duration::from_millis(50));
        while Instant::now() < until {
            tokio::select! {
                Some(note) = self.incoming.recv() => self.note(note),
                Ok(event) = events.recv() => self.hear(event),
                _ = frame.tick() => self.show(edge),
            }
        }
    }

    fn note(&mut self, note: Note) {
        if let Note::Short {
            began,
            outcome: Err(_),
            ..
        } = note
        {
            if self.dark.is_some_and(|dark| began < dark) {
                self.failed.in_flight += 1;
            } else {
                self.failed.new += 1;
            }
        }
        self.notes.push(note);
    }

    fn hear(&mut self, event: Event) {
        let EventKind::Health {
            region,
            endpoint,
            from,
            to,
            reason,
            listener,
            ..
        } = event.what
        else {
            return;
        };
        // The same endpoint by the same check; once is enough.
        if listener.ends_with("/UDP") {
            return;
        }
        let now = Instant::now();
        let why = reason
            .map(|reason| format!(": {reason}"))
            .unwrap_or_default();
        self.screen
            .headline(now, &format!("  {endpoint} {from} -> {to}{why}"));
        self.health.push((region, to, now));
    }

    fn show(&mut self, edge: &Assembly) {
        let now = Instant::now();
        if !self.screen.is_due(now) {
            return;
        }
        let state = edge.control.state();
        let lately = |region: &str| {
            let answered = |note: &&Note| match note {
                Note::Short {
                    ended,
                    outcome: Ok(by),
                    ..
                } => by == region && now - *ended < LATELY,
                Note::Short {
                    outcome: Err(_), ..
                }
                | Note::Settled { .. }
                | Note::Lost { .. }
                | Note::Asked(_) => false,
            };
            // Newest last, and none takes longer than a client's patience: a look at the end is enough.
            self.notes.iter().rev().take(8192).filter(answered).count()
        };
        let rows = screen::rows(&state, lately);
        self.screen.show(now, &rows, self.failed);
    }

    pub(super) fn first_change(&self, region: &str, to: &str) -> Option<Instant> {
        self.health
            .iter()
            .filter(|(name, health, _)| name == region && health == to)
            .map(|(.., at)| *at)
            .min()
    }

    pub(super) fn last_change(&self, region: &str, to: &str) -> Option<Instant> {
        self.health
            .iter()
            .filter(|(name, health, _)| name == region && health == to)
            .map(|(.., at)| *at)
            .max()
    }

    pub(super) fn take_what_is_left(&mut self) {
        while let Ok(note) = self.incoming.try_recv() {
            self.note(note);
        }
    }

    /// Forgets what the screen no longer needs, and what was said about health.
    pub(super) fn forget(&mut self) {
        let now = Instant::now();
        self.notes.retain(|note| match note {
            Note::Short { ended, .. } => now - *ended < LATELY,
            Note::Settled { .. } | Note::Lost { .. } | Note::Asked(_) => false,
        });
        self.health.clear();
    }

    /// Forgets what was said about health: a new part of the story begins.
    pub(super) fn turn_page(&mut self) {
        self.health.clear();
    }

    /// The near region is dark since then.
    pub(super) fn dark_since(&mut self, since: Instant) {
        self.dark = Some(since);
        self.turn_page();
    }
}
