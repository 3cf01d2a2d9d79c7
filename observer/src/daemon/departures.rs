//! Services whose processes are gone leave the metrics, once their last values have been exported.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::{export::otlp::OtlpConfig, process::Service};

/// How long the metrics of a service that is gone stay, at least: a scraper that comes once a minute has missed some.
const KEEP: Duration = Duration::from_secs(300);

/// What tells one service from another.
type Identity = (Arc<str>, Arc<str>);

fn identity(service: &Service) -> Identity {
    (service.name.clone(), service.instance_id.clone())
}

/// How long the metrics of a service that is gone stay, with metrics exported every `interval`.
fn keep(interval: Option<Duration>) -> Duration {
    KEEP.max(interval.unwrap_or_default().saturating_mul(2))
}

/// Since when each service is gone.
pub(super) struct Departures {
    keep_ns: u64,
    gone: HashMap<Identity, u64>,
}

impl Departures {
    /// Nobody is gone yet.
    pub(super) fn new(keep: Duration) -> Self {
        Self {
            keep_ns: u64::try_from(keep.as_nanos()).unwrap_or(u64::MAX),
            gone: HashMap::new(),
        }
    }

    /// For what is exported as this says.
    pub(super) fn for_exports(otlp: Option<&OtlpConfig>) -> Self {
        let metrics = otlp.and_then(|config| config.metrics.as_ref());
        Self::new(keep(metrics.map(|it| it.interval)))
    }

    /// Takes all that are gone now, and returns those that have been for long enough. One that is back begins anew.
    /// `now_ns` is CLOCK_MONOTONIC.
    pub(super) fn due(&mut self, gone: &[Arc<Service>], now_ns: u64) -> Departed {
        let mut before = std::mem::take(&mut self.gone);
        let mut due = HashSet::new();
        for service in gone {
            let identity = identity(service);
            let since = before.remove(&identity).unwrap_or(now_ns);
            if now_ns.saturating_sub(since) >= self.keep_ns {
                due.insert(identity);
            } else {
                self.gone.entry(identity).or_insert(since);
            }
        }
        // A service of several shards comes several times.
        self.gone.retain(|identity, _| !due.contains(identity));
        Departed(Arc::new(due))
    }
}

/// Services that leave.
#[derive(Clone, Default)]
pub(super) struct Departed(Arc<HashSet<Identity>>);

impl Departed {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn contains(&self, service: &Service) -> bool {
        self.0.contains(&identity(service))
    }
}

/// The last ones that left, for the shards to let go of.
#[derive(Default)]
pub(super) struct Notice(Mutex<(u64, Departed)>);

impl Notice {
    /// Puts up a new one.
    pub(super) fn post(&self, departed: Departed) {
        let mut notice = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *notice = (notice.0 + 1, departed);
    }

    /// The notice, if it is not the one whose number the reader remembers in `seen`.
    pub(super) fn read(&self, seen: &mut u64) -> Option<Departed> {
        let notice = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == notice.0 {
            return None;
        }
        *seen = notice.0;
        Some(notice.1.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::samples::service;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn metrics_stay_five_minutes_or_two_intervals() {
        assert_eq!(keep(None), KEEP);
        assert_eq!(keep(Some(Duration::from_secs(60))), KEEP);
        assert_eq!(
            keep(Some(Duration::from_secs(600))),
            Duration::from_secs(1200)
        );
    }

    #[test]
    fn who_is_gone_for_long_enough_leaves_once() {
        let mut departures = Departures::new(KEEP);
        let both = [service("api"), service("api")];
        assert!(departures.due(&both, 10 * SECOND).is_empty());
        assert!(departures.due(&both, 309 * SECOND).is_empty());
        let departed = departures.due(&both, 310 * SECOND);
        assert!(departed.contains(&both[0]) && !departed.contains(&service("web")));
        assert!(departures.gone.is_empty());
    }

    #[test]
    fn who_is_back_begins_anew() {
        let mut departures = Departures::new(KEEP);
        let api = [service("api")];
        departures.due(&api, 0);
        departures.due(&[], 200 * SECOND);
        assert!(departures.due(&api, 400 * SECOND).is_empty());
        assert!(!departures.due(&api, 700 * SECOND).is_empty());
    }

    #[test]
    fn a_notice_is_read_once() {
        let notice = Notice::default();
        let mut seen = 0;
        assert!(notice.read(&mut seen).is_none());
        notice.post(Departures::new(Duration::ZERO).due(&[service("api")], 0));
        assert!(
            notice
                .read(&mut seen)
                .is_some_and(|it| it.contains(&service("api")))
        );
        assert!(notice.read(&mut seen).is_none());
    }
}
