//! One event is one line: what could break a line, recolour it or turn it around is escaped.

use std::fmt;

/// What stands behind a value that was cut.
pub(super) const CUT: &str = "…(cut)";

/// Where a value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Inside the quotes of a JSON string.
    Json,
    /// Bare, in a line for people.
    Bare,
    /// Inside quotes, in a line for people.
    Quoted,
}

/// Appends what is written to it, escaped, up to a number of bytes; then [`CUT`], and it refuses.
pub(super) struct Escape<'a> {
    out: &'a mut Vec<u8>,
    style: Style,
    left: usize,
}

impl<'a> Escape<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>, style: Style, limit: usize) -> Self {
        Self { out, style, left: limit }
    }

    /// Bytes of the limit that are left.
    pub(super) fn left(&self) -> usize {
        self.left
    }
}

impl fmt::Write for Escape<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.len() <= self.left {
            self.left -= text.len();
            escape(self.out, text, self.style);
            return Ok(());
        }
        let end = text.floor_char_boundary(self.left);
        escape(self.out, text.get(..end).unwrap_or_default(), self.style);
        self.out.extend_from_slice(CUT.as_bytes());
        self.left = 0;
        Err(fmt::Error)
    }
}

/// Bytes that may need care: controls, quote, backslash, and the lead bytes of the characters
/// that [`forges`] names beyond ASCII.
const SUSPECT: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table[0x7f] = true;
    table[0xc2] = true; // C1 controls
    table[0xd8] = true; // U+061C
    table[0xe2] = true; // U+200E … U+2069
    table[0xef] = true; // U+FEFF
    table
};

/// Whether a terminal or a log viewer may act on `c` instead of showing it.
fn forges(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{feff}')
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Appends `text` with what forges escaped. Clean stretches are copied whole.
pub(super) fn escape(out: &mut Vec<u8>, text: &str, style: Style) {
    let bytes = text.as_bytes();
    let (mut clean, mut at) = (0, 0);
    while let Some(offset) = bytes[at..].iter().position(|byte| SUSPECT[usize::from(*byte)]) {
        at += offset;
        // A suspect byte begins a character: it is ASCII or a lead byte.
        let Some(c) = text.get(at..).and_then(|rest| rest.chars().next()) else { break };
        let next = at + c.len_utf8();
        if forges(c) || (matches!(c, '"' | '\\') && style != Style::Bare) {
            out.extend_from_slice(&bytes[clean..at]);
            escape_char(out, c, style);
            clean = next;
        }
        at = next;
    }
    out.extend_from_slice(&bytes[clean..]);
}

fn escape_char(out: &mut Vec<u8>, c: char, style: Style) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match c {
        '"' => b'"',
        '\\' => b'\\',
        '\n' => b'n',
        '\r' => b'r',
        '\t' => b't',
        _ => 0,
    };
    if short != 0 {
        out.extend_from_slice(&[b'\\', short]);
        return;
    }
    out.extend_from_slice(b"\\u");
    if style != Style::Json {
        out.push(b'{');
    }
    // All that forges lies below U+10000.
    for shift in [12, 8, 4, 0] {
        out.push(HEX[(c as usize >> shift) & 15]);
    }
    if style != Style::Json {
        out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fmt::Write;

    fn escaped(text: &str, style: Style) -> String {
        let mut out = Vec::new();
        escape(&mut out, text, style);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_forges_is_shown_as_its_number() {
        let hostile = "a\x1b[31m\r\n\u{9b}b\u{202e}c\u{2028}\u{feff}é…\"\\";
        assert_eq!(
            escaped(hostile, Style::Bare),
            r#"a\u{001b}[31m\r\n\u{009b}b\u{202e}c\u{2028}\u{feff}é…"\"#
        );
        assert!(escaped(hostile, Style::Quoted).ends_with(r#"é…\"\\"#));
    }

    #[test]
    fn a_long_value_is_cut_between_characters_and_marked() {
        let mut out = Vec::new();
        let mut escape = Escape::new(&mut out, Style::Bare, 4);
        let two = "éé";
        assert!(write!(escape, "abc{two}").is_err());
        assert_eq!(String::from_utf8(out).unwrap(), "abc…(cut)");
    }

    proptest! {
        #[test]
        fn json_gives_the_text_back(text in "\\PC*|[\\x00-\\u{2070}]*|.*") {
            let json = format!("\"{}\"", escaped(&text, Style::Json));
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
            prop_assert!(!json.chars().any(forges));
        }

        #[test]
        fn no_character_that_forges_is_left(text in "[\\x00-\\u{2070}]*|.*") {
            for style in [Style::Bare, Style::Quoted] {
                prop_assert!(!escaped(&text, style).chars().any(forges));
            }
        }
    }
}
