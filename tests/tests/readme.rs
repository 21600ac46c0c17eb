//! What README shows can be done as it stands, and looks as it says.

use std::path::Path;
use std::process::Command;

use portolan_tests::{binary, peer};

fn readme() -> String {
    std::fs::read_to_string(binary::root().join("README.md")).expect("README.md is there")
}

#[test]
fn its_file_is_valid() {
    let readme = readme();
    let (_, rest) = readme.split_once("<<'TOML'\n").expect("it writes a file");
    let (file, _) = rest.split_once("\nTOML\n").expect("the file ends");
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let path = directory.path().join("portolan.toml");
    std::fs::write(&path, file).expect("it is writable");
    let check = Command::new(binary::portolan())
        .arg("check")
        .arg("--config")
        .arg(&path)
        .output()
        .expect("portolan can be run");
    assert!(check.status.success(), "{check:?}");
}

#[test]
fn every_command_that_it_names_is_there() {
    let readme = readme();
    let rows = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| `portolan "));
    let mut named = 0;
    for row in rows {
        let command = row
            .split([' ', '`'])
            .next()
            .expect("a row names its command");
        let help = Command::new(binary::portolan())
            .args([command, "--help"])
            .output()
            .expect("portolan can be run");
        assert!(help.status.success(), "portolan {command}: {help:?}");
        named += 1;
    }
    assert!(named >= 6, "{named} commands in README's table");
}

/// A command of README's tour, and what README says that it prints.
struct Step {
    command: String,
    shown: Vec<String>,
}

/// The commands of the section that begins with this heading, in order.
fn steps(heading: &str) -> Vec<Step> {
    let readme = readme();
    let (_, section) = readme.split_once(heading).expect("README has the section");
    let (section, _) = section.split_once("\n## ").expect("another one follows");
    let mut steps: Vec<Step> = Vec::new();
    for fence in section.split("```console\n").skip(1) {
        let (block, _) = fence.split_once("\n```").expect("a fence is closed");
        for line in block.lines() {
            let open = steps
                .last_mut()
                .filter(|step| step.command.contains("<<'TOML'"))
                .filter(|step| !step.command.ends_with("\nTOML"));
            if let Some(step) = open {
                step.command += &format!("\n{line}");
            } else if let Some(command) = line.strip_prefix("$ ") {
                steps.push(Step {
                    command: command.to_owned(),
                    shown: Vec::new(),
                });
            } else {
                let step = steps.last_mut().expect("a block begins with a command");
                step.shown.push(line.to_owned());
            }
        }
    }
    steps
}

/// The tour as a script: what a reader waits for by eye, it waits for by asking.
fn script(steps: &[Step]) -> String {
    let mut script = String::from("set -m\nexec 2>&1\nip link set lo up\n");
    let wait = |what: &str| format!("for _ in $(seq 600); do {what} && break; sleep 0.05; done\n");
    for (number, step) in steps.iter().enumerate() {
        if step.command == "portolan status" && step.shown.iter().any(|l| l.contains("DOWN")) {
            script += &wait("portolan status | grep -q DOWN");
        }
        script += &match step.command.strip_suffix('&') {
            Some(job) => format!("echo '@@{number}'\n{job} >>jobs.log 2>&1 &\n"),
            None => format!("echo '@@{number}'\n{}\n", patient(&step.command)),
        };
        if step.command.contains("http.server") {
            let port = step.command.split("127.0.0.1 ").nth(1).expect("a port");
            let port = port.split(' ').next().expect("a port");
            script += &wait(&format!("curl -so /dev/null http://127.0.0.1:{port}"));
        } else if step.command.ends_with('&') {
            script += &wait("curl -sfo /dev/null http://127.0.0.1:9900/readyz");
        }
    }
    script + "echo '@@end'\nkill $(jobs -p)\n"
}

/// A reader is slower than a process that is told to end.
fn patient(command: &str) -> String {
    command.replace("kill %1 &&", "kill %1 && { wait %1; true; } 2>/dev/null &&")
}

/// A line without what differs from run to run: figures, widths, names of the machine, how a log line begins.
fn shape(line: &str) -> String {
    let mut shape = String::new();
    // As the kernel allows.
    let line = line.replace("relay epoll", "relay io_uring");
    for word in line.split_whitespace() {
        let digits = |c: char| if c.is_ascii_digit() { '#' } else { c };
        shape.extend(word.chars().map(digits));
        shape.push(' ');
    }
    while shape.contains("##") {
        shape = shape.replace("##", "#");
    }
    shape
}

/// Whether lines are what README shows: `...` stands for any lines.
fn is_shown(shown: &[String], printed: &[&str]) -> bool {
    let Some((first, rest)) = shown.split_first() else {
        return printed.is_empty();
    };
    if first == "..." {
        return (0..=printed.len()).any(|skipped| is_shown(rest, &printed[skipped..]));
    }
    let fits = |line: &&str| shape(first) == shape(line);
    printed.first().is_some_and(fits) && is_shown(rest, &printed[1..])
}

#[test]
fn its_tour_can_be_walked_as_it_stands() {
    let tools = ["unshare", "ip", "curl", "python3"];
    if !tools.into_iter().all(|tool| peer::find(tool).is_some()) {
        return;
    }
    // The tour's ports are its own, in a network namespace of its own.
    let apart = ["--user", "--map-root-user", "--net"];
    let probe = Command::new("unshare").args(apart).arg("true").output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        return peer::skip("this user may not make a network namespace");
    }
    let steps = steps("## Five minutes");
    assert!(steps.len() >= 10, "{} commands", steps.len());
    let place = tempfile::tempdir().expect("a temporary directory");
    let script = script(&steps).replace("/tmp/", &format!("{}/", place.path().display()));
    link_binary(place.path());

    let run = Command::new("timeout")
        .args(["300", "unshare"])
        .args(apart)
        .args(["bash", "-c", &script])
        .current_dir(place.path())
        .output()
        .expect("bash can be run");

    let text = String::from_utf8_lossy(&run.stdout);
    for (number, step) in steps.iter().enumerate() {
        let (_, from) = text
            .split_once(&format!("@@{number}\n"))
            .unwrap_or_else(|| panic!("it never came to {}: {run:?}", step.command));
        let (printed, _) = from.split_once("@@").expect("another mark follows");
        if step.command.ends_with('&') {
            continue;
        }
        // A shell tells of its jobs when it likes to.
        let printed = printed.lines().filter(|line| !line.starts_with('['));
        let printed: Vec<&str> = printed.collect();
        assert!(
            is_shown(&step.shown, &printed),
            "$ {}\nREADME shows:\n{}\n\nit printed:\n{}",
            step.command,
            step.shown.join("\n"),
            printed.join("\n")
        );
    }
}

/// Puts the binary where the tour looks for it: below `target/debug` of where the reader is.
fn link_binary(place: &Path) {
    let directory = place.join("target/debug");
    std::fs::create_dir_all(&directory).expect("it is writable");
    std::os::unix::fs::symlink(binary::portolan(), directory.join("portolan"))
        .expect("a link can be made");
}
