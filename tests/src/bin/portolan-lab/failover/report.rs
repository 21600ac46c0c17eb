//! The report: what was measured, as tables and a picture, with the documented figures of who cannot be run here.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::contestants::{Check, Contestant};
use super::faults::Fault;
use super::place::NEAR;
use super::plot::{self, Dots, Group, Strip};
use super::run::Sample;
use super::statistics::{Spread, shown};

const COLOURS: [&str; 4] = ["#0b62c4", "#c44", "#d80", "#7a3ba8"];

/// AWS's own words, in milliseconds; there is no lab for them.
const DOCUMENTED: [(&str, &str, f64, f64); 2] = [
    (
        "Global Accelerator",
        "health checks every 10 or 30 s (default 30), three failures (default): 30 to 90 s by the numbers; AWS says \"within 30 seconds\" (docs.aws.amazon.com/global-accelerator: `HealthCheckIntervalSeconds`, `ThresholdCount`)",
        10_000.0,
        90_000.0,
    ),
    (
        "Route 53",
        "health checks every 10 s (fast) or 30 s, three failures, then the TTL of the record, 60 s, and resolvers that stretch it (docs.aws.amazon.com/Route53: `RequestInterval`, `FailureThreshold`)",
        90_000.0,
        150_000.0,
    ),
];

/// Writes `failover.md` and `failover.svg` from all samples of a folder.
pub(crate) fn write(folder: &Path, into: &Path) -> Result<()> {
    let mut samples: Vec<Sample> = Vec::new();
    for fault in Fault::ALL {
        let path = folder.join(format!("{}.jsonl", fault.word()));
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        for line in text.lines() {
            samples.push(serde_json::from_str(line).with_context(|| path.display().to_string())?);
        }
    }
    std::fs::create_dir_all(into)?;
    let mut page = head();
    let mut groups = Vec::new();
    for fault in Fault::ALL {
        page += &table(fault, &samples);
        groups.extend(strips(fault, &samples));
    }
    groups.push(documented());
    page += &super::pops::section(folder)?;
    page += &lateness(&samples);
    page += &super::disturbances::section(folder)?;
    page += &foot();
    std::fs::write(into.join("failover.md"), page)?;
    std::fs::write(into.join("failover.svg"), plot::svg(&groups))?;
    Ok(())
}

fn head() -> String {
    "# Failover, measured

`make failover` writes this page. In network namespaces with the delays of a WAN, one PoP runs all contestants at once, over the same endpoints
(processes of their own), so that one fault meets them all at the same moment (HAProxy with its defaults, which takes ten seconds, has worlds of
its own afterwards): three regions 2, 20 and 80 ms away are struck, one 90 ms away
takes over. Every contestant has 50 new connections a second and twelve that stay and speak every 20 ms, in each region. Everything is started anew
for each run, and struck at a random phase of everybody's schedule.

The figure is taken on the wire at the PoP: from the fault to **the last new connection that left for the dead place** (0: none did). Where there is no traffic it
is when the contestant's own state says that the place is dead. `lost` are clients' connections that began after the fault and had no answer in 3 s;
`slowest` is the slowest answer of the others. `let go` is when the last of the connections that stayed at the dead place was closed or reset
toward its client; `kept` are those that were still held when the run ended, seconds later.

![every run](failover.svg)

"
    .to_owned()
}

fn of(
    samples: &[Sample],
    fault: Fault,
    who: Contestant,
    rtt: u32,
) -> impl Iterator<Item = &Sample> + Clone {
    samples.iter().filter(move |sample| {
        sample.fault == fault.word() && sample.contestant == who.name() && sample.rtt == rtt
    })
}

fn table(fault: Fault, samples: &[Sample]) -> String {
    let mut rows = String::new();
    for rtt in NEAR {
        for who in Contestant::ALL {
            let chosen = of(samples, fault, who, rtt);
            let spread = Spread::of(chosen.clone().map(|sample| sample.last));
            if spread.is_empty() {
                continue;
            }
            let (median, worst) = fault.goal(rtt.into());
            let kept = spread.median() <= median && spread.worst() <= worst;
            let verdict = match (who == Contestant::Portolan, kept) {
                (false, _) => "",
                (true, true) => "kept",
                (true, false) => "**missed**",
            };
            let begun: usize = chosen.clone().map(|sample| sample.begun).sum();
            let failed: usize = chosen.clone().map(|sample| sample.failed).sum();
            let slowest = chosen
                .clone()
                .map(|sample| sample.slowest)
                .fold(0.0, f64::max);
            let (lost, slowest) = if fault.has_traffic() {
                (format!("{failed} of {begun}"), shown(slowest))
            } else {
                ("–".to_owned(), "–".to_owned())
            };
            let _ = writeln!(
                rows,
                "| {rtt} ms | {} | {} | {} | **{}** | {} | {verdict} | {lost} | {slowest} | {} |",
                who.name(),
                spread.values().len(),
                shown(spread.best()),
                shown(spread.median()),
                shown(spread.worst()),
                let_go(chosen),
            );
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    let goals: Vec<String> = NEAR
        .iter()
        .map(|rtt| {
            let (median, worst) = fault.goal(f64::from(*rtt));
            format!("{} / {} at {rtt} ms", shown(median), shown(worst))
        })
        .collect();
    format!(
        "## {}\n\nGoal (median / worst): {}.\n\n| RTT | | runs | best | median | worst | goal | lost | slowest | let go, median / worst |\n|---|---|---|---|---|---|---|---|---|---|\n{rows}\n",
        fault.title(),
        goals.join(", ")
    )
}

/// What the emulator may have added, so that nobody has to believe it.
fn lateness(samples: &[Sample]) -> String {
    let spread = Spread::of(samples.iter().map(|sample| sample.late));
    if spread.is_empty() {
        return String::new();
    }
    format!(
        "The emulator delivered its latest packet of a run {} after its time in the median run, {} in the worst.\n\n",
        shown(spread.median()),
        shown(spread.worst())
    )
}

fn let_go<'a>(samples: impl Iterator<Item = &'a Sample> + Clone) -> String {
    let stranded = samples.filter(|sample| sample.staying > 0);
    let kept = stranded
        .clone()
        .filter(|sample| sample.stranded.is_none())
        .count();
    let spread = Spread::of(stranded.clone().filter_map(|sample| sample.stranded));
    match (stranded.count(), kept) {
        (0, _) => "–".to_owned(),
        (all, kept) if kept == all => "kept".to_owned(),
        (_, 0) => format!("{} / {}", shown(spread.median()), shown(spread.worst())),
        (all, kept) => format!(
            "{} / {}; kept in {kept} of {all} runs",
            shown(spread.median()),
            shown(spread.worst())
        ),
    }
}

fn strips(fault: Fault, samples: &[Sample]) -> Vec<Group> {
    let mut groups = Vec::new();
    for rtt in NEAR {
        let mut strips = Vec::new();
        for (who, colour) in Contestant::ALL.into_iter().zip(COLOURS) {
            let spread = Spread::of(of(samples, fault, who, rtt).map(|sample| sample.last));
            if !spread.is_empty() {
                strips.push(Strip {
                    label: who.name().to_owned(),
                    dots: Dots::Runs(spread),
                    colour,
                });
            }
        }
        if !strips.is_empty() {
            groups.push(Group {
                title: format!("{}, RTT {rtt} ms", fault.title()),
                goal: Some(fault.goal(rtt.into()).0),
                strips,
            });
        }
    }
    groups
}

fn documented() -> Group {
    let strips = DOCUMENTED.map(|(label, _, from, to)| Strip {
        label: label.to_owned(),
        dots: Dots::Range(from, to),
        colour: "#888",
    });
    Group {
        title: "documented, silent death of an endpoint".to_owned(),
        goal: None,
        strips: strips.into(),
    }
}

fn foot() -> String {
    let mut out = "## Documented\n\n".to_owned();
    for (who, words, _, _) in DOCUMENTED {
        let _ = writeln!(out, "* **{who}**: {words}.");
    }
    out += "\n## Who was run, and how\n\n";
    for who in Contestant::ALL {
        let _ = writeln!(out, "* {}: `{}`", who.name(), who.version());
    }
    out += "\nChecks of faults that live traffic may find (each contestant's configuration, the first place's part):\n";
    for who in Contestant::ALL {
        let text = who.configuration(Check::Usual, Path::new("."));
        let _ = write!(
            out,
            "\n{}:\n\n```\n{}\n```\n",
            who.name(),
            first_part(&text)
        );
    }
    out += "\nIdle: Portolan `interval = \"100ms\", timeout = \"100ms\", threshold = 3`, HAProxy tuned `inter 100ms fall 3`, Envoy `interval: 0.1s, timeout: 0.1s, unhealthy_threshold: 3`. Hung application: Portolan `protocol = \"HTTP\", interval = \"500ms\", timeout = \"300ms\", fast_interval = \"100ms\", threshold = 2`, HAProxy `option httpchk`, tuned `inter 500ms fastinter 100ms fall 2`, Envoy `interval: 0.5s, timeout: 0.3s, unhealthy_interval: 0.1s, unhealthy_threshold: 2`. HAProxy's default has no tuning in any of them (`inter 2s fall 3`).\n";
    out
}

/// Enough to see how it is configured: places differ in names and ports alone.
fn first_part(text: &str) -> String {
    if text.starts_with('{') {
        let value: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
        let cluster = &value["static_resources"]["clusters"][0];
        return serde_json::to_string_pretty(cluster).unwrap_or_default();
    }
    let second = text
        .match_indices("\n[[accelerator.listener]]\n")
        .chain(text.match_indices("\nlisten "))
        .nth(1);
    second
        .map_or(text, |(at, _)| &text[..at])
        .trim_end()
        .to_owned()
}
