//! A program that announces for us: ExaBGP, GoBGP, FRR or a cloud's API behind a script. It is told the whole picture at every change, and
//! its exit says whether that came true.

use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use thiserror::Error;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use super::plan::{Picture, Style};

/// A slower program holds up the next change.
const EXIT_WITHIN: Duration = Duration::from_secs(30);

/// Of what it says on its error output, so much is told.
const WORDS: usize = 400;

/// Why it did not come true.
#[derive(Debug, Error)]
pub(super) enum ExecError {
    /// It could not be run.
    #[error("{program} cannot be run: {source}")]
    Run {
        /// Which.
        program: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// It said so.
    #[error("{program} ended with {status}: {words}")]
    Failed {
        /// Which.
        program: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// The end of its error output.
        words: String,
    },
    /// It did not end.
    #[error("{program} did not end within {} s and was killed", EXIT_WITHIN.as_secs())]
    Slow {
        /// Which.
        program: String,
    },
}

/// What the program reads: every prefix, and whether it is being left.
pub(super) fn told(picture: &Picture, pop: &str) -> String {
    let announce: Vec<_> = picture
        .iter()
        .map(|(prefix, style)| {
            json!({
                "prefix": prefix.to_string(),
                "leaving": *style == Style::Leaving,
            })
        })
        .collect();
    json!({ "pop": pop, "announce": announce }).to_string() + "\n"
}

/// Runs it once.
pub(super) async fn apply(
    command: &[String],
    picture: &Picture,
    pop: &str,
) -> Result<(), ExecError> {
    let Some((program, arguments)) = command.split_first() else {
        return Ok(());
    };
    let run = |source| ExecError::Run {
        program: program.clone(),
        source,
    };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(run)?;
    let text = told(picture, pop);
    let whole = async {
        if let Some(mut input) = child.stdin.take() {
            // It may know all it needs without reading to the end.
            let _ = input.write_all(text.as_bytes()).await;
        }
        child.wait_with_output().await
    };
    let Ok(ended) = timeout(EXIT_WITHIN, whole).await else {
        return Err(ExecError::Slow {
            program: program.clone(),
        });
    };
    let output = ended.map_err(run)?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let words = words.trim();
    let from = words.len().saturating_sub(WORDS);
    let from = (from..=words.len())
        .find(|at| words.is_char_boundary(*at))
        .unwrap_or(0);
    Err(ExecError::Failed {
        program: program.clone(),
        status: output.status,
        words: words[from..].to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture() -> Picture {
        Picture::from([
            ("203.0.113.10/32".parse().expect("IPv4"), Style::Normal),
            ("2001:db8::10/128".parse().expect("IPv6"), Style::Leaving),
        ])
    }

    fn shell(script: &str) -> Vec<String> {
        ["/bin/sh", "-c", script].map(str::to_owned).to_vec()
    }

    #[tokio::test]
    async fn the_program_reads_the_whole_picture() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("told");
        let command = shell(&format!("cat > {}", path.display()));
        apply(&command, &picture(), "fra1").await.expect("it runs");
        let told = std::fs::read_to_string(path).expect("it wrote");
        assert_eq!(
            told,
            "{\"announce\":[{\"leaving\":false,\"prefix\":\"203.0.113.10/32\"},{\"leaving\":true,\"prefix\":\"2001:db8::10/128\"}],\"pop\":\"fra1\"}\n"
        );
    }

    #[tokio::test]
    async fn its_exit_and_its_words_are_told() {
        let refused = apply(&shell("echo no route >&2; exit 3"), &picture(), "fra1").await;
        let text = refused.expect_err("exit 3").to_string();
        assert!(
            text.contains("exit status: 3") && text.contains("no route"),
            "{text}"
        );
        let missing = apply(&["/nowhere/announce".to_owned()], &picture(), "fra1").await;
        assert!(
            missing
                .expect_err("no program")
                .to_string()
                .contains("cannot be run")
        );
    }
}
