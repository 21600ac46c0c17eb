//! The command line: what the commands are called, what they take, and the texts that teach them.

use clap::{Parser, Subcommand};

use crate::{aws, check, demo, dns, drain, manual, run, status, store, why};

/// Exit code: done, nothing to say.
pub(crate) const EXIT_DONE: u8 = 0;
/// Exit code: failed.
pub(crate) const EXIT_FAILED: u8 = 1;
/// Exit code: the file is invalid.
pub(crate) const EXIT_INVALID_FILE: u8 = 2;
/// Exit code: another one runs already.
pub(crate) const EXIT_ALREADY_RUNNING: u8 = 3;
/// Exit code: the command line is wrong (`EX_USAGE` of sysexits.h).
pub(crate) const EXIT_USAGE: u8 = 64;

const ABOUT: &str = "Portolan, a self-hosted Global Accelerator: a layer-4 edge proxy that sends each new connection \
to the nearest healthy region, by traffic dial and weight, and lets go of the ones that a dead region would strand.";

const AFTER: &str = "\
Start here:
  portolan demo                                see a region die and its clients move
  portolan check --config portolan.toml        is the file right, and what will it do
  portolan run   --config portolan.toml        serve
  portolan status                              what is up, where traffic goes
  portolan why --client 198.51.100.7 --to 203.0.113.10:443/TCP

Exit codes: 0 done, 1 failed, 2 invalid file, 3 already running, 64 wrong usage.";

/// Portolan's command line.
#[derive(Debug, Parser)]
#[command(name = "portolan", version, about = ABOUT, after_help = AFTER, max_term_width = 110)]
pub(crate) struct Args {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve: listen, watch the endpoints, relay. SIGHUP reloads the file, SIGTERM drains and ends
    Run(run::Args),
    /// Read the file, say what is wrong with it or what it does, and the limits that would be in force
    Check(check::Args),
    /// Three regions, an edge and clients on loopback; the nearest region dies and comes back; figures
    Demo(demo::Args),
    /// What is up, how far it is, and where traffic goes, as the running edge sees it
    Status(status::Args),
    /// Which endpoint a new flow would get now, and why not the others
    Why(why::Args),
    /// Send nothing new to an endpoint, or to this whole PoP; the flows that it has finish
    Drain(drain::DrainArgs),
    /// Take a drain back
    Undrain(drain::UndrainArgs),
    /// What the API made, as JSON: out of the running edge, and back into it
    Store(store::Args),
    /// What AWS says, against what is served
    Aws(aws::Args),
    /// What would change in Route 53, then exactly that
    Dns(dns::Args),
    /// Write the man pages
    #[command(hide = true)]
    Man(manual::ManArgs),
    /// Print what makes a shell complete our commands and options
    #[command(hide = true)]
    Completions(manual::CompletionsArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_command_and_option_explains_itself() {
        for command in Args::command().get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for arg in command.get_arguments() {
                let explained = arg.get_help().is_some() || arg.get_long_help().is_some();
                assert!(explained, "{} {}", command.get_name(), arg.get_id());
            }
        }
    }
}
