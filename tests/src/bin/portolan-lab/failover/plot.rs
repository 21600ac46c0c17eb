//! The report's picture: every run a dot, on a logarithmic axis, so that milliseconds and minutes are on one page.

use std::fmt::Write as _;

use super::statistics::Spread;

/// One line of dots.
pub(crate) struct Strip {
    pub(crate) label: String,
    pub(crate) dots: Dots,
    pub(crate) colour: &'static str,
}

/// What is on it.
pub(crate) enum Dots {
    /// Measured.
    Runs(Spread),
    /// Documented, from one end to the other, in milliseconds.
    Range(f64, f64),
}

/// Strips under one title.
pub(crate) struct Group {
    pub(crate) title: String,
    /// Milliseconds.
    pub(crate) goal: Option<f64>,
    pub(crate) strips: Vec<Strip>,
}

const WIDTH: f64 = 900.0;
const LEFT: f64 = 190.0;
const RIGHT: f64 = 20.0;
const STRIP: f64 = 16.0;
const TITLE: f64 = 26.0;

/// Decades of milliseconds at both ends of the axis.
const FIRST: f64 = 0.0;
const LAST: f64 = 5.0;

/// The picture.
pub(crate) fn svg(groups: &[Group]) -> String {
    let strips: usize = groups.iter().map(|group| group.strips.len()).sum();
    let height = 40.0 + groups.len() as f64 * TITLE + strips as f64 * STRIP + 30.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    axis(&mut out, height);
    let mut y = 30.0;
    for group in groups {
        y += TITLE;
        let _ = writeln!(
            out,
            "<text x=\"8\" y=\"{:.1}\" font-weight=\"bold\">{}</text>",
            y - 6.0,
            group.title
        );
        let bottom = y + group.strips.len() as f64 * STRIP;
        if let Some(goal) = group.goal {
            let x = place(goal);
            let _ = writeln!(
                out,
                "<line x1=\"{x:.1}\" y1=\"{y:.1}\" x2=\"{x:.1}\" y2=\"{bottom:.1}\" stroke=\"#2a2\" stroke-width=\"2\"/>"
            );
        }
        for strip in &group.strips {
            draw(&mut out, strip, y + STRIP / 2.0);
            y += STRIP;
        }
    }
    out + "</svg>\n"
}

fn place(milliseconds: f64) -> f64 {
    // What was over at once is drawn at the left end.
    let decades = milliseconds.max(1.0).log10().clamp(FIRST, LAST);
    LEFT + (decades - FIRST) / (LAST - FIRST) * (WIDTH - LEFT - RIGHT)
}

fn axis(out: &mut String, height: f64) {
    let ticks = ["1 ms", "10 ms", "100 ms", "1 s", "10 s", "100 s"];
    for (decade, label) in ticks.iter().enumerate() {
        let x = place(10_f64.powi(decade as i32));
        let _ = writeln!(
            out,
            "<line x1=\"{x:.1}\" y1=\"24\" x2=\"{x:.1}\" y2=\"{:.1}\" stroke=\"#ddd\"/><text x=\"{x:.1}\" y=\"18\" text-anchor=\"middle\">{label}</text>",
            height - 20.0
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"{LEFT}\" y=\"{:.1}\" fill=\"#555\">from the fault to the last new connection sent to the dead place; a dot a run, a bar the median, green the goal</text>",
        height - 6.0
    );
}

fn draw(out: &mut String, strip: &Strip, y: f64) {
    let Strip {
        label,
        colour,
        dots,
    } = strip;
    let _ = writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
        LEFT - 8.0,
        y + 4.0
    );
    match dots {
        Dots::Runs(spread) => {
            for value in spread.values() {
                let x = place(*value);
                let _ = writeln!(
                    out,
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\" fill-opacity=\"0.45\"/>"
                );
            }
            let x = place(spread.median());
            let _ = writeln!(
                out,
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"3\" height=\"12\" fill=\"{colour}\"/>",
                x - 1.5,
                y - 6.0
            );
        }
        Dots::Range(from, to) => {
            let (x, end) = (place(*from), place(*to));
            let _ = writeln!(
                out,
                "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"8\" fill=\"{colour}\" fill-opacity=\"0.5\"/>",
                y - 4.0,
                end - x
            );
        }
    }
}
