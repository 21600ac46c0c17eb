//! What `portolan aws` and `portolan status` say for people. Pure.

use std::fmt::Write as _;

use portolan_control::aws::{Action, AwsView, Change, Checked, Note, NoteKind, Planned, Verdict};

use crate::client::printable;
use crate::table::{Paint, Style};

/// A plan, a line each change, and what it counts up to.
pub(super) fn planned(planned: &Planned, paint: Paint) -> String {
    let mut out = String::new();
    for change in &planned.changes {
        out += &line(change, paint);
    }
    out += &notes(&planned.notes, paint);
    for remark in &planned.remarks {
        out += &(paint.text(Style::Notice, &printable(remark)) + "\n");
    }
    for error in &planned.errors {
        out += &(paint.text(Style::Bad, &format!("not read: {}", printable(error))) + "\n");
    }
    let count = |action| {
        planned
            .changes
            .iter()
            .filter(|change| change.action == action)
            .count()
    };
    let counts = [
        (Action::Add, "to add"),
        (Action::Change, "to change"),
        (Action::Remove, "to remove"),
        (Action::Hold, "held back"),
    ];
    let counts: Vec<String> = counts
        .iter()
        .map(|(action, word)| format!("{} {word}", count(*action)))
        .collect();
    let account = planned.account.as_deref().unwrap_or("unknown");
    let _ = writeln!(out, "account {account}: {}", counts.join(", "));
    if count(Action::Hold) > 0 {
        out += "what is held back goes when AWS has said the same three times and for ten minutes, or by `portolan aws sync --accept-shrink`\n";
    }
    if !planned.whole {
        out += &(paint.text(
            Style::Bad,
            "not everything could be read: nothing of that is removed",
        ) + "\n");
    }
    out
}

fn line(
    Change {
        what,
        action,
        detail,
    }: &Change,
    paint: Paint,
) -> String {
    let (sign, style) = match action {
        Action::Add => ("+", Style::Good),
        Action::Change => ("~", Style::Notice),
        Action::Remove => ("-", Style::Bad),
        Action::Hold => ("!", Style::Notice),
    };
    let text = format!("{sign} {}: {}", printable(what), printable(detail));
    paint.text(style, &text) + "\n"
}

fn notes(notes: &[Note], paint: Paint) -> String {
    let lines = notes.iter().map(
        |Note {
             kind,
             accelerator,
             endpoint,
             reason,
         }| {
            let kind = match kind {
                NoteKind::NotServed => "not served",
                NoteKind::Unreachable => "unreachable",
                NoteKind::NotWorthAConnection => "nothing healthy behind it",
                NoteKind::NoListener => "no listener",
                NoteKind::Renamed => "renamed",
            };
            let place = match endpoint {
                Some((region, id)) => format!("{accelerator} {region} {id}"),
                None => accelerator.clone(),
            };
            let text = format!("{kind}: {}: {}", printable(&place), printable(reason));
            paint.text(Style::Notice, &text) + "\n"
        },
    );
    lines.collect()
}

/// The sync of a running edge.
pub(crate) fn view(view: &AwsView, paint: Paint) -> String {
    let AwsView {
        account,
        cycle: _,
        fulfilled: _,
        age_seconds,
        freshness,
        accelerators,
        errors,
        held,
        notes: told,
        remarks,
    } = view;
    let style = match freshness.as_str() {
        "fresh" => Style::Good,
        "stale" => Style::Notice,
        _ => Style::Bad,
    };
    let age = age_seconds.map_or_else(
        || "never read".to_owned(),
        |age| format!("read {age} s ago"),
    );
    let account = account.as_deref().unwrap_or("unknown");
    let many = if *accelerators == 1 {
        "accelerator"
    } else {
        "accelerators"
    };
    let head = format!(
        "AWS account {}: {accelerators} {many} served, {age}, {freshness}",
        printable(account)
    );
    let mut out = paint.text(style, &head) + "\n";
    for error in errors {
        out += &(paint.text(Style::Bad, &format!("  {}", printable(error))) + "\n");
    }
    for change in held {
        out += &format!("  {}", line(change, paint));
    }
    for note in notes(told, paint).lines() {
        out += &format!("  {note}\n");
    }
    for remark in remarks {
        out += &(paint.text(Style::Notice, &format!("  {}", printable(remark))) + "\n");
    }
    out
}

/// Permissions, and the least policy.
pub(super) fn checked(checked: &Checked, paint: Paint) -> String {
    let mut out = String::new();
    for permission in &checked.permissions {
        let (word, style) = match permission.verdict {
            Verdict::Allowed => ("allowed", Style::Good),
            Verdict::Denied => ("denied", Style::Bad),
            Verdict::Unknown => ("unknown", Style::Notice),
            Verdict::Untried => ("not tried", Style::Faint),
        };
        let place = if permission.place.is_empty() {
            String::new()
        } else {
            format!(" ({})", permission.place)
        };
        let detail = if permission.detail.is_empty() {
            String::new()
        } else {
            format!(": {}", printable(&permission.detail))
        };
        let _ = writeln!(
            out,
            "{} {}{place}{detail}",
            paint.text(style, word),
            permission.action
        );
    }
    let policy = serde_json::to_string_pretty(&checked.policy).unwrap_or_default();
    let _ = writeln!(out, "\nthe least policy for this file:\n{policy}");
    out
}
