//! Colour, where there is someone to see it.

use std::{env, fmt::Write as _, io::IsTerminal};

use anstyle::{AnsiColor, Reset, Style};

/// Colours of the sixteen that every terminal has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Colour {
    Red,
    Green,
    Yellow,
    Cyan,
    Dim,
    Bold,
}

impl Colour {
    const fn style(self) -> Style {
        match self {
            Self::Red => AnsiColor::Red.on_default(),
            Self::Green => AnsiColor::Green.on_default(),
            Self::Yellow => AnsiColor::Yellow.on_default(),
            Self::Cyan => AnsiColor::Cyan.on_default(),
            Self::Dim => Style::new().dimmed(),
            Self::Bold => Style::new().bold(),
        }
    }
}

/// Whether to colour, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Palette {
    on: bool,
}

impl Palette {
    /// No colour at all.
    #[cfg(test)]
    pub(in crate::cli) const PLAIN: Self = Self { on: false };
    #[cfg(test)]
    pub(in crate::cli) const COLOURED: Self = Self { on: true };

    /// Colour if `stream` is a terminal that is not dumb, and NO_COLOR is empty or unset (no-color.org).
    pub(in crate::cli) fn of(stream: &impl IsTerminal) -> Self {
        let wanted = env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            on: stream.is_terminal()
                && wanted
                && env::var_os("TERM").is_none_or(|term| term != "dumb"),
        }
    }

    /// Whether there is any colour.
    pub(in crate::cli) fn is_on(self) -> bool {
        self.on
    }

    /// Switches a colour on.
    pub(in crate::cli) fn start(self, out: &mut String, colour: Colour) {
        if self.on {
            // Writing to a String cannot fail.
            let _ = write!(out, "{}", colour.style());
        }
    }

    /// Back to how it was.
    pub(in crate::cli) fn end(self, out: &mut String) {
        if self.on {
            let _ = write!(out, "{Reset}");
        }
    }

    /// `text`, which must be safe already, in a colour.
    pub(in crate::cli) fn paint(self, out: &mut String, colour: Colour, text: &str) {
        self.start(out, colour);
        out.push_str(text);
        self.end(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_those_of_every_terminal_and_end() {
        let painted = |palette: Palette, colour| {
            let mut out = String::new();
            palette.paint(&mut out, colour, "x");
            out
        };
        assert_eq!(painted(Palette::COLOURED, Colour::Red), "\x1b[31mx\x1b[0m");
        assert_eq!(painted(Palette::COLOURED, Colour::Dim), "\x1b[2mx\x1b[0m");
        assert_eq!(painted(Palette::COLOURED, Colour::Bold), "\x1b[1mx\x1b[0m");
        assert_eq!(painted(Palette::PLAIN, Colour::Red), "x");
    }
}
