//! Which endpoints of a group may take new flows, as bits: what a pick reads instead of the endpoints themselves, so that a
//! group of thousands of which nearly all are down is told apart from one of which nearly all are up in a few cache lines.

/// A set of indices below a length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AvailableSet {
    words: Box<[u64]>,
    count: usize,
}

impl AvailableSet {
    /// Whether index `i` is in.
    pub fn contains(&self, i: usize) -> bool {
        self.words.get(i / 64).is_some_and(|word| word >> (i % 64) & 1 == 1)
    }

    /// How many are in.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl FromIterator<bool> for AvailableSet {
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
        Self { words: words.into(), count }
    }
}
