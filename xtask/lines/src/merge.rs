//! Merges the lines of several processes by time.

use std::io::{self, Write};

use crate::show::Show;
use crate::source::{Rest, Source};

/// Shows all existing lines, by time; lines of the same time in the order of the sources, a line
/// without a time after the one before it. `live`: a line that is still being written stays for the
/// next call.
pub fn merge(
    sources: &mut [Source],
    live: bool,
    show: &mut Show,
    out: &mut dyn Write,
) -> io::Result<()> {
    let rest = if live { Rest::Waits } else { Rest::Counts };
    let mut waiting = Vec::with_capacity(sources.len());
    for (index, source) in sources.iter_mut().enumerate() {
        if source.fill(rest)? {
            waiting.push(index);
        }
    }
    loop {
        let key = |index: &usize| (sources[*index].time(), *index);
        waiting.sort_unstable_by_key(key);
        let Some(first) = waiting.first().copied() else {
            return show.flush(out);
        };
        // Lines up to that of the next source belong together.
        let limit = waiting.get(1).map(key);
        let source = &mut sources[first];
        loop {
            show.line(first, source.line(), out)?;
            source.advance();
            if !source.fill(rest)? {
                waiting.remove(0);
                break;
            }
            if limit.is_some_and(|limit| (source.time(), first) > limit) {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::show::{Filter, Format};

    fn line(second: u32, text: &str) -> String {
        format!("2026-11-24T00:00:{second:02}.000Z INF {text}\n")
    }

    fn shown(sources: &mut [Source], live: bool) -> Vec<String> {
        let names: Vec<String> = sources
            .iter()
            .map(|source| source.process().to_owned())
            .collect();
        let mut show = Show::new(
            &names,
            Format::Plain { colours: false },
            Filter::default(),
            None,
        );
        let mut out = Vec::new();
        merge(sources, live, &mut show, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        text.lines()
            .map(|line| line.replace("2026-11-24T00:00:", "").replace(".000Z", ""))
            .collect()
    }

    fn write(dir: &Path, name: &str, lines: &[String]) {
        fs::write(dir.join(name), lines.concat()).unwrap();
    }

    #[test]
    fn by_time_over_rotated_files() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        write(
            dir,
            "a-2026-11-24T00-00-03.000.log",
            &[line(1, "a1"), line(3, "a3")],
        );
        write(dir, "a.log", &[line(5, "a5"), "no time\n".to_owned()]);
        write(
            dir,
            "b.log",
            &[
                line(2, "b2"),
                line(3, "b3"),
                line(6, "b6").trim_end().to_owned(),
            ],
        );
        let mut sources = [
            Source::whole(dir, "a"),
            Source::whole(dir, "b"),
            Source::whole(dir, "c"),
        ];
        let expected = [
            "a | 01 a1",
            "b | 02 b2",
            "a | 03 a3",
            "b | 03 b3",
            "a | 05 a5",
            "a | no time",
            "b | 06 b6",
        ];
        assert_eq!(shown(&mut sources, false), expected);

        let mut last = [
            Source::last(dir, "a", 3).unwrap(),
            Source::last(dir, "b", 1).unwrap(),
        ];
        let expected = ["a | 03 a3", "a | 05 a5", "a | no time", "b | 06 b6"];
        assert_eq!(shown(&mut last, false), expected);
        let none = &mut [Source::last(dir, "c", 3).unwrap()];
        assert_eq!(shown(none, false), [""; 0]);
    }

    #[test]
    fn a_followed_log_survives_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let mut source = [Source::whole(dir, "a")];
        assert_eq!(shown(&mut source, true), [""; 0], "nothing is there yet");
        write(dir, "a.log", &[line(1, "one"), "half".to_owned()]);
        assert_eq!(shown(&mut source, true), ["a | 01 one"]);
        write(dir, "a.log", &[line(1, "one"), "half a line\n".to_owned()]);
        assert_eq!(shown(&mut source, true), ["a | half a line"]);

        // Written after the last read, then rotated twice.
        let more = [line(1, "one"), "half a line\n".to_owned(), line(2, "two")];
        write(dir, "a.log", &more);
        fs::rename(dir.join("a.log"), dir.join("a-2026-11-24T00-00-02.000.log")).unwrap();
        write(dir, "a-2026-11-24T00-00-03.000.log", &[line(3, "three")]);
        assert_eq!(shown(&mut source, true), ["a | 02 two", "a | 03 three"]);
        write(dir, "a.log", &[line(4, "four")]);
        assert_eq!(shown(&mut source, true), ["a | 04 four"]);

        // Truncated in place.
        fs::OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(dir.join("a.log"))
            .unwrap();
        assert_eq!(shown(&mut source, true), [""; 0]);
        let mut file = fs::OpenOptions::new()
            .append(true)
            .open(dir.join("a.log"))
            .unwrap();
        file.write_all(line(5, "five").as_bytes()).unwrap();
        assert_eq!(shown(&mut source, true), ["a | 05 five"]);

        let mut after = [Source::after(dir, "a", 1000)];
        assert_eq!(
            shown(&mut after, true),
            ["a | 05 five"],
            "a shorter file is a new one"
        );
        let size = fs::metadata(dir.join("a.log")).unwrap().len();
        let mut after = [Source::after(dir, "a", size)];
        assert_eq!(shown(&mut after, true), [""; 0]);
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.log"), vec![b'x'; 3_000_000]).unwrap();
        let shown = shown(&mut [Source::whole(dir.path(), "a")], false);
        let length: usize = shown.iter().map(|line| line.len() - "a | ".len()).sum();
        assert_eq!(length, 3_000_000);
        assert!(shown.len() > 1);
    }
}
