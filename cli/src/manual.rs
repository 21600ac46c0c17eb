//! Man pages and shell completions, generated from the command line's own definition, so that they cannot say anything else. Called
//! when packages are made; hidden from those who run an edge.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::{Args, EXIT_DONE};

/// What `portolan man` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// Write a page for each command into this directory; without it the first page goes to stdout
    #[arg(long, value_name = "DIRECTORY")]
    to: Option<PathBuf>,
}

/// What `portolan completions` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// Whose
    shell: Shell,
}

/// `portolan man`.
pub(crate) fn man(args: &ManArgs) -> anyhow::Result<ExitCode> {
    match &args.to {
        Some(directory) => {
            std::fs::create_dir_all(directory)
                .and_then(|()| clap_mangen::generate_to(Args::command(), directory))
                .with_context(|| format!("{} cannot be written to", directory.display()))?;
        }
        None => clap_mangen::Man::new(Args::command()).render(&mut io::stdout())?,
    }
    Ok(ExitCode::from(EXIT_DONE))
}

/// `portolan completions`.
pub(crate) fn completions(args: &CompletionsArgs) -> ExitCode {
    clap_complete::generate(
        args.shell,
        &mut Args::command(),
        "portolan",
        &mut io::stdout(),
    );
    ExitCode::from(EXIT_DONE)
}

#[cfg(test)]
mod tests {
    use clap::{Parser, ValueEnum};

    use super::*;

    #[test]
    fn every_command_that_is_shown_has_a_page_and_every_option_is_on_it() {
        let folder = tempfile::tempdir().unwrap();
        let to = Some(folder.path().join("man"));
        man(&ManArgs { to: to.clone() }).unwrap();
        for command in Args::command().get_subcommands() {
            let page = to
                .as_ref()
                .unwrap()
                .join(format!("portolan-{}.1", command.get_name()));
            assert_eq!(page.exists(), !command.is_hide_set(), "{}", page.display());
            for option in command.get_arguments().filter_map(|arg| arg.get_long()) {
                let text = std::fs::read_to_string(&page).unwrap_or_default();
                let written = option.replace('-', "\\-");
                assert!(command.is_hide_set() || text.contains(&written), "{option}");
            }
        }
    }

    #[test]
    fn every_shell_completes_every_command() {
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Args::command(), "portolan", &mut script);
            let script = String::from_utf8(script).unwrap();
            for word in ["undrain", "upgrade", "with-flows"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }

    #[test]
    fn the_unit_calls_us_by_what_we_take() {
        let unit = include_str!("../../packaging/portolan.service");
        let lines = unit.lines().filter_map(|line| line.split_once('='));
        let calls: Vec<_> = lines
            .filter(|(key, value)| key.starts_with("Exec") && value.contains("portolan"))
            .collect();
        assert_eq!(calls.len(), 2);
        for (_, call) in calls {
            let parsed = Args::try_parse_from(call.split(' '));
            assert!(parsed.is_ok(), "{call}: {parsed:?}");
        }
    }
}
