//! What the project's README tells of the stored results: made from them, so that it cannot tell anything else.

use std::fmt::Write;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::report::{self, Sample};
use crate::workload;

/// As far as it is told.
#[derive(Deserialize)]
struct Results {
    host: String,
    commit: String,
    commands: Vec<String>,
    repetitions: usize,
    seconds: f64,
    targets: Vec<Target>,
    samples: Vec<Sample>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    version: String,
}

/// The section, of the text of `load.json`.
pub fn section(results: &str) -> Result<String> {
    let results: Results = serde_json::from_str(results).context("the results of a run")?;
    let rows = report::rows(&results.samples);
    let mut text = format!(
        "`make bench` at commit {} ({}), {} repetitions of {} s, interleaved, medians. {}; generator, endpoints and target share it over loopback.\n",
        results.commit,
        spoken(&results.commands),
        results.repetitions,
        results.seconds,
        results.host
    );
    let versions = results.targets.iter().filter(|t| !t.version.is_empty());
    let versions: Vec<String> = versions
        // Both settings of a peer are the same program.
        .filter(|target| !target.name.ends_with("-256k"))
        .map(|target| format!("{}: {}", target.name, short(&target.version)))
        .collect();
    let _ = writeln!(text, "{}.\n", versions.join("; "));
    text += &report::judgements(&report::judge(&rows));
    text.push('\n');
    text += &report::summary(&rows, &workload::all());
    Ok(text)
}

fn spoken(commands: &[String]) -> String {
    let commands: Vec<String> = commands.iter().map(|c| format!("`{}`", c.trim())).collect();
    commands.join(", ")
}

/// Without where the program lies, and what else it says of itself.
fn short(version: &str) -> &str {
    let from = version.rfind("version: ").map_or(0, |at| at + 9);
    let rest = &version[from..];
    rest.split(" 20").next().unwrap_or(rest).trim()
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn versions_are_said_shortly() {
        assert_eq!(
            short("HAProxy version 2.6.12-1+deb12u4 2025/10/01 - https://haproxy.org/"),
            "HAProxy version 2.6.12-1+deb12u4"
        );
        assert_eq!(
            short("/a/envoy  version: 9e55/1.40.0/Clean"),
            "9e55/1.40.0/Clean"
        );
    }
}
