//! Text in columns.

/// Returns the width of the widest of some texts, in characters.
pub(super) fn width<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> usize {
    let widths = texts.into_iter().map(|text| text.as_ref().chars().count());
    widths.max().unwrap_or(0)
}

/// Aligns rows of the same length, each column but the last as wide as its widest cell.
pub(super) fn aligned<T: AsRef<str>>(rows: &[Vec<T>]) -> Vec<String> {
    let columns = rows.first().map_or(0, Vec::len);
    let widths = (0..columns).map(|column| width(rows.iter().map(|row| row[column].as_ref())));
    let widths: Vec<usize> = widths.collect();
    let line = |row: &Vec<T>| {
        let cells = row.iter().zip(&widths);
        let cells = cells.map(|(cell, width)| format!("{:width$}", cell.as_ref()));
        let line = cells.collect::<Vec<_>>().join("  ");
        line.trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}
