//! Makes output comparable: paths, ports, process ids and times become words.

/// Replaces every number of `text` by the result of `replace`, which receives the text before it,
/// the number and the text after it.
fn numbers(text: &str, replace: impl Fn(&str, &str, &str) -> Option<String>) -> String {
    let mut result = String::new();
    let mut at = 0;
    while let Some(start) = text[at..]
        .find(|c: char| c.is_ascii_digit())
        .map(|n| at + n)
    {
        let digits = |c: char| !(c.is_ascii_digit() || c == '.');
        let mut end = text[start..].find(digits).map_or(text.len(), |n| start + n);
        while text[start..end].ends_with('.') {
            end -= 1;
        }
        result.push_str(&text[at..start]);
        let (before, number, after) = (&text[..start], &text[start..end], &text[end..]);
        result.push_str(&replace(before, number, after).unwrap_or_else(|| number.to_owned()));
        at = end;
    }
    result.push_str(&text[at..]);
    result
}

/// Replaces the name of the supervisor's socket, which depends on the path of the checkout, by
/// `SOCKET`.
pub(super) fn socket(text: &str) -> String {
    const LENGTH: usize = 16;
    let mut result = String::new();
    let mut rest = text;
    while let Some(end) = rest.find(".sock") {
        let (before, after) = rest.split_at(end);
        let name = before.len().saturating_sub(LENGTH);
        let is_hash = before
            .get(name..)
            .is_some_and(|name| name.bytes().all(|b| b.is_ascii_hexdigit()));
        result.push_str(if is_hash { &before[..name] } else { before });
        result.push_str(if is_hash { "SOCKET" } else { ".sock" });
        rest = &after[".sock".len()..];
    }
    result + rest
}

/// Replaces ports by `{service.port}`, process ids and times by `N`.
pub(super) fn normalise(text: &str, ports: &[(String, u16)]) -> String {
    let lines: Vec<String> = text.lines().map(timestamp).collect();
    let text = lines.join("\n");
    numbers(&text, |before, number, after| {
        if after.starts_with(" ms") || after.starts_with(" s") && number.contains('.') {
            return Some("N".to_owned());
        }
        if before.ends_with("pid ") || before.ends_with("process ") {
            return Some("N".to_owned());
        }
        let port = ports.iter().find(|(_, port)| port.to_string() == number);
        port.map(|(name, _)| format!("{{{name}}}"))
    })
}

/// Returns a line of a log without the time at its start.
fn timestamp(line: &str) -> String {
    let Some(rest) = line.strip_prefix("  | ") else {
        return line.to_owned();
    };
    let (first, after) = rest.split_once(' ').unwrap_or((rest, ""));
    let is_time = first.len() > 19 && first.as_bytes()[10] == b'T' && first.starts_with("20");
    if is_time {
        format!("  | TIME {after}").trim_end().to_owned()
    } else {
        line.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::normalise;

    #[test]
    fn ports_ids_and_times() {
        let ports = [("nats.client".to_owned(), 10_000)];
        let text = "up 127.0.0.1:10000 in 0.31 s, 12 ms, within 60 s (pid 10000)\n\
                    \x20 | 2026-01-02T03:04:05.678Z x 1";
        let expected = "up 127.0.0.1:{nats.client} in N s, N ms, within 60 s (pid N)\n  | TIME x 1";
        assert_eq!(normalise(text, &ports), expected);
    }
}
