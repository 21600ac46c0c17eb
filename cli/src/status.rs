//! `portolan status`: what is up and where traffic goes, as a table for people or as the state document for machines.

mod announce;
mod draw;
#[cfg(test)]
mod tests;

use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use portolan_control::state::StateView;
use serde_json::Value;
use terminal_size::{Height, terminal_size};
use tokio::time::{MissedTickBehavior, interval};

use crate::args::EXIT_DONE;
use crate::client::{AdminArgs, Client, block_on, print, print_json};
use crate::table::{Paint, Style};

use self::draw::{Flow, draw};

const STATE: &str = "/api/v1/state";

/// How often `--watch` asks.
const REDRAW: Duration = Duration::from_secs(1);

/// What `portolan status` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    admin: AdminArgs,

    /// Print the state document of GET /api/v1/state
    #[arg(long)]
    json: bool,

    /// Ask again each second until Ctrl-C; with --json a document a line
    #[arg(long)]
    watch: bool,
}

/// `portolan status`.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.admin)?;
    let paint = Paint::of_stdout();
    if args.watch {
        block_on(watch(&client, paint, args.json))?;
        return Ok(ExitCode::from(EXIT_DONE));
    }
    let (state, document): (StateView, Value) = block_on(client.get(STATE))?;
    if args.json {
        print_json(&document)?;
    } else {
        print(&draw(&state, None, paint, SystemTime::now()))?;
    }
    Ok(ExitCode::from(EXIT_DONE))
}

/// Redraws until Ctrl-C. The first question must be answered; later an edge that restarts is waited for.
async fn watch(client: &Client, paint: Paint, json: bool) -> anyhow::Result<()> {
    let mut ticks = interval(REDRAW);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before: Option<(StateView, Instant)> = None;
    let mut answered = false;
    let stop = tokio::signal::ctrl_c();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            _ = &mut stop => return Ok(()),
            _ = ticks.tick() => {}
        }
        let answer = tokio::select! {
            _ = &mut stop => return Ok(()),
            answer = client.get::<StateView>(STATE) => answer,
        };
        let now = Instant::now();
        let is_first = !std::mem::replace(&mut answered, true);
        match answer {
            Ok((_, document)) if json => print(&format!("{document}\n"))?,
            Ok((state, _)) => {
                let flow = before
                    .as_ref()
                    .map(|(old, then)| Flow::between(old, &state, now - *then));
                show(
                    &draw(&state, flow.as_ref(), paint, SystemTime::now()),
                    paint,
                )?;
                before = Some((state, now));
            }
            Err(error) if is_first => return Err(error),
            Err(error) if json => eprintln!("portolan: {error:#}"),
            Err(error) => show(
                &format!("{}\n", paint.text(Style::Bad, &format!("{error:#}"))),
                paint,
            )?,
        }
    }
}

/// Draws over what was drawn before on a terminal; elsewhere one after another.
fn show(text: &str, paint: Paint) -> anyhow::Result<()> {
    match paint {
        Paint::Plain => print(&format!("{text}\n")),
        Paint::Colours => {
            let height =
                terminal_size().map_or(usize::MAX, |(_, Height(lines))| usize::from(lines));
            print(&screen(text, height))
        }
    }
}

/// From the upper left corner, each line cleared to its end, what is below cleared; no more than fits, so that nothing scrolls.
fn screen(text: &str, height: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let room = height.saturating_sub(1).max(1);
    let mut out = "\x1b[H".to_owned();
    let shown = if lines.len() > room {
        room - 1
    } else {
        lines.len()
    };
    for line in &lines[..shown] {
        out += line;
        out += "\x1b[K\n";
    }
    if shown < lines.len() {
        out += &format!("… {} more lines\x1b[K\n", lines.len() - shown);
    }
    out + "\x1b[J"
}
