//! Where kept spans go on this machine.

use crate::{metrics::Snapshot, trace::Span};

/// Takes every kept span, in the order in which they end. Called from one thread; must not block.
pub trait SpanSink: Send {
    /// One kept span.
    fn span(&mut self, span: &Span);

    /// Called a few times a second, also when nothing happened: what is held back may be written out.
    fn tick(&mut self) {}

    /// All metrics, every few seconds.
    fn metrics(&mut self, snapshot: &Snapshot) {
        let _ = snapshot;
    }

    /// The last call: everything was handed over.
    fn finish(&mut self) {}

    /// No one reads any more (the pipe is closed): the daemon may end.
    fn is_closed(&self) -> bool {
        false
    }
}
