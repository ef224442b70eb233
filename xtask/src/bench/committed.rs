//! `docs/performance.md`: the ratios that were measured last, committed, and what became slower.
//!
//! Owns the file. A ratio is compared and a time is not, since machines differ.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use engine::checkout::paths::Paths;

use super::report::BenchReport;

/// How much larger than the committed ratio one may be.
const REGRESSION: f64 = 1.2;
/// Mode of the file: it is committed.
const FILE_MODE: u32 = 0o644;
/// What comes before the rows.
const HEADER: &str = "\
<!-- Written by `cargo xtask bench --write`. Do not edit. -->

# Performance

What Core costs, as ratios of two figures that were measured in one run, so that they say something
about another machine, too. `cargo xtask bench` measures them again and fails when one is more than
a fifth larger than here, or over its budget; `cargo xtask bench --write` replaces the rows that it
measured. Write them on a machine without other work.

| what | against | ratio |
|---|---|---|
";

/// A committed ratio.
struct Ratio {
    what: String,
    against: String,
    value: f64,
}

fn file(paths: &Paths) -> PathBuf {
    paths.root().join("docs/performance.md")
}

fn read(file: &Path) -> Vec<Ratio> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let row = |line: &str| {
        let line = line.strip_prefix("| ")?.strip_suffix(" |")?;
        let [what, against, ratio] = *line.split(" | ").collect::<Vec<_>>() else {
            return None;
        };
        let (what, against) = (what.to_owned(), against.to_owned());
        let value = ratio.parse().ok()?;
        Some(Ratio {
            what,
            against,
            value,
        })
    };
    text.lines().filter_map(row).collect()
}

/// Adds to each row the largest ratio that is no regression, if one is committed.
pub(super) fn compare(paths: &Paths, report: &mut BenchReport) {
    let committed = read(&file(paths));
    for row in &mut report.rows {
        let same = |old: &&Ratio| old.what == row.what && old.against == row.against;
        row.largest_ratio = committed
            .iter()
            .find(same)
            .map(|old| old.value * REGRESSION);
    }
}

/// Replaces the committed ratios of what was measured.
pub fn write(paths: &Paths, report: &BenchReport) -> anyhow::Result<()> {
    let file = file(paths);
    let mut ratios = read(&file);
    for row in &report.rows {
        let Some(value) = row.ratio() else { continue };
        let (what, against) = (&row.what, &row.against);
        ratios.retain(|old| old.what != *what || old.against != *against);
        ratios.push(Ratio {
            what: what.clone(),
            against: against.clone(),
            value,
        });
    }
    let mut text = HEADER.to_owned();
    for Ratio {
        what,
        against,
        value,
    } in ratios
    {
        writeln!(text, "| {what} | {against} | {value:.2} |").context("cannot write a row")?;
    }
    kit::files::write_atomically(&file, text.as_bytes(), FILE_MODE)
}

#[cfg(test)]
mod tests {
    use super::super::report::Row;
    use super::*;

    fn report(figures: &[(&str, f64)]) -> BenchReport {
        let mut report = BenchReport::default();
        for (what, value) in figures {
            report.compare(*what, "the base", (*value, 100.0), (9.0, 0.0));
        }
        report.count("what must not happen", 0_u32);
        report
    }

    #[test]
    fn a_larger_ratio_is_a_regression_and_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path().to_path_buf());
        fs::create_dir(dir.path().join("docs")).unwrap();
        let mut first = report(&[("one", 200.0), ("two", 100.0)]);
        compare(&paths, &mut first);
        assert!(first.rows.iter().all(Row::within), "nothing is committed");
        write(&paths, &first).unwrap();

        let mut second = report(&[("one", 239.0), ("two", 121.0), ("three", 1.0)]);
        compare(&paths, &mut second);
        let within: Vec<bool> = second.rows.iter().map(Row::within).collect();
        assert_eq!(within, [true, false, true, true]);
        write(&paths, &report(&[("two", 121.0)])).unwrap();
        compare(&paths, &mut second);
        assert!(second.rows.iter().all(Row::within));
        assert_eq!(read(&file(&paths)).len(), 2);
    }
}
