//! What the demo shows while it runs: a table drawn over itself on a terminal, a line a second elsewhere. Headlines stay above it.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use portolan_control::state::{EndpointView, StateView};

/// How often the table is drawn again on a terminal.
const FRAME: Duration = Duration::from_millis(200);
/// How often a line is written elsewhere.
const LINE: Duration = Duration::from_secs(1);

/// Where the demo is shown.
pub(super) struct Screen {
    terminal: bool,
    began: Instant,
    next: Instant,
    /// Lines of the table that stand on the terminal now.
    drawn: usize,
}

/// One region as it is shown.
pub(super) struct Row<'a> {
    /// Its name.
    pub(super) region: &'a str,
    /// Distance in milliseconds, as the edge sees it.
    pub(super) distance_ms: Option<f64>,
    /// The health of its endpoints, as the edge sees it.
    pub(super) health: String,
    /// Why it is not up.
    pub(super) reason: Option<&'a str>,
    /// Flows that it has.
    pub(super) flows: u64,
    /// Connections that it answered in the last second, as the clients counted them.
    pub(super) answered: usize,
}

/// Short connections that failed so far.
#[derive(Clone, Copy, Default)]
pub(super) struct Failed {
    /// Begun when all was well, or while the region was dark.
    pub(super) new: usize,
    /// Begun before the region went dark, and with it when it did.
    pub(super) in_flight: usize,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed {}", self.new)?;
        if self.in_flight > 0 {
            write!(f, " (and {} in flight when it went dark)", self.in_flight)?;
        }
        Ok(())
    }
}

impl Screen {
    /// On standard output.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            terminal: io::stdout().is_terminal(),
            began: now,
            next: now,
            drawn: 0,
        }
    }

    /// Says something that stays.
    pub(super) fn headline(&mut self, now: Instant, text: &str) {
        self.wipe();
        put(&format!(
            "{:5.1} s  {text}\n",
            (now - self.began).as_secs_f64()
        ));
        self.next = now;
    }

    /// Whether it is time to show something again.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now >= self.next
    }

    /// Shows how things stand.
    pub(super) fn show(&mut self, now: Instant, rows: &[Row<'_>], failed: Failed) {
        if self.terminal {
            self.next = now + FRAME;
            self.wipe();
            let table = table(rows, failed);
            self.drawn = table.lines().count();
            put(&table);
        } else {
            self.next = now + LINE;
            put(&format!(
                "{:5.1} s    {}\n",
                (now - self.began).as_secs_f64(),
                line(rows, failed)
            ));
        }
    }

    /// Takes the table away.
    pub(super) fn wipe(&mut self) {
        if self.drawn > 0 {
            put(&format!("\x1b[{}A\x1b[J", self.drawn));
            self.drawn = 0;
        }
    }
}

/// A closed pipe is the reader's wish: the demo goes on for its exit code.
fn put(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// The rows of a state, with what the clients counted: a region each, whatever the listener.
pub(super) fn rows<'a>(state: &'a StateView, answered: impl Fn(&str) -> usize) -> Vec<Row<'a>> {
    let groups = state
        .accelerators
        .iter()
        .flat_map(|accelerator| &accelerator.listeners)
        .flat_map(|listener| &listener.endpoint_groups);
    let mut regions: Vec<(&str, Option<f64>, Vec<&EndpointView>)> = Vec::new();
    for group in groups {
        let place = regions.iter().position(|(name, ..)| *name == group.region);
        let place = place.unwrap_or_else(|| {
            regions.push((&group.region, group.distance_ms, Vec::new()));
            regions.len() - 1
        });
        regions[place].2.extend(&group.endpoints);
    }
    regions
        .into_iter()
        .map(|(region, distance_ms, endpoints)| Row {
            region,
            distance_ms,
            health: health(&endpoints),
            reason: endpoints
                .iter()
                .find_map(|endpoint| endpoint.health_reason.as_deref()),
            flows: endpoints.iter().map(|endpoint| endpoint.active_flows).sum(),
            answered: answered(region),
        })
        .collect()
}

/// `UP`, or `UP 1/2` when its endpoints differ.
fn health(endpoints: &[&EndpointView]) -> String {
    let Some(first) = endpoints.first() else {
        return "-".into();
    };
    if endpoints
        .iter()
        .all(|endpoint| endpoint.health == first.health)
    {
        return first.health.clone();
    }
    let up = endpoints
        .iter()
        .filter(|endpoint| endpoint.health == "UP")
        .count();
    format!("UP {up}/{}", endpoints.len())
}

fn table(rows: &[Row<'_>], failed: Failed) -> String {
    let mut table = format!(
        "\n   {:<14}{:>7}  {:<8}{:>6}{:>8}\n",
        "region", "away", "health", "flows", "new/s"
    );
    for row in rows {
        let away = row
            .distance_ms
            .map_or("-".into(), |ms| format!("{ms:.0} ms"));
        let bar = "█".repeat((row.answered / 10).min(24));
        let note = row.reason.unwrap_or(&bar);
        let note: String = note.chars().take(28).collect();
        table.push_str(&format!(
            "   {:<14}{away:>7}  {:<8}{:>6}{:>8}  {note}\n",
            row.region, row.health, row.flows, row.answered
        ));
    }
    table.push_str(&format!("   connections {failed}\n"));
    table
}

fn line(rows: &[Row<'_>], failed: Failed) -> String {
    let regions: Vec<String> = rows
        .iter()
        .map(|row| {
            format!(
                "{} {} {} flows {}/s",
                row.region, row.health, row.flows, row.answered
            )
        })
        .collect();
    format!("{} | {failed}", regions.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(region: &str, answered: usize) -> Row<'_> {
        Row {
            region,
            distance_ms: Some(8.0),
            health: "UP".into(),
            reason: None,
            flows: 60,
            answered,
        }
    }

    #[test]
    fn a_table_is_as_wide_as_an_old_terminal() {
        let mut down = row("eu-central-1", 0);
        down.reason = Some("no answer in time, three times in a row, from this PoP");
        let table = table(
            &[down, row("eu-west-1", 100_000)],
            Failed {
                new: 100,
                in_flight: 1000,
            },
        );
        assert!(
            table.lines().all(|line| line.chars().count() < 80),
            "{table}"
        );
    }

    #[test]
    fn a_line_says_it_all() {
        assert_eq!(
            line(
                &[row("eu-west-1", 200)],
                Failed {
                    new: 1,
                    in_flight: 0
                }
            ),
            "eu-west-1 UP 60 flows 200/s | failed 1"
        );
    }
}
