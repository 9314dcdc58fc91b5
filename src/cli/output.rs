//! What people see: colours only where a terminal shows them and NO_COLOR is unset; tables.

use std::io::IsTerminal;

/// Colours of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paint {
    /// Allowed, up, fine.
    Good,
    /// Refused, down, lost.
    Bad,
    /// Beside the point.
    Dim,
    /// A heading.
    Bold,
}

/// How standard output is written to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    colour: bool,
}

impl Output {
    /// As the terminal and the environment ask for (no-color.org: any value but an empty one means none).
    pub(super) fn new() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { colour: !refused && std::io::stdout().is_terminal() }
    }

    /// Without colours.
    pub(super) fn plain() -> Self {
        Self { colour: false }
    }

    /// `text`, painted.
    pub(super) fn paint(self, paint: Paint, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match paint {
            Paint::Good => 32,
            Paint::Bad => 31,
            Paint::Dim => 2,
            Paint::Bold => 1,
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// Rows in columns, two blanks apart; the last column is not padded.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            let missing = width.saturating_sub(cell.chars().count()).saturating_add(2);
            line.extend(std::iter::repeat_n(' ', missing));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// A time of day out of an event's timestamp: `13:58:02.114209`.
pub(super) fn time_of_day(timestamp: &str) -> &str {
    timestamp.get(11..26).unwrap_or(timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [vec!["a".into(), "bb".into()], vec!["cccc".into(), "d".into()], vec!["e".into()]];
        assert_eq!(table(&rows), "a     bb\ncccc  d\ne\n");
        assert_eq!(table(&[]), "");
        assert_eq!(Output::plain().paint(Paint::Bad, "x"), "x");
        assert_eq!(Output { colour: true }.paint(Paint::Bad, "x"), "\u{1b}[31mx\u{1b}[0m");
        assert_eq!(time_of_day("2026-11-23T13:58:02.114209+0000"), "13:58:02.114209");
    }
}
