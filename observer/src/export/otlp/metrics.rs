//! The task that collects and sends metrics.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use tokio::time::{MissedTickBehavior, interval};

use super::config::{MetricsConfig, Temporality};
use super::counters::InFlight;
use super::delta::{self, Previous};
use super::encode::{Collection, encode_metrics};
use super::interval::{Began, Moment};
use super::own::{OwnMetrics, PreviousOwn, encode_own};
use super::sender::{Sender, closing};
use crate::metrics::Snapshot;

/// Gives the metrics of this moment.
pub(super) type Collect = Arc<dyn Fn() -> Snapshot + Send + Sync>;

/// Until something was sent, collections are no further apart than this: whoever has just connected a backend
/// wants to see metrics there before the specification's minute is over.
const FIRST: Duration = Duration::from_secs(5);

/// Runs until the exporter closes; then collects and sends once more.
pub(super) async fn run(
    config: MetricsConfig,
    collect: Collect,
    own: Arc<OnceLock<OwnMetrics>>,
    sender: Sender,
) {
    let receiver = sender.closing.clone();
    let mut exporter = MetricsTask {
        config,
        collect,
        sender,
        previous: Previous::default(),
        began: Began::default(),
        arrived: None,
        own,
        previous_own: PreviousOwn::default(),
    };
    let mut period = exporter.config.interval.min(FIRST);
    let mut ticks = ticking(period).await;
    loop {
        let last = tokio::select! {
            _ = ticks.tick() => false,
            () = closing(&receiver) => true,
        };
        let sent = exporter.export().await;
        exporter.export_own().await;
        if last {
            return;
        }
        if sent && period != exporter.config.interval {
            period = exporter.config.interval;
            ticks = ticking(period).await;
        }
    }
}

/// The first tick comes after one period.
async fn ticking(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    ticks
}

struct MetricsTask {
    config: MetricsConfig,
    collect: Collect,
    sender: Sender,
    previous: Previous,
    began: Began,
    /// The last collection of which all arrived.
    arrived: Option<Moment>,
    own: Arc<OnceLock<OwnMetrics>>,
    previous_own: PreviousOwn,
}

impl MetricsTask {
    /// True if something was sent and all of it arrived.
    async fn export(&mut self) -> bool {
        let counting = Arc::clone(&self.sender.counting);
        if self.sender.throttled() && !*self.sender.closing.borrow() {
            // The next collection says it all.
            counting.skipped_collections.fetch_add(1, Relaxed);
            return false;
        }
        let collect = Arc::clone(&self.collect);
        // It may take locks and thousands of series; the runtime's threads have connections to serve.
        let snapshot = match tokio::task::spawn_blocking(move || collect()).await {
            Ok(snapshot) => snapshot,
            Err(error) => {
                counting.skipped_collections.fetch_add(1, Relaxed);
                tracing::error!(%error, "metrics could not be collected");
                return false;
            }
        };
        let collected = Moment {
            unix_nano: snapshot.time_unix_nano,
            monotonic: Instant::now(),
        };
        let began = &mut self.began;
        let series = match self.config.temporality {
            Temporality::Cumulative => delta::cumulative(&snapshot, began),
            Temporality::Delta => self.previous.difference(&snapshot, collected, began),
        };
        let exemplars_after = self.arrived.map_or(0, |arrived| collected.since(arrived));
        let collection = Collection {
            time_unix_nano: snapshot.time_unix_nano,
            temporality: self.config.temporality,
            exemplars_after: self.config.exemplars.then_some(exemplars_after),
        };
        let requests = encode_metrics(&series, collection, self.sender.max_request_bytes());
        let requests: Vec<_> = requests
            .into_iter()
            .map(|request| {
                (
                    request.body,
                    InFlight::new(&counting, request.items),
                    request.items,
                )
            })
            .collect();
        let mut all = !requests.is_empty();
        let mut rest = series.as_slice();
        for (body, in_flight, items) in requests {
            let (these, others) =
                rest.split_at(usize::try_from(items).unwrap_or(rest.len()).min(rest.len()));
            rest = others;
            if !self.sender.send(body, in_flight).await {
                all = false;
            } else if self.config.temporality == Temporality::Delta {
                self.previous.sent(these, collected);
            }
        }
        if all {
            self.arrived = Some(collected);
        }
        all
    }

    /// The daemon's own. What is lost here is counted and told again by the next one.
    async fn export_own(&mut self) {
        if self.own.get().is_none() || self.sender.throttled() {
            return;
        }
        let own = Arc::clone(&self.own);
        let collected = tokio::task::spawn_blocking(move || own.get().map(|own| (own.families)()));
        let (Ok(Some(families)), Some(own)) = (collected.await, self.own.get()) else {
            return;
        };
        let unix_nano = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        let now = Moment {
            unix_nano,
            monotonic: Instant::now(),
        };
        let temporality = self.config.temporality;
        let request = encode_own(own, &families, now, temporality, &mut self.previous_own);
        let counting = Arc::clone(&self.sender.counting);
        let in_flight = InFlight::new(&counting, request.items);
        if self.sender.send(request.body, in_flight).await && temporality == Temporality::Delta {
            self.previous_own.sent(&families, now);
        }
    }
}
