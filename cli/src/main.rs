//! The binary: the only crate that sees all the others. It reads the command line and hands over to the command's module.

mod args;
mod assembly;
mod aws;
mod check;
mod client;
mod demo;
mod dns;
mod drain;
mod engine;
mod limits;
mod logging;
mod manual;
mod owner;
mod run;
mod status;
mod steering;
mod store;
mod table;
mod upgrade;
mod why;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Args, Command, EXIT_DONE, EXIT_FAILED, EXIT_USAGE};

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help and version come as "errors" that go to stdout. A closed pipe there is nobody's concern.
            let _ = error.print();
            let code = if error.use_stderr() {
                EXIT_USAGE
            } else {
                EXIT_DONE
            };
            return ExitCode::from(code);
        }
    };
    let outcome = match args.command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Why(args) => why::run(&args),
        Command::Drain(args) => drain::drain(&args),
        Command::Undrain(args) => drain::undrain(&args),
        Command::Store(args) => store::run(&args),
        Command::Man(args) => manual::man(&args),
        Command::Completions(args) => Ok(manual::completions(&args)),
        Command::Aws(args) => aws::run(&args),
        Command::Dns(args) => dns::run(&args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("portolan: {error:#}");
        ExitCode::from(EXIT_FAILED)
    })
}
