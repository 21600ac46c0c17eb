//! `portolan why`: which endpoint a new flow of a client gets now, and why not the others. The running data path computes it.

use std::process::ExitCode;

use portolan_config::explain::{Chosen, EndpointExplanation, Explanation, GroupExplanation};

use crate::args::EXIT_DONE;
use crate::client::{AdminArgs, Client, block_on, encode, print, print_json};
use crate::table::{Cell, Paint, Style, Table};

/// What `portolan why` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Who asks: an address, with a port for one flow, without for the shares
    #[arg(long, value_name = "IP[:PORT]")]
    client: String,

    /// What is asked for: an address and port of a listener
    #[arg(long, value_name = "ADDRESS:PORT/TCP")]
    to: String,

    #[command(flatten)]
    admin: AdminArgs,

    /// Print the explanation as JSON
    #[arg(long)]
    json: bool,
}

/// `portolan why`.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.admin)?;
    let path = format!(
        "/api/v1/why?client={}&to={}",
        encode(&args.client),
        encode(&args.to)
    );
    let (explanation, answer) = block_on(client.get::<Explanation>(&path))?;
    if args.json {
        print_json(&answer)?;
    } else {
        print(&told(&explanation, Paint::of_stdout()))?;
    }
    Ok(ExitCode::from(EXIT_DONE))
}

fn told(explanation: &Explanation, paint: Paint) -> String {
    let Explanation {
        generation,
        client,
        to,
        accelerator,
        client_affinity,
        chosen,
        groups,
    } = explanation;
    let head = format!("{client} to {to}");
    let about = format!(
        "accelerator {accelerator}, client affinity {client_affinity}, snapshot {generation}"
    );
    let mut out = format!(
        "{}  {}\n\n",
        paint.text(Style::Strong, &head),
        paint.text(Style::Faint, &about)
    );
    out += &match chosen {
        Some(chosen) => chosen_told(chosen, paint),
        None if groups
            .iter()
            .flat_map(|g| &g.endpoints)
            .all(|e| e.share_percent <= 0.0) =>
        {
            format!(
                "{}\n",
                paint.text(Style::Bad, "No endpoint: a new flow is refused.")
            )
        }
        None => {
            "Each new flow is picked anew; without a client port these are the shares.\n".to_owned()
        }
    };
    let mut table = Table::default();
    for group in groups {
        group_told(&mut table, group, chosen.as_ref(), paint);
    }
    out.push('\n');
    out + &table.render(paint, 0)
}

fn chosen_told(chosen: &Chosen, paint: Paint) -> String {
    let Chosen {
        region,
        endpoint,
        address,
        reason,
        then,
    } = chosen;
    let because = match reason.as_str() {
        "nearest" => "the dial of the nearest group takes it",
        "dial" => "the dials of nearer groups let it pass",
        "failover" => {
            "the group that its dial chose has no available endpoint, and this is the nearest that has one"
        }
        "fail_open" => "no endpoint of any group is available: fail open",
        other => other,
    };
    let style = if reason == "fail_open" {
        Style::Bad
    } else {
        Style::Good
    };
    let mut out = format!(
        "A new flow gets {} in {} at {}: {}.\n",
        paint.text(style, endpoint),
        paint.text(Style::Strong, region),
        paint.text(Style::Normal, address),
        paint.text(Style::Normal, because),
    );
    if !then.is_empty() {
        out += &paint.text(
            Style::Faint,
            &format!("If that fails, then {}.", then.join(", then ")),
        );
        out.push('\n');
    }
    out
}

fn group_told(table: &mut Table, group: &GroupExplanation, chosen: Option<&Chosen>, paint: Paint) {
    let GroupExplanation {
        region,
        order,
        distance_ms,
        traffic_dial,
        verdict,
        endpoints,
    } = group;
    let distance = distance_ms.map_or("distance unknown".to_owned(), |ms| format!("{ms:.1} ms"));
    let head = paint.text(Style::Strong, &format!("{}. {region}", order + 1));
    let about = paint.text(Style::Faint, &format!("{distance}, dial {traffic_dial} %"));
    table.across(format!(
        "{head}  {about}  {}",
        paint.text(Style::Normal, verdict)
    ));
    for endpoint in endpoints {
        let EndpointExplanation {
            id,
            weight,
            health,
            share_percent,
            why_not,
        } = endpoint;
        let is_chosen = chosen.is_some_and(|c| c.region == *region && c.endpoint == *id);
        let (style, remark) = match (is_chosen, why_not) {
            (true, _) => (Style::Good, "chosen".to_owned()),
            (false, None) => (Style::Normal, String::new()),
            (false, Some(why)) => (Style::Faint, why.clone()),
        };
        table.row(vec![
            Cell::text(style, format!("     {id}")),
            Cell::text(health_style(health), health),
            Cell::text(Style::Normal, format!("weight {weight}")),
            Cell::number(format!("{share_percent:.1} %")).styled(style),
            Cell::text(style, remark),
        ]);
    }
}

/// How a health word is shown.
pub(crate) fn health_style(health: &str) -> Style {
    match health {
        "UP" => Style::Good,
        "DOWN" => Style::Bad,
        _ => Style::Notice,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explanation(chosen: Option<Chosen>, shares: [f64; 2]) -> Explanation {
        let endpoint = |id: &str, share, why_not: Option<&str>| EndpointExplanation {
            id: id.into(),
            weight: 128,
            health: if why_not.is_some() { "DOWN" } else { "UP" }.into(),
            share_percent: share,
            why_not: why_not.map(str::to_owned),
        };
        Explanation {
            generation: 4,
            client: "198.51.100.7".into(),
            to: "203.0.113.10:443/TCP".into(),
            accelerator: "shop".into(),
            client_affinity: "NONE".into(),
            chosen,
            groups: vec![GroupExplanation {
                region: "us-east-1".into(),
                order: 0,
                distance_ms: Some(5.04),
                traffic_dial: 100.0,
                verdict: "its dial takes all".into(),
                endpoints: vec![
                    endpoint("web-1", shares[0], None),
                    endpoint("web-2", shares[1], Some("DOWN: connection refused")),
                ],
            }],
        }
    }

    #[test]
    fn the_choice_is_a_sentence_and_the_others_have_their_reasons() {
        let chosen = Chosen {
            region: "us-east-1".into(),
            endpoint: "web-1".into(),
            address: "10.0.1.10:443".into(),
            reason: "nearest".into(),
            then: vec!["us-east-1/web-2 10.0.1.11:443".into()],
        };
        let text = told(&explanation(Some(chosen), [100.0, 0.0]), Paint::Plain);
        for expected in [
            "A new flow gets web-1 in us-east-1 at 10.0.1.10:443: the dial of the nearest group takes it.\n",
            "If that fails, then us-east-1/web-2 10.0.1.11:443.\n",
            "1. us-east-1  5.0 ms, dial 100 %  its dial takes all\n",
            "     web-1  UP    weight 128  100.0 %  chosen\n",
            "     web-2  DOWN  weight 128    0.0 %  DOWN: connection refused\n",
        ] {
            assert!(text.contains(expected), "{expected:?} in\n{text}");
        }
    }

    #[test]
    fn without_a_choice_it_says_whether_shares_or_a_refusal() {
        let shares = told(&explanation(None, [100.0, 0.0]), Paint::Plain);
        assert!(shares.contains("these are the shares"), "{shares}");
        let refused = told(&explanation(None, [0.0, 0.0]), Paint::Plain);
        assert!(refused.contains("is refused"), "{refused}");
    }
}
