//! Colour, where there is someone to see it.

use std::{env, io::IsTerminal};

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
            out.push_str(match colour {
                Colour::Red => "\x1b[31m",
                Colour::Green => "\x1b[32m",
                Colour::Yellow => "\x1b[33m",
                Colour::Cyan => "\x1b[36m",
                Colour::Dim => "\x1b[2m",
                Colour::Bold => "\x1b[1m",
            });
        }
    }

    /// Back to how it was.
    pub(in crate::cli) fn end(self, out: &mut String) {
        if self.on {
            out.push_str("\x1b[0m");
        }
    }

    /// `text`, which must be safe already, in a colour.
    pub(in crate::cli) fn paint(self, out: &mut String, colour: Colour, text: &str) {
        self.start(out, colour);
        out.push_str(text);
        self.end(out);
    }
}
