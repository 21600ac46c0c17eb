//! `portolan drain` and `portolan undrain`: an endpoint, or the whole PoP, gets no new flows, or gets them again.

use std::process::ExitCode;
use std::time::Duration;

use portolan_config::file;
use portolan_control::handle::DrainOutcome;
use serde_json::{Map, Value, json};

use crate::args::EXIT_DONE;
use crate::client::{AdminArgs, Client, block_on, encode, print, print_json, printable};

/// What `portolan drain` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct DrainArgs {
    #[command(flatten)]
    what: What,

    /// Ends by itself after this long, such as 15m or 1h
    #[arg(long = "for", value_name = "TIME", value_parser = duration, conflicts_with = "pop")]
    for_: Option<Duration>,

    #[command(flatten)]
    common: Common,
}

/// What `portolan undrain` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct UndrainArgs {
    #[command(flatten)]
    what: What,

    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
struct What {
    /// The endpoint's id
    #[arg(value_name = "ENDPOINT", required_unless_present = "pop")]
    endpoint: Option<String>,

    /// In this region's group alone; otherwise wherever the endpoint is
    #[arg(long, value_name = "REGION", conflicts_with = "pop")]
    group: Option<String>,

    /// The whole PoP: /readyz answers 503, flows that come all the same are served
    #[arg(long, conflicts_with = "endpoint")]
    pop: bool,
}

#[derive(Debug, clap::Args)]
struct Common {
    #[command(flatten)]
    admin: AdminArgs,

    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    match file::duration(text) {
        Ok(duration) if duration.is_zero() => Err("a drain for no time is none".into()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
    }
}

/// `portolan drain`.
pub(crate) fn drain(args: &DrainArgs) -> anyhow::Result<ExitCode> {
    let DrainArgs { what, for_, common } = args;
    change("drain", what, *for_, common)
}

/// `portolan undrain`.
pub(crate) fn undrain(args: &UndrainArgs) -> anyhow::Result<ExitCode> {
    let UndrainArgs { what, common } = args;
    change("undrain", what, None, common)
}

fn change(
    verb: &str,
    what: &What,
    for_: Option<Duration>,
    common: &Common,
) -> anyhow::Result<ExitCode> {
    let client = Client::new(&common.admin)?;
    match &what.endpoint {
        Some(endpoint) => {
            let path = format!("/api/v1/endpoints/{}/{verb}", encode(endpoint));
            let body = wish(what.group.as_deref(), for_);
            let (outcome, answer) = block_on(client.post::<DrainOutcome>(&path, &body))?;
            if common.json {
                print_json(&answer)?;
            } else {
                print(&told(verb, &outcome))?;
            }
            if let Some(why) = outcome.not_saved {
                eprintln!(
                    "portolan: this does not outlive the running process: {}",
                    printable(&why)
                );
            }
        }
        None => {
            let path = format!("/api/v1/pop/{verb}");
            let (_, answer) = block_on(client.post::<Value>(&path, &json!({})))?;
            if common.json {
                print_json(&answer)?;
            } else if verb == "drain" {
                print(
                    "the PoP drains: /readyz answers 503; flows that come all the same are served\n",
                )?;
            } else {
                print("the PoP takes part again\n")?;
            }
        }
    }
    Ok(ExitCode::from(EXIT_DONE))
}

fn wish(region: Option<&str>, for_: Option<Duration>) -> Value {
    let mut wish = Map::new();
    if let Some(region) = region {
        wish.insert("region".into(), region.into());
    }
    if let Some(for_) = for_ {
        wish.insert("for".into(), file::show_duration(for_).into());
    }
    Value::Object(wish)
}

fn told(verb: &str, outcome: &DrainOutcome) -> String {
    let DrainOutcome {
        endpoint,
        places,
        active_flows,
        until,
        not_saved: _,
    } = outcome;
    let does = if verb == "drain" {
        "drains"
    } else {
        "takes new flows again"
    };
    let mut text = format!("{endpoint} {does}");
    if let Some(until) = until {
        text += &format!(" until {until}");
    }
    text += &match active_flows {
        0 => "; it has no flows\n".to_owned(),
        1 => "; it has 1 flow\n".to_owned(),
        flows => format!("; it has {flows} flows\n"),
    };
    for place in places {
        text += &format!(
            "  {} {} {}\n",
            place.accelerator, place.listener, place.region
        );
    }
    printable(&text)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use portolan_control::handle::Place;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: DrainArgs,
    }

    fn parsed(words: &[&str]) -> Result<DrainArgs, clap::Error> {
        Line::try_parse_from([&["drain"], words].concat()).map(|line| line.args)
    }

    #[test]
    fn an_endpoint_or_the_pop_is_drained_never_both_or_none() {
        assert!(parsed(&["web-1"]).is_ok());
        assert!(parsed(&["web-1", "--group", "us-east-1", "--for", "1h30m"]).is_ok());
        assert!(parsed(&["--pop"]).is_ok());
        for wrong in [
            &[][..],
            &["web-1", "--pop"],
            &["--pop", "--group", "us-east-1"],
            &["--pop", "--for", "1h"],
            &["web-1", "--for", "soon"],
            &["web-1", "--for", "0s"],
        ] {
            assert!(parsed(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_wish_carries_what_was_asked_for() {
        let args = parsed(&["web-1", "--group", "us-east-1", "--for", "90m"]).unwrap();
        assert_eq!(
            wish(args.what.group.as_deref(), args.for_),
            json!({ "region": "us-east-1", "for": "1h30m" })
        );
        assert_eq!(wish(None, None), json!({}));
    }

    #[test]
    fn the_outcome_is_told_with_every_place() {
        let outcome = DrainOutcome {
            endpoint: "web-1".into(),
            places: vec![Place {
                accelerator: "shop".into(),
                listener: "80/TCP".into(),
                region: "us-east-1".into(),
            }],
            active_flows: 3,
            until: Some("2026-11-03T10:00:00Z".into()),
            not_saved: None,
        };
        assert_eq!(
            told("drain", &outcome),
            "web-1 drains until 2026-11-03T10:00:00Z; it has 3 flows\n  shop 80/TCP us-east-1\n"
        );
    }
}
