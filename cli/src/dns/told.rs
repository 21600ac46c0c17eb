//! What `portolan dns` and `portolan status` say for people. Pure.

use std::fmt::Write as _;

use portolan_control::publish::DnsView;
use portolan_control::publish::route53::counted;
use portolan_control::publish::route53::health_checks::CheckChange;
use portolan_control::publish::route53::model::RecordSet;
use portolan_control::publish::route53::plan::{Action, Change, FindingKind, Plan};

use crate::table::{Cell, Paint, Style, Table};

use super::{Common, Report};

/// A plan: a line each change, by name; what stands in the way; counters, cost and checksum.
pub(super) fn plan(plan: &Plan, args: &Common, paint: Paint) -> String {
    let zone = &plan.zone;
    let id = if plan.new_zone {
        "to be made"
    } else {
        zone.id.as_str()
    };
    let mut out = format!(
        "{}  {id}, owner {}, PoP {}, mode {}\n",
        paint.text(Style::Strong, &zone.name),
        plan.owner,
        plan.pop,
        plan.mode
    );
    for group in &plan.groups {
        let _ = writeln!(out, "\n{}", paint.text(Style::Strong, &group.name));
        let mut table = Table::default();
        for change in &group.changes {
            rows(&mut table, change, &group.name);
        }
        out += &table.render(paint, 2);
    }
    if !plan.checks.is_empty() {
        let _ = writeln!(out, "\n{}", paint.text(Style::Strong, "health checks"));
        let mut table = Table::default();
        for change in &plan.checks {
            check_rows(&mut table, change);
        }
        out += &table.render(paint, 2);
    }
    if !plan.findings.is_empty() {
        out.push('\n');
    }
    for finding in &plan.findings {
        let style = match finding.kind {
            FindingKind::Foreign
            | FindingKind::Protected
            | FindingKind::Quota
            | FindingKind::Invalid => Style::Bad,
            FindingKind::Held | FindingKind::Adoptable | FindingKind::Withheld => Style::Notice,
            FindingKind::Note => Style::Faint,
        };
        let _ = writeln!(out, "{}", paint.text(style, &finding.to_string()));
    }
    let counts = &plan.counts;
    let _ = writeln!(
        out,
        "\nCreates={}, Updates={}, Deletes={}, Existing={}, Owned={}",
        counts.create, counts.update, counts.delete, counts.existing, counts.owned
    );
    let _ = writeln!(out, "Cost: {}", plan.cost);
    out += &end(plan, args, paint);
    out
}

fn end(plan: &Plan, args: &Common, paint: Paint) -> String {
    if plan.is_empty() {
        return format!("{}\n", paint.text(Style::Good, "Nothing to change."));
    }
    let mut command = format!(
        "portolan dns apply --config {} --plan {}",
        args.config.display(),
        plan.checksum
    );
    match args.mode {
        Some(mode) => {
            let _ = write!(command, " --mode {}", mode.as_str());
        }
        None if plan.mode == "observe" => command.push_str(" --mode sync"),
        None => {}
    }
    if args.adopt {
        command.push_str(" --adopt");
    }
    let mut out = String::new();
    if let Some(shrink) = &plan.shrink {
        let _ = writeln!(
            out,
            "{}",
            paint.text(Style::Bad, &format!("{shrink}: it waits for --force"))
        );
        command.push_str(" --force");
    }
    let _ = writeln!(out, "Plan {}; to apply it:\n  {command}", plan.checksum);
    out
}

fn rows(table: &mut Table, change: &Change, group: &str) {
    let (sign, style) = match change.action {
        Action::Create => ("+", Style::Good),
        Action::Update => ("~", Style::Notice),
        Action::Delete => ("-", Style::Bad),
    };
    let set = change.set();
    let name = if set.key.name == group {
        "@".to_owned()
    } else {
        set.key.name.clone()
    };
    let mut name = format!("{sign} {} {name}", set.key.kind);
    if let Some(identifier) = &set.key.set_identifier {
        let _ = write!(name, " ({identifier})");
    }
    let row = |table: &mut Table, name: String, what: String, why: &str| {
        table.row(vec![
            Cell::text(style, name),
            Cell::text(Style::Normal, what),
            Cell::text(Style::Faint, why.to_owned()),
        ]);
    };
    match (&change.old, &change.new) {
        (Some(old), Some(new)) => {
            row(table, name, said(old), change.why);
            row(table, String::new(), format!("→ {}", said(new)), "");
        }
        // Why a new set is made needs no words.
        (None, _) => row(table, name, said(set), ""),
        (Some(_), None) => row(table, name, said(set), change.why),
    }
}

fn said(set: &RecordSet) -> String {
    let mut said = format!("{}: {}", set.routing, set.data);
    if let Some(check) = &set.health_check {
        let _ = write!(said, ", health check {check}");
    }
    said
}

fn check_rows(table: &mut Table, change: &CheckChange) {
    let mut row = |style, sign: &str, what: String| {
        table.row(vec![
            Cell::text(style, sign.to_owned()),
            Cell::text(Style::Normal, what),
        ]);
    };
    match change {
        CheckChange::Create { config } => row(Style::Good, "+", config.to_string()),
        CheckChange::Update {
            id, from, config, ..
        } => {
            row(Style::Notice, "~", format!("{id}: {from}"));
            row(Style::Notice, "", format!("→ {config}"));
        }
        CheckChange::Delete { id, config } => row(
            Style::Bad,
            "-",
            format!("{id}: {config}; nothing refers to it"),
        ),
    }
}

/// What came of an application.
pub(super) fn report(report: &Report, paint: Paint) -> String {
    let mut out = String::new();
    for error in &report.errors {
        let _ = writeln!(out, "{}", paint.text(Style::Bad, error));
    }
    if !report.pending.is_empty() {
        let _ = writeln!(
            out,
            "on their way to the name servers: {}",
            report.pending.join(", ")
        );
    }
    let (names, requests) = (report.applied.len(), report.changes.len());
    let told = match (names, report.errors.is_empty()) {
        (0, true) if requests == 0 => "Nothing to change.".to_owned(),
        (names, true) => format!(
            "Done: {} in {}.",
            counted(names, "name"),
            counted(requests, "request")
        ),
        (names, false) => format!("{} changed, not all.", counted(names, "name")),
    };
    let style = if report.errors.is_empty() {
        Style::Good
    } else {
        Style::Notice
    };
    let _ = writeln!(out, "{}", paint.text(style, &told));
    out
}

/// Publication as the running edge sees it, for `portolan status`.
pub(crate) fn view(view: &DnsView, paint: Paint) -> String {
    let DnsView {
        zone,
        zone_id: _,
        owner,
        mode,
        checked_at,
        applied_at: _,
        changes,
        owned,
        pending,
        drifts,
        fights,
        findings,
        error,
    } = view;
    let open = changes.create + changes.update + changes.delete;
    let state = match (error, open, checked_at) {
        (Some(_), _, _) => paint.text(Style::Bad, "failed"),
        (None, _, None) => paint.text(Style::Faint, "not read yet"),
        (None, 0, Some(_)) => paint.text(Style::Good, "in sync"),
        (None, open, Some(_)) => paint.text(Style::Notice, &format!("{open} changes open")),
    };
    let mut out = format!("DNS {zone}  {state}, {owned} record sets of owner {owner}, mode {mode}");
    if *pending > 0 {
        let _ = write!(out, ", {pending} changes on their way");
    }
    if *drifts > 0 {
        let _ = write!(out, ", {drifts} times changed by somebody else");
    }
    out.push('\n');
    for error in error.iter() {
        let _ = writeln!(out, "  {}", paint.text(Style::Bad, error));
    }
    for text in fights.iter().chain(findings) {
        let _ = writeln!(out, "  {}", paint.text(Style::Notice, text));
    }
    out
}
