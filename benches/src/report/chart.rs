//! A chart of one workload as SVG: a bar a target, with the spread over the repetitions. Readable on light and on dark ground.

use std::fmt::Write;

use super::Row;
use crate::workload::Units;

const WIDTH: f64 = 720.0;
const LABELS: f64 = 130.0;
const FIGURES: f64 = 110.0;
const BAR: f64 = 22.0;
const GAP: f64 = 8.0;
const HEAD: f64 = 52.0;

/// Draws the rows of one workload.
pub fn chart(name: &str, units: Units, rows: &[&Row]) -> String {
    let height = HEAD + rows.len() as f64 * (BAR + GAP) + GAP;
    let longest = rows.iter().map(|row| row.rate.max).fold(0.0, f64::max);
    let scale = (WIDTH - LABELS - FIGURES) / longest.max(f64::MIN_POSITIVE);
    let better = if units.more_is_better { "more" } else { "less" };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <style>text{{fill:#24292f}}.q{{fill:#57606a}}@media(prefers-color-scheme:dark){{text{{fill:#e6edf3}}.q{{fill:#9da7b3}}}}</style>\n\
         <text x=\"8\" y=\"22\" font-size=\"16\" font-weight=\"bold\">{}</text>\n\
         <text x=\"8\" y=\"41\" class=\"q\">{}; {better} is better; the line spans smallest and largest</text>\n",
        escaped(name),
        escaped(units.rate)
    );
    for (index, row) in rows.iter().enumerate() {
        bar(&mut svg, row, HEAD + index as f64 * (BAR + GAP), scale);
    }
    svg.push_str("</svg>\n");
    svg
}

fn bar(svg: &mut String, row: &Row, top: f64, scale: f64) {
    let colour = match row.target.as_str() {
        "portolan" => "#0969da",
        "direct" => "#8c959f",
        _ => "#bf8700",
    };
    let base = top + BAR * 0.7;
    let middle = top + BAR / 2.0;
    let end = LABELS + row.rate.max * scale;
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{base:.1}\" text-anchor=\"end\">{}</text>\n\
         <rect x=\"{LABELS}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>\n\
         <path d=\"M{:.1} {middle:.1}H{end:.1}\" stroke=\"#cf222e\" stroke-width=\"2\"/>\n\
         <text x=\"{:.1}\" y=\"{base:.1}\">{}</text>",
        LABELS - 8.0,
        escaped(&row.target),
        row.rate.median * scale,
        LABELS + row.rate.min * scale,
        end + 8.0,
        figure(row.rate.median)
    );
}

fn figure(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Sample, rows};

    #[test]
    fn the_longest_bar_ends_before_its_figure_and_names_are_escaped() {
        let sample = |target: &str, rate| Sample {
            workload: "w".to_owned(),
            target: target.to_owned(),
            rate,
            cpu: None,
            p50: None,
            p99: None,
            p999: None,
            failed: 0,
            resident: None,
            generator_busy: 0.0,
            target_busy: None,
        };
        let rows = rows(&[sample("a<b", 10.0), sample("portolan", 20.0)]);
        let svg = chart("w", Units::BULK, &rows.iter().collect::<Vec<_>>());
        assert!(svg.contains("a&lt;b"));
        let width = WIDTH - LABELS - FIGURES;
        assert!(svg.contains(&format!("width=\"{width:.1}\"")));
    }
}
