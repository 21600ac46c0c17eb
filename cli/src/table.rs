//! Tables and colours for people: columns as wide as their widest cell, colours on a terminal alone. Pure but for [`Paint::of_stdout`].

use std::io::IsTerminal;

use crate::client::printable;

/// Whether to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    /// Text alone.
    Plain,
    /// ANSI colours.
    Colours,
}

/// What a piece of text says besides its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Nothing.
    Normal,
    /// A heading.
    Strong,
    /// Of less interest.
    Faint,
    /// All is well.
    Good,
    /// Something to know.
    Notice,
    /// Something is wrong.
    Bad,
}

impl Paint {
    /// Colours when standard output is a terminal that wants them (no-color.org).
    pub(crate) fn of_stdout() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        if std::io::stdout().is_terminal() && !unwanted && !dumb {
            Paint::Colours
        } else {
            Paint::Plain
        }
    }

    /// Text in a style; what would steer the terminal is taken out of it.
    pub(crate) fn text(self, style: Style, text: &str) -> String {
        let text = printable(text);
        let code = match (self, style) {
            (Paint::Plain, _) | (Paint::Colours, Style::Normal) => return text,
            (Paint::Colours, Style::Strong) => "1",
            (Paint::Colours, Style::Faint) => "2",
            (Paint::Colours, Style::Good) => "32",
            (Paint::Colours, Style::Notice) => "33",
            (Paint::Colours, Style::Bad) => "31",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// One cell.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    style: Style,
    text: String,
    right: bool,
}

impl Cell {
    /// Text, to the left.
    pub(crate) fn text(style: Style, text: impl Into<String>) -> Self {
        Cell {
            style,
            text: text.into(),
            right: false,
        }
    }

    /// A number, to the right.
    pub(crate) fn number(text: impl Into<String>) -> Self {
        Cell {
            style: Style::Normal,
            text: text.into(),
            right: true,
        }
    }

    /// The same in another style.
    pub(crate) fn styled(self, style: Style) -> Self {
        Cell { style, ..self }
    }
}

/// A table without lines between its cells.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

enum Row {
    Cells(Vec<Cell>),
    /// Stands across all columns and widens none.
    Across(String),
}

impl Table {
    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(Row::Cells(cells));
    }

    /// Adds a line across all columns, painted already.
    pub(crate) fn across(&mut self, line: String) {
        self.rows.push(Row::Across(line));
    }

    /// The lines, each behind `indent` spaces and without spaces at its end.
    pub(crate) fn render(&self, paint: Paint, indent: usize) -> String {
        let mut widths: Vec<usize> = Vec::new();
        for row in &self.rows {
            if let Row::Cells(cells) = row {
                widths.resize(widths.len().max(cells.len()), 0);
                for (width, cell) in widths.iter_mut().zip(cells) {
                    *width = (*width).max(cell.text.chars().count());
                }
            }
        }
        let mut out = String::new();
        for row in &self.rows {
            out.push_str(&" ".repeat(indent));
            match row {
                Row::Across(line) => out.push_str(line),
                Row::Cells(cells) => line(&mut out, cells, &widths, paint),
            }
            out.truncate(out.trim_end_matches(' ').len());
            out.push('\n');
        }
        out
    }
}

fn line(out: &mut String, cells: &[Cell], widths: &[usize], paint: Paint) {
    for (index, (cell, width)) in cells.iter().zip(widths).enumerate() {
        if index > 0 {
            out.push_str("  ");
        }
        let space = " ".repeat(width - cell.text.chars().count());
        let text = if cell.text.is_empty() {
            String::new()
        } else {
            paint.text(cell.style, &cell.text)
        };
        if cell.right {
            out.push_str(&space);
            out.push_str(&text);
        } else {
            out.push_str(&text);
            out.push_str(&space);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::default();
        table.row(vec![
            Cell::text(Style::Strong, "name"),
            Cell::number("flows"),
            Cell::text(Style::Normal, "why"),
        ]);
        table.across("a line that is longer than all the columns together".into());
        table.row(vec![
            Cell::text(Style::Bad, "wéb-1"),
            Cell::number("7"),
            Cell::text(Style::Normal, ""),
        ]);
        table
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        assert_eq!(
            table().render(Paint::Plain, 2),
            "  name   flows  why\n  a line that is longer than all the columns together\n  wéb-1      7\n"
        );
    }

    #[test]
    fn colours_do_not_move_columns() {
        let plain = table().render(Paint::Plain, 0);
        let mut coloured = table().render(Paint::Colours, 0);
        assert!(coloured.contains("\x1b[31mwéb-1\x1b[0m"));
        for code in ["1", "31", "0"] {
            coloured = coloured.replace(&format!("\x1b[{code}m"), "");
        }
        assert_eq!(coloured, plain);
    }

    #[test]
    fn nothing_from_elsewhere_steers_the_terminal() {
        for paint in [Paint::Plain, Paint::Colours] {
            assert!(
                !paint
                    .text(Style::Normal, "a\x1b[2Jb\rc")
                    .contains(['\x1b', '\r'])
            );
        }
    }
}
