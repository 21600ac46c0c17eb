//! A program that announces for us: ExaBGP, GoBGP, FRR or a cloud's API behind a script. It is told the whole picture at every change, and
//! its exit says whether that came true.

use std::io;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::json;
use thiserror::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStderr, ChildStdin, Command};
use tokio::time::timeout;

use super::plan::{Picture, Style};

/// A slower program holds up the next change.
const EXIT_WITHIN: Duration = Duration::from_secs(30);

/// Of what it says on its error output, so many bytes of the end are told.
const WORDS: usize = 400;

/// What it said last is in the pipe when it has ended; whom it leaves behind may hold the pipe open for as long as they live.
const LAST_WORDS_WITHIN: Duration = Duration::from_millis(200);

/// Why it did not come true.
#[derive(Debug, Error)]
pub(super) enum ExecError {
    /// It could not be run.
    #[error("{program} cannot be run: {source}")]
    Run {
        /// Which.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// It said so.
    #[error("{program} ended with {status}: {words}")]
    Failed {
        /// Which.
        program: String,
        /// How it ended.
        status: ExitStatus,
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
    let ended = timeout(EXIT_WITHIN, end_of(&mut child, &told(picture, pop))).await;
    let Ok(ended) = ended else {
        return Err(ExecError::Slow {
            program: program.clone(),
        });
    };
    let (status, words) = ended.map_err(run)?;
    if status.success() {
        return Ok(());
    }
    Err(ExecError::Failed {
        program: program.clone(),
        status,
        words: String::from_utf8_lossy(&words).trim().to_owned(),
    })
}

/// How it ends when it is told this, and what it says last.
async fn end_of(child: &mut Child, text: &str) -> io::Result<(ExitStatus, Vec<u8>)> {
    let (input, output) = (child.stdin.take(), child.stderr.take());
    let mut words = Vec::new();
    let status = {
        let mut talk = pin!(async {
            tokio::join!(tell(input, text), hear(output, &mut words));
        });
        tokio::select! {
            status = child.wait() => {
                let _ = timeout(LAST_WORDS_WITHIN, talk).await;
                status?
            }
            () = &mut talk => child.wait().await?,
        }
    };
    Ok((status, words))
}

async fn tell(input: Option<ChildStdin>, text: &str) {
    if let Some(mut input) = input {
        // It may know all it needs without reading to the end.
        let _ = input.write_all(text.as_bytes()).await;
    }
}

/// Keeps the last [`WORDS`].
async fn hear(output: Option<ChildStderr>, words: &mut Vec<u8>) {
    let Some(mut output) = output else { return };
    let mut part = [0; 4096];
    while let Ok(read @ 1..) = output.read(&mut part).await {
        words.extend_from_slice(&part[..read]);
        words.drain(..words.len().saturating_sub(WORDS));
    }
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
    async fn whom_it_leaves_behind_is_not_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("pipe");
        // What is left behind has its error output, and lives until somebody writes into the pipe: in vain is 30 s.
        let left = format!("mkfifo {0}; read line < {0} & exit 0", pipe.display());
        let told = apply(&shell(&left), &picture(), "fra1").await;
        std::fs::write(&pipe, "go\n").expect("it reads");
        told.expect("it has ended");
    }

    #[tokio::test]
    async fn its_exit_and_its_words_are_told() {
        let refused = apply(&shell("echo no route >&2; exit 3"), &picture(), "fra1").await;
        let text = refused.expect_err("exit 3").to_string();
        assert!(
            text.contains("exit status: 3") && text.contains("no route"),
            "{text}"
        );
        let long =
            shell("i=0; while [ $i -lt 999 ]; do echo line $i >&2; i=$((i + 1)); done; exit 1");
        let said = apply(&long, &picture(), "fra1").await;
        let said = said.expect_err("exit 1").to_string();
        assert!(
            said.ends_with("line 998") && said.len() < 2 * WORDS,
            "{said}"
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
