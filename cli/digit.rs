//! A grey image in the terminal, two pixels to a character.

/// Draws `height` rows of `width` values between 0 and 1 with half blocks, without empty lines
/// above and below.
pub(crate) fn draw(pixels: &[f64], width: usize, height: usize) -> String {
    let lit = |row: usize, column: usize| {
        row < height && pixels.get(row * width + column).is_some_and(|&v| v > 0.35)
    };
    let mut lines = Vec::new();
    for row in (0..height).step_by(2) {
        let cells = (0..width).map(|column| match (lit(row, column), lit(row + 1, column)) {
            (true, true) => '█',
            (true, false) => '▀',
            (false, true) => '▄',
            (false, false) => ' ',
        });
        lines.push(cells.collect::<String>().trim_end().to_owned());
    }
    let first = lines.iter().position(|l| !l.is_empty()).unwrap_or(0);
    let last = lines.iter().rposition(|l| !l.is_empty()).unwrap_or(0);
    lines.get(first..=last).unwrap_or_default().join("\n")
}

/// A bar of `width` characters, filled in proportion to `share`, in eighths of a character.
pub(crate) fn bar(share: f64, width: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
    let full = (0..width).filter(|&i| (i + 1) as f64 <= share * width as f64).count();
    let rest = (share * width as f64 - full as f64) * 8.0;
    let eighth = (0..8).rev().find(|&e| e as f64 <= rest).unwrap_or(0);
    "█".repeat(full) + EIGHTHS[eighth]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_rows_share_a_line() {
        assert_eq!(draw(&[1.0, 0.0, 1.0, 0.0, 1.0, 1.0], 3, 2), "▀▄█");
        assert_eq!(draw(&[0.0, 0.0, 0.0, 0.0, 1.0, 0.0], 1, 6), "▀");
        assert_eq!(draw(&[], 0, 0), "");
    }

    #[test]
    fn a_bar_stays_within_its_width() {
        assert_eq!(bar(0.0, 4), "");
        assert_eq!(bar(0.625, 4), "██▌");
        assert_eq!(bar(7.0, 4), "████");
        assert_eq!(bar(f64::NAN, 4), "");
    }
}
