//! What the demo shows: trees of traces and the RED table, appended every few seconds.

use std::{
    io,
    time::{Duration, Instant},
};

use super::{
    table::Table,
    traces::{Traces, interesting},
    tree,
};
use crate::{
    cli::{palette::Palette, print::Output},
    daemon::SpanSink,
    metrics::Snapshot,
    trace::Span,
};

/// Takes every kept span and prints at each snapshot.
#[derive(Debug)]
pub struct Screen {
    palette: Palette,
    traces: Traces,
    table: Table,
    /// Spans since the last page.
    spans: u64,
    output: Output,
}

impl Screen {
    /// How often a snapshot is wanted.
    pub const INTERVAL: Duration = Duration::from_secs(3);

    /// A screen on standard output; starts a thread that writes.
    pub fn stdout() -> io::Result<Self> {
        Ok(Self::to(
            Palette::of(&io::stdout()),
            Output::start(io::stdout())?,
        ))
    }

    fn to(palette: Palette, output: Output) -> Self {
        Self {
            palette,
            traces: Traces::default(),
            table: Table::default(),
            spans: 0,
            output,
        }
    }

    fn page(&mut self, snapshot: &Snapshot, now: Instant) -> String {
        let mut page = String::from("\n");
        let whole = self.traces.take_whole(now);
        for (why, trace) in interesting(&whole) {
            tree::push(&mut page, &why, trace, self.palette);
            page.push('\n');
        }
        self.table.push(&mut page, snapshot, self.palette);
        let (spans, traces) = (std::mem::take(&mut self.spans), whole.len());
        page.push_str(&format!(
            "{spans} spans since the last table, {traces} traces complete\n"
        ));
        page
    }
}

impl SpanSink for Screen {
    fn span(&mut self, span: &Span) {
        self.spans += 1;
        self.traces.add(span, Instant::now());
    }

    fn metrics(&mut self, snapshot: &Snapshot) {
        let page = self.page(snapshot, Instant::now());
        self.output.send(page, 0);
    }

    fn finish(&mut self) {
        self.output.finish();
    }

    fn is_closed(&self) -> bool {
        self.output.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cli::samples::span, trace::SpanKind};

    #[test]
    fn a_page_shows_whole_traces_once_then_the_table() {
        let mut screen = Screen::to(Palette::PLAIN, Output::start(io::sink()).unwrap());
        screen.span(&span(1, 2, 1, "GET /a", SpanKind::Server, 0, 5));
        screen.span(&span(1, 1, 0, "GET /", SpanKind::Client, 0, 9));
        let later = Instant::now() + Duration::from_secs(1);
        let page = screen.page(&Snapshot::default(), later);
        assert!(
            page.starts_with("\nnewest, slowest  trace 01010101"),
            "{page}"
        );
        assert!(
            page.ends_with("P99\n2 spans since the last table, 1 traces complete\n"),
            "{page}"
        );
        let page = screen.page(&Snapshot::default(), later);
        assert!(!page.contains("trace 0101"), "{page}");
    }
}
