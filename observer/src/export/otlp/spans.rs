//! The task that empties the span queue.

use std::sync::Arc;

use tokio::time::timeout;

use super::config::TracesConfig;
use super::counters::InFlight;
use super::encode::encode_spans;
use super::queue::{Batch, SpanQueue};
use super::sender::{Sender, closing};

/// Runs until the exporter closes and the queue is empty.
pub(super) async fn run(queue: Arc<SpanQueue>, config: TracesConfig, mut sender: Sender) {
    let receiver = sender.closing.clone();
    loop {
        wait_for_batch(&queue, &config, &sender).await;
        sender.ready().await;
        // Everything that came until now; one after the other, so that a slow backend slows only this task.
        while let Some(batch) = queue.pop(config.max_batch, sender.max_request_bytes()) {
            send(batch, &mut sender).await;
            sender.report_full_queue();
            sender.ready().await;
        }
        if *receiver.borrow() && queue.waiting() == 0 {
            return;
        }
    }
}

/// Until there is a span and either a full batch, the delay is over, or the exporter closes.
async fn wait_for_batch(queue: &SpanQueue, config: &TracesConfig, sender: &Sender) {
    let changed_or_closing = || async {
        tokio::select! {
            () = queue.changed.notified() => false,
            () = closing(&sender.closing) => true,
        }
    };
    while queue.waiting() == 0 {
        if changed_or_closing().await {
            return;
        }
    }
    let full = async { while queue.waiting() < config.max_batch && !changed_or_closing().await {} };
    // Over time is one of the three reasons to go on.
    let _ = timeout(config.schedule_delay, full).await;
}

async fn send(batch: Batch<'_>, sender: &mut Sender) {
    let Batch { spans, charge } = batch;
    let counting = Arc::clone(&sender.counting);
    let requests = encode_spans(&spans, sender.max_request_bytes());
    drop(spans);
    // All are in flight from here on, should this task be stopped halfway.
    let requests: Vec<_> = requests
        .into_iter()
        .map(|request| (request.body, InFlight::new(&counting, request.items)))
        .collect();
    for (body, items) in requests {
        sender.send(body, items).await;
    }
    // The encoded spans took their place in memory until now.
    drop(charge);
}
