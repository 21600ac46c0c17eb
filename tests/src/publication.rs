//! `portolan dns` as an operator runs it: a file, a plan, its application.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::{aws, binary};

/// Thousands of records are read, planned and written within one command.
const LONGEST: Duration = Duration::from_secs(120);

/// A PoP's file.
pub struct Pop {
    directory: TempDir,
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    /// How it ended.
    pub code: Option<i32>,
    /// What it wrote.
    pub out: String,
    /// What it wrote beside that.
    pub err: String,
}

impl Said {
    /// What it wrote, as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A file with `[pop]`, `[dns]` in mode sync, and the rest as given.
pub fn toml(pop: &str, aws: &str, records: &str) -> String {
    format!(
        "[pop]\nname = \"{pop}\"\naddresses = [\"198.51.100.7\", \"2001:db8::7\"]\n[readiness]\nlisten = \"127.0.0.1:0\"\n{aws}\n\
         [dns]\nhosted_zone = \"example.com\"\nowner = \"edge\"\nmode = \"sync\"\n{records}\n\
         [[accelerator]]\nname = \"shop\"\naddresses = [\"203.0.113.1\", \"203.0.113.2\"]\n\
         [[accelerator]]\nname = \"one\"\naddresses = [\"203.0.113.9\"]\n"
    )
}

/// A `[[dns.record]]`.
pub fn record(name: &str, lines: &str) -> String {
    format!("[[dns.record]]\nname = \"{name}.example.com\"\n{lines}\n")
}

impl Pop {
    /// With this file.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn new(toml: &str) -> Pop {
        let directory = tempfile::tempdir().expect("there is a temporary directory");
        let pop = Pop { directory };
        pop.rewrite(toml);
        pop
    }

    /// Another file in its place.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn rewrite(&self, toml: &str) {
        std::fs::write(self.file(), toml).expect("it is writable");
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("portolan.toml")
    }

    /// `portolan dns` with these arguments and the file.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.of("dns", arguments)
    }

    fn of(&self, of: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary::portolan());
        command.arg(of).args(arguments).arg("--config");
        command.arg(self.file()).stdin(Stdio::null());
        for (name, value) in aws::credentials() {
            command.env(name, value);
        }
        command
    }

    /// Runs it to its end.
    pub async fn run(&self, arguments: &[&str]) -> Said {
        end(self.command(arguments)).await
    }

    /// The same with `portolan aws`.
    pub async fn run_aws(&self, arguments: &[&str]) -> Said {
        end(self.of("aws", arguments)).await
    }
    /// The plan as JSON, which must be what the exit code says.
    pub async fn plan(&self, more: &[&str]) -> Value {
        let said = self.run(&[&["plan", "--json"], more].concat()).await;
        let plan = said.json();
        let is_empty = plan["groups"].as_array().is_some_and(Vec::is_empty)
            && plan["checks"].as_array().is_some_and(Vec::is_empty)
            && plan["new_zone"] == false;
        assert_eq!(said.code, Some(if is_empty { 0 } else { 2 }), "{said:?}");
        plan
    }

    /// Applies whatever the plan is now.
    pub async fn apply(&self, more: &[&str]) -> Said {
        let plan = self
            .plan(
                &more
                    .iter()
                    .copied()
                    .filter(|a| *a != "--force")
                    .collect::<Vec<_>>(),
            )
            .await;
        let checksum = plan["checksum"].as_str().expect("it has one").to_owned();
        self.run(&[&["apply", "--plan", &checksum], more].concat())
            .await
    }

    /// Applies, and demands that it is done and that nothing is left.
    ///
    /// # Panics
    /// When it is not.
    pub async fn converge(&self, more: &[&str]) -> Said {
        let said = self.apply(more).await;
        assert_eq!(said.code, Some(0), "{said:?}");
        let left = self.run(&["plan"]).await;
        assert_eq!(left.code, Some(0), "{left:?}");
        said
    }
}

/// Runs a command to its end.
async fn end(command: Command) -> Said {
    let mut command = tokio::process::Command::from(command);
    command.kill_on_drop(true);
    let output = tokio::time::timeout(LONGEST, command.output()).await;
    let output = output.unwrap_or_else(|_| panic!("not within {LONGEST:?}: portolan"));
    let Output {
        status,
        stdout,
        stderr,
    } = output.expect("portolan can be run");
    Said {
        code: status.code(),
        out: String::from_utf8_lossy(&stdout).into_owned(),
        err: String::from_utf8_lossy(&stderr).into_owned(),
    }
}
