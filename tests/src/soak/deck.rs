//! Random order without luck: everything comes as often as it is in the deck before anything comes once more.

use rand::Rng;
use rand::seq::SliceRandom as _;

/// What is drawn from.
pub(super) struct Deck<T> {
    all: Vec<T>,
    left: Vec<T>,
}

impl<T: Copy> Deck<T> {
    /// Of these, of which there is one at least.
    pub(super) fn of(all: &[T]) -> Self {
        Self {
            all: all.to_vec(),
            left: Vec::new(),
        }
    }

    /// The next one.
    pub(super) fn draw(&mut self, random: &mut impl Rng) -> T {
        if self.left.is_empty() {
            self.left.clone_from(&self.all);
            self.left.shuffle(random);
        }
        self.left.pop().expect("a deck is not empty")
    }
}
