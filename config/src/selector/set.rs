//! A set of the endpoints of a group as bits: what a pick reads instead of the endpoints themselves, so that a group of
//! thousands of which nearly all are down costs a few cache lines.

/// A set of indices into the endpoints of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointSet {
    words: Box<[u64]>,
    count: usize,
}

impl EndpointSet {
    /// Whether the endpoint at index `i` is in.
    pub fn contains(&self, i: usize) -> bool {
        self.words
            .get(i / 64)
            .is_some_and(|word| (word >> (i % 64)) & 1 == 1)
    }

    /// How many are in.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Those that are in, ascending. Words without any are passed over.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(place, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros() as usize;
                left &= left.wrapping_sub(1);
                (bit < 64).then_some(place * 64 + bit)
            })
        })
    }
}

impl FromIterator<bool> for EndpointSet {
    fn from_iter<T: IntoIterator<Item = bool>>(bits: T) -> Self {
        let mut words = Vec::new();
        let mut count = 0;
        for (i, bit) in bits.into_iter().enumerate() {
            if i % 64 == 0 {
                words.push(0);
            }
            words[i / 64] |= u64::from(bit) << (i % 64);
            count += usize::from(bit);
        }
        Self {
            words: words.into(),
            count,
        }
    }
}
