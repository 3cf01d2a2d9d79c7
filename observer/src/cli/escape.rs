//! Text from the wire, made safe for a terminal.

use std::fmt::Write;

/// Characters that move the cursor, change colours or reorder text: C0 and C1 controls, DEL, line and paragraph
/// separators, bidirectional overrides, and invisible format characters that hide text.
pub(super) fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// Appends `text` with every unsafe character as `\n`, `\t`, `\r` or `\u{…}`.
pub(super) fn push(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => out.extend(c.escape_debug()),
            _ if is_unsafe(c) => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            _ => out.push(c),
        }
    }
}

/// Appends `text`, escaped, in a column of `width` characters: filled with spaces, or cut with `…` at `most`.
pub(super) fn push_column(out: &mut String, text: &str, width: usize, most: usize) {
    let mut safe = String::new();
    push(&mut safe, text);
    let count = safe.chars().count();
    if count > most {
        out.extend(safe.chars().take(most.saturating_sub(1)));
        out.push('…');
    } else {
        out.push_str(&safe);
        out.extend(std::iter::repeat_n(' ', width.saturating_sub(count)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_passes() {
        let hostile: String = (0..0x3000u32)
            .chain(0xe0000..0xe0080)
            .filter_map(char::from_u32)
            .collect();
        let mut out = String::new();
        push(&mut out, &hostile);
        assert!(!out.chars().any(is_unsafe));
        let mut out = String::new();
        push(&mut out, "a\u{1b}[31m\u{9b}\r\n\u{202e}ü");
        assert_eq!(out, "a\\u{1b}[31m\\u{9b}\\r\\n\\u{202e}ü");
    }

    #[test]
    fn columns_are_filled_and_cut_by_characters() {
        let column = |text| {
            let mut out = String::new();
            push_column(&mut out, text, 4, 6);
            out
        };
        assert_eq!(column("ü"), "ü   ");
        assert_eq!(column("sixsix"), "sixsix");
        assert_eq!(column("sevense"), "seven…");
        assert_eq!(column("\n\n\n\n"), "\\n\\n\\…");
    }
}
