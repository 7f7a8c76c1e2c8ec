//! Aligned columns for people, and the words in them.

use std::fmt::Write as _;
use std::io::{self, Write};

/// Rows under headings. Columns are as wide as their widest cell; numbers stand to the right.
pub(crate) struct Table {
    headings: Vec<&'static str>,
    right: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table. A heading that starts with `>` stands over a column of numbers.
    pub(crate) fn new(headings: &[&'static str]) -> Self {
        Self {
            headings: headings.iter().map(|heading| heading.trim_start_matches('>')).collect(),
            right: headings.iter().map(|heading| heading.starts_with('>')).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row, with a cell for each heading.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.headings.len(), "a cell for each heading");
        self.rows.push(cells);
    }

    /// Writes the table; of one without rows, what it would have listed.
    pub(crate) fn write(&self, out: &mut dyn Write, what: &str) -> io::Result<()> {
        if self.rows.is_empty() {
            return writeln!(out, "no {what}");
        }
        let mut widths: Vec<usize> = self.headings.iter().map(|heading| heading.len()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let headings: Vec<String> = self.headings.iter().map(|&heading| heading.to_owned()).collect();
        for row in std::iter::once(&headings).chain(&self.rows) {
            writeln!(out, "{}", self.line(row, &widths).trim_end())?;
        }
        Ok(())
    }

    fn line(&self, row: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for ((cell, width), right) in row.iter().zip(widths).zip(&self.right) {
            // Writing to a string can't fail.
            let _ = if *right { write!(line, "{cell:>width$}  ") } else { write!(line, "{cell:<width$}  ") };
        }
        line
    }
}

/// Text from elsewhere, without what would change the terminal.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// How long ago something was: `5s`, `12m`, `3h`, `2d`.
pub(crate) fn age(since: u64, now: u64) -> String {
    let seconds = now.saturating_sub(since) / 1_000;
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A share in percent: `0.3%`, `12%`. What is not nothing never shows as `0%`, what is not all never as `100%`.
pub(crate) fn percent(part: u64, of: u64) -> String {
    if of == 0 || part == 0 {
        return "0%".to_owned();
    }
    let per_mille = u128::from(part) * 1_000 / u128::from(of);
    match per_mille {
        0 => "<0.1%".to_owned(),
        1..100 => format!("{}.{}%", per_mille / 10, per_mille % 10),
        _ => format!("{}%", per_mille / 10),
    }
}

/// A count; large powers of two, as IPv6 pools have them, as such.
pub(crate) fn count(count: u64) -> String {
    match count {
        u64::MAX => ">=2^64".to_owned(),
        _ if count >= 1 << 32 && count.is_power_of_two() => format!("2^{}", count.trailing_zeros()),
        _ => count.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["NAME", ">BLOCKS", "STATE"]);
        table.row(vec!["default".to_owned(), "4096".to_owned(), "active".to_owned()]);
        table.row(vec!["é".to_owned(), "1".to_owned(), String::new()]);
        let mut out = Vec::new();
        table.write(&mut out, "pools").expect("written");
        let text = String::from_utf8(out).expect("text");
        assert_eq!(text, "NAME     BLOCKS  STATE\ndefault    4096  active\né             1\n");
    }

    #[test]
    fn words() {
        assert_eq!(
            [0, 119_999, 120_000, 7_200_000, 172_800_000].map(|now| age(0, now)),
            ["0s", "119s", "2m", "2h", "2d"]
        );
        assert_eq!(age(5, 0), "0s", "clocks differ");
        assert_eq!(
            [(0, 0), (0, 5), (1, 4096), (13, 4096), (1, 2), (999, 1000), (7, 7), (u64::MAX, u64::MAX)]
                .map(|(part, of)| percent(part, of)),
            ["0%", "0%", "<0.1%", "0.3%", "50%", "99%", "100%", "100%"]
        );
        assert_eq!(
            [0, 4096, 1 << 60, (1 << 60) - 1, u64::MAX].map(count),
            ["0", "4096", "2^60", "1152921504606846975", ">=2^64"]
        );
        assert_eq!(plain("a\u{1b}[2Jb"), "a\u{fffd}[2Jb");
    }
}
