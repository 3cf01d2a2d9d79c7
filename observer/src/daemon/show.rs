//! What is shown on this machine: a thread of its own feeds the sink, so that a slow terminal costs nobody else.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{SHOW_METRICS, SpanSink};
use crate::{metrics::Snapshot, trace::Span};

pub(super) fn run_sink(
    mut sink: Box<dyn SpanSink>,
    waiting: &Receiver<Span>,
    collect: &Arc<dyn Fn() -> Snapshot + Send + Sync>,
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
