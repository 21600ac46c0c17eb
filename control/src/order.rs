//! The order of a listener's groups by distance from this PoP, with hysteresis. Sans-IO.
//!
//! The order of the file stands unless a difference of more than [`margin`] overturns it. Two groups whose places are known
//! change them after [`OVERTAKE_AFTER`] of such a difference; a group whose distance was unknown, or whose distance the
//! operator has just changed, is placed at once. Unknown comes last.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use portolan_config::units::Region;

use crate::handover::KnownGroup;

/// How long a group must have been the nearer one before it overtakes.
pub(crate) const OVERTAKE_AFTER: Duration = Duration::from_secs(30);

/// Differences up to this are noise, whatever the distance.
const MARGIN_FLOOR: Duration = Duration::from_millis(3);

/// Differences up to this share of the longer distance are noise.
const MARGIN_SHARE: f64 = 0.15;

/// What is known of a group's distance at one moment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Distance {
    pub(crate) region: Region,
    /// What the operator says it is; wins over what is measured.
    pub(crate) configured: Option<Duration>,
    /// The lowest round trip of its endpoints that are up and have a weight; `None` keeps the last one.
    pub(crate) measured: Option<Duration>,
}

/// The order of one listener's groups.
#[derive(Debug, Default)]
pub(crate) struct Order {
    /// By the index of the last update.
    groups: Vec<Known>,
    /// Indices into `groups`, nearest first.
    ranking: Vec<usize>,
    /// Since when the first region has been nearer than the second by more than the margin, while ranked behind it.
    nearer_since: HashMap<(Region, Region), Instant>,
}

#[derive(Clone, Debug)]
struct Known {
    region: Region,
    configured: Option<Duration>,
    distance: Option<Duration>,
}

impl Order {
    /// Takes in what is known, in the order of the file, and ranks anew.
    pub(crate) fn update(&mut self, distances: &[Distance], now: Instant) {
        let unsettled = self.take_in(distances);
        for index in unsettled {
            self.place(index);
        }
        self.overtake(now);
    }

    /// What a successor should begin with: the groups, nearest first, and who has been nearer than one before it for how long.
    pub(crate) fn known(&self, now: Instant) -> (Vec<KnownGroup>, Vec<(String, String, Duration)>) {
        let groups = self.ranking.iter().map(|index| {
            let Known {
                region,
                configured,
                distance,
            } = &self.groups[*index];
            KnownGroup {
                region: region.to_string(),
                configured: *configured,
                distance: *distance,
            }
        });
        let nearer = self.nearer_since.iter().map(|((behind, front), since)| {
            let span = now.saturating_duration_since(*since);
            (behind.to_string(), front.to_string(), span)
        });
        (groups.collect(), nearer.collect())
    }

    /// Goes on where another process stopped.
    pub(crate) fn recalled(
        groups: Vec<KnownGroup>,
        nearer: Vec<(String, String, Duration)>,
        now: Instant,
    ) -> Self {
        let ago = |span: Duration| now.checked_sub(span).unwrap_or(now);
        let groups: Vec<Known> = groups
            .into_iter()
            .map(|group| Known {
                region: Region::new(group.region),
                configured: group.configured,
                distance: group.distance,
            })
            .collect();
        let nearer = nearer
            .into_iter()
            .map(|(behind, front, span)| ((Region::new(behind), Region::new(front)), ago(span)));
        Self {
            ranking: (0..groups.len()).collect(),
            groups,
            nearer_since: nearer.collect(),
        }
    }

    /// Indices into what the last update was given, nearest first.
    pub(crate) fn ranking(&self) -> &[usize] {
        &self.ranking
    }

    /// The distance by which a group is ranked; `None` while unknown.
    pub(crate) fn distance(&self, index: usize) -> Option<Duration> {
        self.groups[index].distance
    }

    /// Notes distances; returns those that are to be placed at once, and leaves the others in their order.
    fn take_in(&mut self, distances: &[Distance]) -> Vec<usize> {
        let old: HashMap<Region, (usize, Known)> = self
            .ranking
            .iter()
            .enumerate()
            .map(|(rank, index)| {
                (
                    self.groups[*index].region.clone(),
                    (rank, self.groups[*index].clone()),
                )
            })
            .collect();
        let mut unsettled = Vec::new();
        let mut settled = Vec::new();
        self.groups.clear();
        for (index, group) in distances.iter().enumerate() {
            let before = old.get(&group.region);
            let last = before.and_then(|(_, known)| known.distance);
            let distance = group.configured.or(group.measured).or(last);
            match before {
                Some((rank, known)) if last.is_some() && known.configured == group.configured => {
                    settled.push((*rank, index));
                }
                Some(_) | None => unsettled.push(index),
            }
            let (region, configured) = (group.region.clone(), group.configured);
            self.groups.push(Known {
                region,
                configured,
                distance,
            });
        }
        settled.sort_unstable();
        self.ranking = settled.into_iter().map(|(_, index)| index).collect();
        unsettled
    }

    /// Puts a group where its distance and the order of the file want it, without waiting.
    fn place(&mut self, index: usize) {
        let rank = self
            .ranking
            .iter()
            .position(|other| self.goes_before(index, *other));
        self.ranking
            .insert(rank.unwrap_or(self.ranking.len()), index);
    }

    fn goes_before(&self, a: usize, b: usize) -> bool {
        match (self.groups[a].distance, self.groups[b].distance) {
            (Some(_), Some(_)) => self.is_nearer(a, b) || (!self.is_nearer(b, a) && a < b),
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => a < b,
        }
    }

    /// Whether `a` is nearer than `b` by more than noise. What the operator wrote has none.
    fn is_nearer(&self, a: usize, b: usize) -> bool {
        let (a, b) = (&self.groups[a], &self.groups[b]);
        match (a.distance, b.distance) {
            (Some(x), Some(y)) if a.configured.is_some() && b.configured.is_some() => x < y,
            (Some(x), Some(y)) => x + margin(y) < y,
            (Some(_) | None, None) | (None, Some(_)) => false,
        }
    }

    /// Lets those overtake that have been nearer for long enough, the nearest of them first.
    fn overtake(&mut self, now: Instant) {
        self.note_nearer(now);
        let mut by_distance = self.ranking.clone();
        by_distance.sort_by_key(|index| self.groups[*index].distance);
        for index in by_distance {
            let Some(rank) = self.ranking.iter().position(|other| *other == index) else {
                continue;
            };
            let overtaken = self.ranking[..rank]
                .iter()
                .position(|front| self.may_overtake(index, *front, now));
            if let Some(new_rank) = overtaken {
                self.ranking.remove(rank);
                self.ranking.insert(new_rank, index);
            }
        }
    }

    fn note_nearer(&mut self, now: Instant) {
        let mut noted = HashMap::new();
        for (rank, behind) in self.ranking.iter().enumerate() {
            for front in &self.ranking[..rank] {
                if self.is_nearer(*behind, *front) {
                    let pair = self.pair(*behind, *front);
                    let since = self.nearer_since.get(&pair).copied().unwrap_or(now);
                    noted.insert(pair, since);
                }
            }
        }
        self.nearer_since = noted;
    }

    fn may_overtake(&self, behind: usize, front: usize, now: Instant) -> bool {
        self.nearer_since
            .get(&self.pair(behind, front))
            .is_some_and(|since| now.saturating_duration_since(*since) >= OVERTAKE_AFTER)
    }

    fn pair(&self, behind: usize, front: usize) -> (Region, Region) {
        (
            self.groups[behind].region.clone(),
            self.groups[front].region.clone(),
        )
    }
}

fn margin(longer: Duration) -> Duration {
    longer.mul_f64(MARGIN_SHARE).max(MARGIN_FLOOR)
}

#[cfg(test)]
mod tests;
