//! Text from the wire, made safe for a terminal.

use std::fmt::Write;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

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

/// Appends `text`, escaped, in a column of `width` cells of the terminal: filled with spaces, or cut with `…` at `most`.
/// (A character of Chinese, Japanese or Korean takes two cells, a combining one none: Unicode Standard Annex 11.)
pub(super) fn push_column(out: &mut String, text: &str, width: usize, most: usize) {
    let mut safe = String::new();
    push(&mut safe, text);
    let mut cells = safe.width();
    if cells <= most {
        out.push_str(&safe);
    } else {
        let room = most.saturating_sub(1);
        cells = 0;
        for c in safe.chars() {
            let more = c.width().unwrap_or(0);
            if cells + more > room {
                break;
            }
            out.push(c);
            cells += more;
        }
        out.push('…');
        cells += 1;
    }
    out.extend(std::iter::repeat_n(' ', width.saturating_sub(cells)));
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
    fn columns_are_filled_and_cut_by_cells() {
        let column = |text| {
            let mut out = String::new();
            push_column(&mut out, text, 4, 6);
            out
        };
        assert_eq!(column("ü"), "ü   ");
        assert_eq!(column("sixsix"), "sixsix");
        assert_eq!(column("sevense"), "seven…");
        assert_eq!(column("\n\n\n\n"), "\\n\\n\\…");
        assert_eq!(column("注"), "注  ");
        assert_eq!(column("注文表"), "注文表");
        assert_eq!(column("注文表示"), "注文…");
        assert_eq!(column("e\u{301}"), "e\u{301}   ");
    }

    #[test]
    fn a_cut_column_is_as_wide_as_any_other() {
        for text in [
            "a",
            "abcdefgh",
            "注文",
            "注文注文注文",
            "a注文注文",
            "주문 서비스",
            "e\u{301}e\u{301}e\u{301}e\u{301}e\u{301}e\u{301}e\u{301}",
        ] {
            let mut out = String::new();
            push_column(&mut out, text, 6, 6);
            assert_eq!(out.width(), 6, "{out:?}");
        }
    }
}
