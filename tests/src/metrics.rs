//! Prometheus text, read as far as tests need it.

/// One scrape.
#[derive(Clone, Debug)]
pub struct Metrics(String);

impl Metrics {
    /// Wraps a scraped page.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The page.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The sum of all series of `name` (without the prefix `portolan_`) that have all of `labels`.
    ///
    /// # Panics
    /// When there is no such series: what is counted is there with 0 from the start.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let name = format!("portolan_{name}");
        let matches = |line: &&str| {
            line.strip_prefix(&name)
                .is_some_and(|rest| rest.starts_with(['{', ' ']))
                && labels
                    .iter()
                    .all(|(key, value)| line.contains(&format!("{key}=\"{value}\"")))
        };
        let values: Vec<f64> = self
            .0
            .lines()
            .filter(matches)
            .map(|line| {
                line.rsplit(' ')
                    .next()
                    .unwrap_or_default()
                    .parse()
                    .unwrap_or(f64::NAN)
            })
            .collect();
        assert!(
            !values.is_empty(),
            "no series {name} {labels:?} in:\n{}",
            self.0
        );
        values.iter().sum()
    }
}
