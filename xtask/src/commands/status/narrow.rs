//! The table of `status`, in a terminal of the usual 80 columns.
//!
//! Pure. Columns that do not fit, the last one first, move below the table, beside versions and
//! ports.

use super::super::columns::{aligned, width};

/// Columns of the terminals that everything has to fit.
const COLUMNS: usize = 80;
/// What continued lines begin with.
const INDENT: &str = "    ";
/// The columns that are always shown.
const FIRST: [&str; 3] = ["PROCESS", "STATE", "PID"];
/// Columns that are shown while they fit.
const FIGURES: [&str; 3] = ["RESTARTS", "UPTIME", "URL"];

/// The data of a process.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) state: String,
    pub(super) pid: String,
    /// Values of the columns [`FIGURES`].
    pub(super) figures: [String; 3],
    /// Versions and ports.
    pub(super) further: Vec<String>,
}

/// Returns the table, and the lines below it.
pub(super) fn lines(rows: &[Row]) -> Vec<String> {
    let all = (0..=FIGURES.len())
        .rev()
        .map(|figures| table(rows, figures));
    let fits = |table: &Vec<String>| table.iter().all(|line| width([line]) <= COLUMNS);
    let mut shown = FIGURES.len();
    let mut lines = Vec::new();
    for table in all {
        lines = table;
        if fits(&lines) || shown == 0 {
            break;
        }
        shown -= 1;
    }
    let below = rows.iter().flat_map(|row| below(row, shown));
    let below: Vec<String> = below.collect();
    if !below.is_empty() {
        lines.push(String::new());
        lines.extend(below);
    }
    lines
}

/// Returns the table with this number of figures.
fn table(rows: &[Row], figures: usize) -> Vec<String> {
    let heading = FIRST.iter().chain(&FIGURES[..figures]);
    let heading: Vec<&str> = heading.copied().collect();
    let cells = rows.iter().map(|row| {
        let first = [&*row.name, &*row.state, &*row.pid].into_iter();
        let figures = row.figures[..figures].iter().map(String::as_str);
        first.chain(figures).collect::<Vec<_>>()
    });
    let rows: Vec<Vec<&str>> = std::iter::once(heading).chain(cells).collect();
    aligned(&rows)
}

/// Returns the data without a column, in lines that fit.
fn below(row: &Row, figures: usize) -> Vec<String> {
    let hidden = FIGURES.iter().zip(&row.figures).skip(figures);
    let hidden = hidden
        .filter(|(_, figure)| *figure != "-")
        .map(|(name, figure)| format!("{} {figure}", name.to_lowercase()));
    let mut words = hidden.chain(row.further.iter().cloned()).peekable();
    if words.peek().is_none() {
        return Vec::new();
    }
    let mut lines = vec![format!("{}:", row.name)];
    while let Some(word) = words.next() {
        let word = if words.peek().is_some() {
            format!("{word},")
        } else {
            word
        };
        let Some(line) = lines.last_mut() else { break };
        if width([&*line]) + 1 + width([&word]) <= COLUMNS {
            line.push(' ');
            line.push_str(&word);
        } else {
            lines.push(format!("{INDENT}{word}"));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, url: &str, ports: usize) -> Row {
        Row {
            name: name.to_owned(),
            state: "failed (exit 255)".to_owned(),
            pid: "4194304".to_owned(),
            figures: ["12", "23h 59m", url].map(str::to_owned),
            further: (0..ports).map(|n| format!("port{n}:65535")).collect(),
        }
    }

    #[test]
    fn everything_fits_80_columns_and_nothing_is_lost() {
        let long = "a".repeat(52);
        let ipv6 = "http://[2001:db8:85a3:8d3:1319:8a2e:370:7348]:65535";
        for (name, url, ports) in [
            ("nats", "nats://127.0.0.1:65535", 5),
            ("pocketbase", "http://127.0.0.1:65535", 1),
            ("worker", "-", 0),
            ("nats-leaf-amsterdam-12", ipv6, 30),
            (&*long, ipv6, 30),
        ] {
            let lines = lines(&[row("nats", "-", 1), row(name, url, ports)]);
            let text = lines.join("\n");
            assert!(lines.iter().all(|line| width([line]) <= COLUMNS), "{text}");
            for word in [name, "failed (exit 255)", "4194304", "12", "23h 59m"] {
                assert!(text.contains(word), "{word}: {text}");
            }
            assert!(url == "-" || text.contains(url), "{text}");
            let told = text.matches("65535").count();
            assert_eq!(told, 1 + ports + url.matches("65535").count(), "{text}");
        }
    }

    #[test]
    fn a_usual_stack_has_all_columns() {
        let rows = [
            row("controller", "-", 0),
            row("pocketbase", "http://127.0.0.1:8090", 1),
        ];
        let lines = lines(&rows);
        assert!(lines[0].ends_with("URL"), "{}", lines[0]);
        assert!(lines[2].ends_with("http://127.0.0.1:8090"), "{}", lines[2]);
        assert_eq!(lines[3..], ["", "pocketbase: port0:65535"]);
    }
}
