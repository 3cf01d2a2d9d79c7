//! `--print`: spans on standard output.
//!
//! In: every kept span. Out: a line of text or a JSON object for each, on standard output.
//! Owns: formats and the thread that writes. A reader that is too slow costs counted spans, never the daemon's time.

pub(super) mod json;
mod output;
pub(super) mod text;

use std::io::{self, Write};

pub(in crate::cli) use self::output::Output;
use super::palette::Palette;
use crate::{config::Print, daemon::SpanSink, trace::Span};

/// Bytes after which lines are handed to the writing thread without waiting for the next tick.
const BATCH_BYTES: usize = 16 * 1024;

/// Prints spans to standard output.
#[derive(Debug)]
pub struct Printer {
    json: bool,
    palette: Palette,
    /// Lines that were not handed over yet.
    pending: String,
    /// How many spans they are.
    spans: u64,
    output: Output,
}

impl Printer {
    /// A printer to standard output; `None` where `print` is off. Colours are used on a terminal only, and not where
    /// NO_COLOR is set. Starts a thread.
    pub fn stdout(print: Print) -> io::Result<Option<Self>> {
        let json = match print {
            Print::Off => return Ok(None),
            Print::Text => false,
            Print::Json => true,
        };
        let palette = Palette::of(&io::stdout());
        Self::to(json, palette, io::stdout()).map(Some)
    }

    fn to(json: bool, palette: Palette, writer: impl Write + Send + 'static) -> io::Result<Self> {
        let pending = if json {
            String::new()
        } else {
            text::header(palette)
        };
        Ok(Self {
            json,
            palette,
            pending,
            spans: 0,
            output: Output::start(writer)?,
        })
    }

    /// Prints one span: at once, or with the next [`flush`](Self::flush). Never blocks.
    pub fn span(&mut self, span: &Span) {
        if self.json {
            json::line(&mut self.pending, span);
        } else {
            text::line(&mut self.pending, span, self.palette);
        }
        self.spans += 1;
        if self.pending.len() >= BATCH_BYTES {
            self.flush();
        }
    }

    /// Hands over what is pending; to be called every few tens of milliseconds.
    pub fn flush(&mut self) {
        if !self.pending.is_empty() {
            let spans = std::mem::take(&mut self.spans);
            self.output.send(std::mem::take(&mut self.pending), spans);
        }
    }

    /// The reader is gone (a closed pipe): nothing more will be printed.
    pub fn is_closed(&self) -> bool {
        self.output.is_closed()
    }

    /// Spans that were not printed since the reader was too slow.
    pub fn dropped(&self) -> u64 {
        self.output.dropped()
    }

    /// Writes out what is pending, for at most two seconds.
    pub fn finish(&mut self) {
        self.flush();
        self.output.finish();
    }
}

impl SpanSink for Printer {
    fn span(&mut self, span: &Span) {
        Printer::span(self, span);
    }

    fn tick(&mut self) {
        self.flush();
    }

    fn finish(&mut self) {
        Printer::finish(self);
    }

    fn is_closed(&self) -> bool {
        Printer::is_closed(self)
    }
}

#[cfg(test)]
#[path = "print_tests.rs"]
mod tests;
