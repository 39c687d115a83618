//! Sizes, times, ids and tables for people.

use std::time::Duration;

/// A number of bytes in decimal units, three digits.
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{n} B") } else { format!("{} {}", digits(value), UNITS[unit]) }
}

/// A span of time, three digits.
pub(crate) fn time(span: Duration) -> String {
    let seconds = span.as_secs_f64();
    if seconds >= 99.5 {
        let whole = span.as_secs();
        format!("{} min {:02} s", whole / 60, whole % 60)
    } else if seconds >= 0.9995 {
        format!("{} s", digits(seconds))
    } else if seconds >= 0.000_999_5 {
        format!("{} ms", digits(seconds * 1e3))
    } else {
        format!("{} µs", digits(seconds * 1e6))
    }
}

/// A number with three significant digits, without an exponent.
fn digits(value: f64) -> String {
    if value >= 99.95 {
        format!("{value:.0}")
    } else if value >= 9.995 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

/// The first sixteen hexadecimal digits of an id, as messages about files show it.
pub(crate) fn short_id(id: &[u8; 32]) -> String {
    id[..8].iter().map(|b| format!("{b:02x}")).collect()
}

/// All hexadecimal digits of an id.
pub(crate) fn id(id: &[u8; 32]) -> String {
    id.iter().map(|b| format!("{b:02x}")).collect()
}

/// A shape as people write it: `1 x 28 x 28`.
pub(crate) fn shape(shape: &[usize]) -> String {
    if shape.is_empty() {
        return "scalar".to_owned();
    }
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" x ")
}

/// A table whose columns are as wide as their widest cell.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    right: Vec<bool>,
}

impl Table {
    /// A table with these column heads; a head that starts with `>` aligns its column right.
    pub(crate) fn new(heads: &[&str]) -> Self {
        let right = heads.iter().map(|h| h.starts_with('>')).collect();
        let row = heads.iter().map(|h| h.trim_start_matches('>').to_owned()).collect();
        Self { rows: vec![row], right }
    }

    /// Appends a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Every row on one line, two spaces between columns, a rule under the heads.
    pub(crate) fn render(&self) -> String {
        let columns = self.right.len();
        let width = |c: usize| {
            self.rows.iter().filter_map(|r| r.get(c)).map(|x| x.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut lines = Vec::new();
        for (i, row) in self.rows.iter().enumerate() {
            let cells = row.iter().zip(&widths).zip(&self.right).map(|((cell, &w), &right)| {
                if right { format!("{cell:>w$}") } else { format!("{cell:<w$}") }
            });
            lines.push(cells.collect::<Vec<_>>().join("  ").trim_end().to_owned());
            if i == 0 {
                lines.push("-".repeat(widths.iter().sum::<usize>() + 2 * (columns - 1)));
            }
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_have_three_digits() {
        let cases = [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (59_527, "59.5 kB")];
        cases.into_iter().for_each(|(n, text)| assert_eq!(bytes(n), text));
        assert_eq!(bytes(999_600), "1.00 MB");
        let ms = |m| time(Duration::from_micros(m));
        assert_eq!([ms(90), ms(12_340), ms(1_500_000)], ["90.0 µs", "12.3 ms", "1.50 s"]);
        assert_eq!(time(Duration::from_secs(125)), "2 min 05 s");
    }

    #[test]
    fn columns_line_up() {
        let mut t = Table::new(&["step", ">time"]);
        t.row(["a".to_owned(), "10 s".to_owned()]);
        t.row(["longer".to_owned(), "1 s".to_owned()]);
        assert_eq!(t.render(), "step    time\n------------\na       10 s\nlonger   1 s");
    }
}
