//! What the steps of the data way cost in instructions, against a stored baseline: a count does not depend on how busy the machine is.
//! It does depend on the compiler, so with another one than the baseline's the counts are printed and not judged.
//!
//! `UPDATE_INSTRUCTIONS=1 cargo test -p portolan-tests --test instructions` writes a new baseline.

#![expect(clippy::unwrap_used, reason = "a test's unwrap is an assertion")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use portolan_tests::peer;
use serde::{Deserialize, Serialize};
use serde_json::Value;

type Step = (&'static str, u32, f64);

/// A step of `proxy/src/counted.rs`, how often it is done in the shorter of two runs, and by how much its count may grow. What
/// hashes with a random seed, or meets another thread, varies from run to run: a flow wakes its worker more or less often.
const STEPS: [Step; 11] = [
    ("pick_among_10", 2000, 0.03),
    ("pick_among_1000", 2000, 0.03),
    ("pick_among_1000_by_source", 2000, 0.03),
    ("find_a_flow", 5000, 0.05),
    ("add_and_remove_a_flow", 5000, 0.05),
    ("write_proxy_v1", 2000, 0.03),
    ("write_proxy_v2", 2000, 0.03),
    ("read_proxy_v1", 2000, 0.03),
    ("read_proxy_v2", 2000, 0.03),
    ("relay_a_message", 1000, 0.05),
    ("a_short_flow", 300, 0.08),
];

/// How often a step is counted that takes more than it may; the least stands, since what other threads do only adds.
const TRIES: u32 = 4;

#[derive(Serialize, Deserialize)]
struct Baseline {
    rustc: String,
    /// Instructions a step.
    instructions: BTreeMap<String, u64>,
}

#[test]
fn no_step_of_the_data_way_takes_more_instructions_than_its_baseline() {
    let Some(valgrind) = peer::find("valgrind") else {
        return;
    };
    let program = counted_steps();
    let each = |step: &Step| (step.0.to_owned(), count_one(&valgrind, &program, step));
    let mut counted: BTreeMap<String, u64> = STEPS.iter().map(each).collect();
    if std::env::var_os("UPDATE_INSTRUCTIONS").is_some() {
        return write(counted);
    }
    let baseline: Baseline = serde_json::from_str(&fs::read_to_string(file()).unwrap()).unwrap();
    let judged = baseline.rustc == rustc();
    if !judged {
        peer::skip(&format!(
            "instructions are counted and not judged: the baseline is {}'s, this is {}",
            baseline.rustc,
            rustc()
        ));
    }
    for step in STEPS.iter().filter(|_| judged) {
        for _ in 1..TRIES {
            if more_than_allowed(step, &baseline.instructions, &counted).is_none() {
                break;
            }
            let least = counted[step.0].min(count_one(&valgrind, &program, step));
            counted.insert(step.0.to_owned(), least);
        }
    }
    for (step, _, _) in STEPS {
        let (before, now) = (baseline.instructions[step], counted[step]);
        let change = now as f64 / before as f64 * 100.0 - 100.0;
        println!("{step:<28}{before:>8} -> {now:>8}  {change:+.1} %");
    }
    let dearer = dearer(&baseline.instructions, &counted);
    assert!(
        dearer.is_empty() || !judged,
        "more instructions than the baseline allows; if that is right, UPDATE_INSTRUCTIONS=1 writes a new one: {dearer:#?}"
    );
}

/// Steps that take more than their baseline and what it may vary by.
fn dearer(baseline: &BTreeMap<String, u64>, counted: &BTreeMap<String, u64>) -> Vec<String> {
    let of = |step| more_than_allowed(step, baseline, counted);
    STEPS.iter().filter_map(of).collect()
}

fn more_than_allowed(
    (step, _, tolerance): &Step,
    baseline: &BTreeMap<String, u64>,
    counted: &BTreeMap<String, u64>,
) -> Option<String> {
    let (before, now) = (baseline[*step], counted[*step]);
    let most = before as f64 * (1.0 + tolerance);
    (now as f64 > most).then(|| format!("{step}: {before} -> {now}, at most {most:.0}"))
}

#[test]
fn a_step_that_gets_dearer_by_more_than_it_varies_by_is_named() {
    let baseline: BTreeMap<String, u64> = STEPS.map(|(step, ..)| (step.to_owned(), 1000)).into();
    let mut counted = baseline.clone();
    counted.insert("find_a_flow".into(), 1000 + 49);
    counted.insert("pick_among_10".into(), 500);
    assert_eq!(dearer(&baseline, &counted), [""; 0]);
    counted.insert("find_a_flow".into(), 1000 + 51);
    assert_eq!(
        dearer(&baseline, &counted),
        ["find_a_flow: 1000 -> 1051, at most 1050"]
    );
}

/// The data way's unit tests, optimized: their steps know what is private to it.
fn counted_steps() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "test",
            "--quiet",
            "--release",
            "-p",
            "portolan-proxy",
            "--lib",
        ])
        .args(["--no-run", "--message-format=json-render-diagnostics"])
        .current_dir(root())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let messages = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    // One test binary is asked for, so the only one that there is.
    let ours = |message: &Value| {
        let path = message["executable"].as_str().map(PathBuf::from);
        path.filter(|_| message["profile"]["test"] == true)
    };
    messages
        .filter_map(|message| ours(&message))
        .next_back()
        .unwrap()
}

/// Instructions that one such step takes.
fn count_one(valgrind: &Path, program: &Path, (step, times, _): &Step) -> u64 {
    let [once, twice] = [*times, times * 2].map(|n| count(valgrind, program, step, n));
    (twice - once) / u64::from(*times)
}

/// Instructions of a run that does the step `times` times, with all that it does before and after.
fn count(valgrind: &Path, program: &Path, step: &str, times: u32) -> u64 {
    let output = Command::new(valgrind)
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        // Else a thread keeps the processor for as long as chance has it, and the number of wake-ups with it.
        .arg("--fair-sched=yes")
        .arg(program)
        .args(["--exact", &format!("counted::{step}"), "--test-threads=1"])
        .env("COUNTED_TIMES", times.to_string())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let ran = String::from_utf8_lossy(&output.stdout).contains("running 1 test\n");
    assert!(output.status.success() && ran, "{step}: {said}");
    // ==12345== Collected : 67890
    let collected = said
        .lines()
        .find_map(|line| line.split_once("Collected : "));
    let (_, number) = collected.unwrap_or_else(|| panic!("{step}: {said}"));
    number.trim().parse().unwrap()
}

fn write(instructions: BTreeMap<String, u64>) {
    let baseline = Baseline {
        rustc: rustc(),
        instructions,
    };
    let text = serde_json::to_string_pretty(&baseline).unwrap();
    fs::write(file(), text + "\n").unwrap();
}

/// Release and architecture of the compiler.
fn rustc() -> String {
    let output = Command::new("rustc")
        .arg("-vV")
        .current_dir(root())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let field = |name: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(name));
        found.unwrap_or_default().trim().to_owned()
    };
    format!("rustc {} ({})", field("release:"), field("host:"))
}

fn file() -> PathBuf {
    root().join("benches/instructions.json")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
