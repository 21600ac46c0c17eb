//! Exact shares for any number of endpoints: weights laid end to end, and a point on the line.

use super::Member;

/// The endpoints with a weight in the order of their id hashes, and where each one's stretch of the line ends.
#[derive(Debug)]
pub(super) struct Line {
    indices: Box<[u32]>,
    ends: Box<[u64]>,
}

impl Line {
    pub(super) fn of(members: &[Member]) -> Line {
        let mut indices: Vec<u32> = (0..members.len() as u32)
            .filter(|i| members[*i as usize].weight > 0)
            .collect();
        indices.sort_by_key(|i| members[*i as usize].id_hash);
        let ends = indices.iter().scan(0, |end, i| {
            *end += members[*i as usize].weight;
            Some(*end)
        });
        Line {
            ends: ends.collect(),
            indices: indices.into(),
        }
    }

    /// The endpoint on whose stretch the hash falls.
    pub(super) fn at(&self, hash: u64) -> Option<usize> {
        let total = self.ends.last()?;
        let point = ((u128::from(hash) * u128::from(*total)) >> 64) as u64;
        let place = self.ends.partition_point(|end| *end <= point);
        self.indices.get(place).map(|i| *i as usize)
    }
}
