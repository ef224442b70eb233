//! Escapes the text of a process: it cannot move a cursor, set a title or answer a query of a
//! terminal, and no byte is lost silently.

use std::borrow::Cow;

const ESCAPE: u8 = 0x1b;

/// The offset of control characters in caret notation: `^[` for escape.
const CARET: u8 = 0x40;

/// Appends a text: sequences that only set colours are left out, other control characters are shown
/// as `^[`, C1 characters and bytes that are no UTF-8 as `\x9b`.
pub fn append(out: &mut Vec<u8>, text: &[u8]) {
    if is_plain(text) {
        out.extend_from_slice(text);
        return;
    }
    for chunk in without_colours(text).utf8_chunks() {
        for char in chunk.valid().chars() {
            append_char(out, char);
        }
        for byte in chunk.invalid() {
            append_hex(out, *byte);
        }
    }
}

/// Appends a text as a JSON string, with its quotes. Colours are left out, bytes that are no UTF-8
/// become U+FFFD.
pub(crate) fn append_json(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    if is_plain(text) && memchr::memchr3(b'"', b'\\', b'\t', text).is_none() {
        out.extend_from_slice(text);
        out.push(b'"');
        return;
    }
    for char in String::from_utf8_lossy(&without_colours(text)).chars() {
        match char {
            '"' | '\\' => out.extend([b'\\', char as u8]),
            '\n' => out.extend(b"\\n"),
            '\r' => out.extend(b"\\r"),
            '\t' => out.extend(b"\\t"),
            _ if char.is_control() => {
                out.extend(b"\\u00");
                append_digits(out, char as u8);
            }
            _ => append_utf8(out, char),
        }
    }
    out.push(b'"');
}

/// Whether it consists of printable ASCII and tabs.
fn is_plain(text: &[u8]) -> bool {
    // Without an early exit, which is faster.
    let odd = text.iter().fold(0, |odd, byte| {
        odd | u8::from(!matches!(byte, b'\t' | b' '..=b'~'))
    });
    odd == 0
}

/// Returns the text without `ESC [ 1 ; 31 m` and similar sequences.
pub(crate) fn without_colours(text: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = memchr::memchr(ESCAPE, text) else {
        return Cow::Borrowed(text);
    };
    let mut kept = text[..first].to_vec();
    let mut rest = &text[first..];
    while let Some(byte) = rest.first() {
        let colour = if *byte == ESCAPE { colour(rest) } else { 0 };
        if colour == 0 {
            kept.push(*byte);
        }
        rest = &rest[colour.max(1)..];
    }
    Cow::Owned(kept)
}

/// Returns the length of the colour sequence at the start of a text, or 0.
fn colour(text: &[u8]) -> usize {
    let Some(parameters) = text.strip_prefix(b"\x1b[") else {
        return 0;
    };
    let is_parameter = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b';' | b':');
    let length = parameters
        .iter()
        .take_while(|byte| is_parameter(byte))
        .count();
    if parameters.get(length) == Some(&b'm') {
        length + 3
    } else {
        0
    }
}

fn append_char(out: &mut Vec<u8>, char: char) {
    match char {
        '\t' => out.push(b'\t'),
        '\0'..='\x1f' => out.extend([b'^', char as u8 + CARET]),
        '\x7f' => out.extend(b"^?"),
        '\u{80}'..='\u{9f}' => append_hex(out, char as u8),
        _ => append_utf8(out, char),
    }
}

fn append_utf8(out: &mut Vec<u8>, char: char) {
    out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
}

fn append_hex(out: &mut Vec<u8>, byte: u8) {
    out.extend(b"\\x");
    append_digits(out, byte);
}

fn append_digits(out: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.push(DIGITS[usize::from(byte >> 4)]);
    out.push(DIGITS[usize::from(byte & 15)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_drives_a_terminal_is_left() {
        for (text, expected) in [
            (&b"plain\ttext"[..], "plain\ttext"),
            ("gr\u{fc}n \u{2713}".as_bytes(), "gr\u{fc}n \u{2713}"),
            (b"\x1b[1;31mred\x1b[0m \x1b[mend", "red end"),
            (b"\x1b[2J\x1b]0;title\x07", "^[[2J^[]0;title^G"),
            (b"cut \x1b[3", "cut ^[[3"),
            (b"a\rb\x7f\0", "a^Mb^?^@"),
            ("\u{9b}2J".as_bytes(), "\\x9b2J"),
            (b"da\xffm\xc3aged\xe2\x82", "da\\xffm\\xc3aged\\xe2\\x82"),
        ] {
            let mut out = Vec::new();
            append(&mut out, text);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn json_strings() {
        let mut out = Vec::new();
        append_json(&mut out, b"\x1b[31m\"a\\b\"\x1b[0m\t\x1b[2J\xff \xc2\x9b");
        let expected = r#""\"a\\b\"\t\u001b[2J"#.to_owned() + "\u{fffd} \\u009b\"";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
