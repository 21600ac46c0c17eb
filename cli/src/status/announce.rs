//! The announcements, for people: a line for all that is well, and a line for each prefix that is not announced.

use std::fmt::Write as _;

use portolan_control::publish::announce::AnnounceView;

use crate::table::{Paint, Style};

pub(super) fn view(view: &AnnounceView, paint: Paint) -> String {
    let AnnounceView {
        mode,
        prefixes,
        error,
        changed_at: _,
    } = view;
    let announced = prefixes.iter().filter(|p| p.state == "announced").count();
    let all = prefixes.len();
    let style = match (error, announced == all) {
        (Some(_), _) => Style::Bad,
        (None, true) => Style::Good,
        (None, false) => Style::Notice,
    };
    let count = format!("{announced} of {all} prefixes announced");
    let mut out = format!("BGP {}  {}\n", mode.join(", "), paint.text(style, &count));
    for prefix in prefixes.iter().filter(|p| p.state != "announced") {
        let reason = prefix.reason.as_deref().unwrap_or_default();
        let _ = writeln!(
            out,
            "  {}  {}  {reason}",
            prefix.prefix,
            paint.text(Style::Notice, &prefix.state)
        );
    }
    if let Some(error) = error {
        let _ = writeln!(out, "  {}", paint.text(Style::Bad, error));
    }
    out
}
