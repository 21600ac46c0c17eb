//! What is told of many runs: never a mean.

/// Of one fault, one contestant, one distance.
#[derive(Clone, Debug)]
pub(crate) struct Spread {
    sorted: Vec<f64>,
}

impl Spread {
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Spread {
        let mut sorted: Vec<f64> = values.collect();
        sorted.sort_by(f64::total_cmp);
        Spread { sorted }
    }

    pub(crate) fn values(&self) -> &[f64] {
        &self.sorted
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// Of an even number the upper one of the middle.
    pub(crate) fn median(&self) -> f64 {
        self.sorted
            .get(self.sorted.len() / 2)
            .copied()
            .unwrap_or(f64::NAN)
    }

    pub(crate) fn worst(&self) -> f64 {
        self.sorted.last().copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn best(&self) -> f64 {
        self.sorted.first().copied().unwrap_or(f64::NAN)
    }
}

/// Milliseconds for people.
pub(crate) fn shown(milliseconds: f64) -> String {
    match milliseconds {
        value if value.is_nan() => "–".to_owned(),
        value if value < 10.0 => format!("{value:.1} ms"),
        value if value < 1000.0 => format!("{value:.0} ms"),
        value => format!("{:.2} s", value / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_the_ends() {
        let spread = Spread::of([5.0, 1.0, 3.0].into_iter());
        assert_eq!(
            (spread.best(), spread.median(), spread.worst()),
            (1.0, 3.0, 5.0)
        );
        assert!(Spread::of(std::iter::empty()).median().is_nan());
    }

    #[test]
    fn units_as_people_read_them() {
        assert_eq!(shown(4.25), "4.2 ms");
        assert_eq!(shown(254.4), "254 ms");
        assert_eq!(shown(6300.0), "6.30 s");
    }
}
