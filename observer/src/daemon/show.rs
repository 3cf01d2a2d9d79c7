//! What is shown on this machine: a thread of its own feeds the sink, so that a slow terminal costs nobody else.

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{registries::Collect, sink::SpanSink};
use crate::trace::Span;

/// What shows spans on this machine.
pub struct Show {
    /// Takes them.
    pub sink: Box<dyn SpanSink>,
    /// Every exchange, not only those that the sampler keeps.
    pub all: bool,
}

/// How often the sink is given all metrics.
const SHOW_METRICS: Duration = Duration::from_secs(3);

pub(super) fn run_sink(
    mut sink: Box<dyn SpanSink>,
    waiting: &Receiver<Span>,
    collect: &Collect,
    closed: &watch::Sender<bool>,
) {
    const TICK: Duration = Duration::from_millis(200);
    let mut shown = Instant::now();
    let mut ticked = Instant::now();
    loop {
        match waiting.recv_timeout(TICK) {
            Ok(span) => sink.span(&span),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if ticked.elapsed() >= TICK {
            ticked = Instant::now();
            sink.tick();
        }
        if shown.elapsed() >= SHOW_METRICS {
            shown = Instant::now();
            sink.metrics(&collect());
        }
        if sink.is_closed() {
            closed.send_replace(true);
        }
    }
    sink.metrics(&collect());
    sink.finish();
}
