//! Intervals that end after they began, whatever happens to the time of day.
//!
//! Somebody may set the clock back between two exports. Then the end of the last interval lies in what is the future by the
//! new clock, and so does the start of everything that began before. A point that ends before it begins is refused or
//! miscounted by backends. So a difference's start is measured back from its end by the monotonic clock, and a start that
//! came to lie in the future is put right before its end, once: a start that moved with each export would say each time
//! that the counter began again.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Instant,
};

use crate::process::Service;

/// When metrics were collected, by both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// Time of day, ns since the Unix epoch.
    pub(super) unix_nano: u64,
    /// Does not step.
    pub(super) monotonic: Instant,
}

impl Moment {
    /// The start of an interval that ends now and began at `earlier`, ns since the Unix epoch.
    pub(super) fn since(self, earlier: Self) -> u64 {
        if earlier.unix_nano < self.unix_nano {
            return earlier.unix_nano;
        }
        let passed = self.monotonic.saturating_duration_since(earlier.monotonic);
        let passed = u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX).max(1);
        self.unix_nano.saturating_sub(passed)
    }
}

/// Name and instance id.
type Instance = (Arc<str>, Arc<str>);

fn instance(service: &Service) -> Instance {
    (Arc::clone(&service.name), Arc::clone(&service.instance_id))
}

/// Starts that lay in the future, and where they were put instead.
#[derive(Default)]
pub(super) struct Began {
    moved: HashMap<Instance, u64>,
}

impl Began {
    /// Forgets all services but these.
    pub(super) fn keep<'a>(&mut self, services: impl Iterator<Item = &'a Arc<Service>>) {
        if !self.moved.is_empty() {
            let present: HashSet<Instance> = services.map(|it| instance(it)).collect();
            self.moved.retain(|it, _| present.contains(it));
        }
    }

    /// The start to be told of a service's sums that began at `start` and are what they are at `time`.
    pub(super) fn before(&mut self, service: &Service, start: u64, time: u64) -> u64 {
        if self.moved.is_empty() && start < time {
            return start;
        }
        let instance = instance(service);
        let told = self.moved.get(&instance).map_or(start, |it| start.min(*it));
        if told < time {
            return told;
        }
        let told = time.saturating_sub(1);
        self.moved.insert(instance, told);
        told
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::trace::samples::service;

    #[test]
    fn an_interval_begins_where_the_last_one_ended() {
        let earlier = Moment {
            unix_nano: 1_000,
            monotonic: Instant::now(),
        };
        let now = Moment {
            unix_nano: 1_600,
            monotonic: earlier.monotonic + Duration::from_nanos(500),
        };
        assert_eq!(now.since(earlier), 1_000);
    }

    #[test]
    fn an_interval_in_which_the_clock_was_set_back_is_as_long_as_it_was() {
        let earlier = Moment {
            unix_nano: 10_000,
            monotonic: Instant::now(),
        };
        let later = |unix_nano, passed| Moment {
            unix_nano,
            monotonic: earlier.monotonic + Duration::from_nanos(passed),
        };
        assert_eq!(later(7_000, 500).since(earlier), 6_500);
        assert_eq!(later(10_000, 500).since(earlier), 9_500);
        assert_eq!(later(7_000, 0).since(earlier), 6_999, "never of no length");
        assert_eq!(later(100, 500).since(earlier), 0);
    }

    #[test]
    fn a_start_that_came_to_lie_in_the_future_moves_once() {
        let mut began = Began::default();
        let (a, b) = (service("a"), service("b"));
        assert_eq!(began.before(&a, 5_000, 6_000), 5_000);
        assert_eq!(began.before(&a, 5_000, 2_000), 1_999, "set back");
        assert_eq!(began.before(&a, 5_000, 3_000), 1_999);
        assert_eq!(began.before(&a, 5_000, 7_000), 1_999, "and stays");
        assert_eq!(began.before(&a, 5_000, 1_000), 999, "set back again");
        assert_eq!(began.before(&b, 5_000, 7_000), 5_000);
        began.keep([&b].into_iter());
        assert_eq!(
            began.before(&a, 5_000, 7_000),
            5_000,
            "another of that name"
        );
    }
}
