//! When the ways are to be told of a picture: at once when it is another one, after a while when they failed, and now and then to see
//! whether routers still run with it. Pure: the time is an argument.

use std::time::{Duration, Instant};

use portolan_config::model::Announce;

use super::plan::Picture;

/// How often it is asked whether routers still run with what was written.
const READ_BACK: Duration = Duration::from_secs(10);

/// How long after it failed the same is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What was told last, and what was last taken.
#[derive(Debug, Default)]
pub(super) struct Pace {
    last: Option<Try>,
    /// By which settings, and what.
    taken: Option<(Announce, Picture)>,
}

#[derive(Debug)]
struct Try {
    announce: Announce,
    picture: Picture,
    at: Instant,
    error: Option<String>,
}

impl Pace {
    /// Whether the ways are to be told of this picture.
    pub(super) fn is_due(&self, announce: &Announce, picture: &Picture, now: Instant) -> bool {
        let same = |last: &&Try| last.announce == *announce && last.picture == *picture;
        self.last.as_ref().filter(same).is_none_or(|last| {
            let pause = last.error.as_ref().map_or(READ_BACK, |_| RETRY);
            now.saturating_duration_since(last.at) >= pause
        })
    }

    /// Whether the ways have this picture, as far as they said.
    pub(super) fn is_taken(&self, announce: &Announce, picture: &Picture) -> bool {
        let taken = self.taken.as_ref();
        taken.is_some_and(|(by, last)| by == announce && last == picture)
    }

    /// What they took last.
    pub(super) fn taken(&self) -> Option<&Picture> {
        self.taken.as_ref().map(|(_, picture)| picture)
    }

    /// By which settings they were told last.
    pub(super) fn settings(&self) -> Option<&Announce> {
        self.last.as_ref().map(|last| &last.announce)
    }

    /// Why the last try came to nothing.
    pub(super) fn error(&self) -> Option<&str> {
        self.last.as_ref()?.error.as_deref()
    }

    /// Notes what came of telling them.
    pub(super) fn tried(
        &mut self,
        announce: &Announce,
        picture: &Picture,
        error: Option<String>,
        at: Instant,
    ) {
        let (announce, picture) = (announce.clone(), picture.clone());
        if error.is_none() {
            self.taken = Some((announce.clone(), picture.clone()));
        }
        self.last = Some(Try {
            announce,
            picture,
            at,
            error,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::Style;
    use super::*;

    fn settings(prepend: u8) -> Announce {
        Announce {
            interface: None,
            bird: None,
            exec: Some(vec!["announce".to_owned()]),
            asn: None,
            prepend,
            drain: Duration::ZERO,
            hold: Duration::ZERO,
            self_check: None,
        }
    }

    fn one() -> Picture {
        Picture::from([("203.0.113.10/32".parse().expect("IPv4"), Style::Normal)])
    }

    #[test]
    fn another_picture_or_other_settings_are_told_at_once() {
        let now = Instant::now();
        let mut pace = Pace::default();
        assert!(pace.is_due(&settings(3), &one(), now));
        pace.tried(&settings(3), &one(), None, now);
        assert!(!pace.is_due(&settings(3), &one(), now));
        assert!(pace.is_due(&settings(3), &Picture::new(), now));
        assert!(pace.is_due(&settings(4), &one(), now));
        assert!(!pace.is_due(&settings(3), &one(), now + READ_BACK / 2));
        assert!(pace.is_due(&settings(3), &one(), now + READ_BACK));
    }

    #[test]
    fn what_failed_is_tried_again_after_its_pause_and_no_sooner() {
        let now = Instant::now();
        let mut pace = Pace::default();
        pace.tried(&settings(3), &one(), None, now);
        let none = Picture::new();
        pace.tried(&settings(3), &none, Some("no".into()), now);
        assert_eq!((pace.taken(), pace.error()), (Some(&one()), Some("no")));
        assert!(!pace.is_taken(&settings(3), &none));
        assert!(!pace.is_due(&settings(3), &none, now + RETRY / 10));
        assert!(pace.is_due(&settings(3), &none, now + RETRY));
        // They may have half of it.
        assert!(pace.is_due(&settings(3), &one(), now));
        pace.tried(&settings(3), &none, None, now + RETRY);
        assert!(pace.is_taken(&settings(3), &none));
        assert_eq!(pace.error(), None);
    }
}
