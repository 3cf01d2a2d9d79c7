//! Whether every part of the daemon is alive.
//!
//! In: a [`Pulse`] of each thread, which beats while its thread gets on; and what else can tell that it is gone.
//! Out: what is wrong, for `/healthz` and for who waits for the daemon's end.
//! Owns: the list of parts, and whether the daemon captures.
//!
//! A part that is *gone* ends the daemon: what it did, nobody does any more, and a restart mends it. One that is *stuck* may go
//! on by itself, so it is only told.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use super::time::now_ns;

/// A part that is asked instead of telling: what is wrong with it, if anything.
type Probe = Box<dyn Fn() -> Option<&'static str> + Send + Sync>;

/// How far the daemon is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Stage {
    /// Not capturing yet.
    Starting,
    Capturing,
    /// Threads end one after the other.
    Stopping,
}

/// All parts.
pub(super) struct Health {
    stage: AtomicU8,
    parts: Mutex<Vec<Arc<Part>>>,
    probes: Mutex<Vec<(&'static str, Probe)>>,
}

struct Part {
    name: String,
    /// Longest time between two beats, ns; `None` for a part that may rest for as long as it likes.
    patience_ns: Option<u64>,
    /// Last beat, CLOCK_MONOTONIC ns.
    beat_ns: AtomicU64,
    end: AtomicU8,
}

/// How a part ended.
mod end {
    pub(super) const NOT_YET: u8 = 0;
    /// As it should.
    pub(super) const DONE: u8 = 1;
    /// Though nobody asked it to.
    pub(super) const EARLY: u8 = 2;
    pub(super) const PANICKED: u8 = 3;
}

/// What is wrong with one part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    part: String,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Gone(&'static str),
    Stuck(Duration),
}

impl Trouble {
    /// The part's name.
    pub(super) fn part(&self) -> &str {
        &self.part
    }

    /// Whether the daemon has to end.
    pub(super) const fn is_fatal(&self) -> bool {
        matches!(self.what, What::Gone(_))
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Gone(how) => write!(formatter, "{} {how}", self.part),
            What::Stuck(since) => write!(
                formatter,
                "{} has been stuck for {} s",
                self.part,
                since.as_secs()
            ),
        }
    }
}

impl Health {
    /// Of a daemon that starts.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            stage: AtomicU8::new(Stage::Starting as u8),
            parts: Mutex::default(),
            probes: Mutex::default(),
        })
    }

    /// How far the daemon is.
    pub(super) fn stage(&self) -> Stage {
        match self.stage.load(Ordering::Acquire) {
            0 => Stage::Starting,
            1 => Stage::Capturing,
            _ => Stage::Stopping,
        }
    }

    /// It is so far now.
    pub(super) fn reached(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Release);
    }

    /// A new part, which is stuck when it has not beaten for `patience`.
    pub(super) fn part(self: &Arc<Self>, name: &str, patience: Option<Duration>) -> Pulse {
        let part = Arc::new(Part {
            name: name.to_owned(),
            patience_ns: patience.map(|it| u64::try_from(it.as_nanos()).unwrap_or(u64::MAX)),
            beat_ns: AtomicU64::new(now_ns()),
            end: AtomicU8::new(end::NOT_YET),
        });
        lock(&self.parts).push(Arc::clone(&part));
        Pulse {
            part,
            health: Arc::clone(self),
        }
    }

    /// A part that is asked.
    pub(super) fn probe(
        &self,
        name: &'static str,
        probe: impl Fn() -> Option<&'static str> + Send + Sync + 'static,
    ) {
        lock(&self.probes).push((name, Box::new(probe)));
    }

    /// Everything that is wrong now.
    pub(super) fn troubles(&self) -> Vec<Trouble> {
        self.troubles_at(now_ns())
    }

    fn troubles_at(&self, now_ns: u64) -> Vec<Trouble> {
        let parts = lock(&self.parts);
        let told = parts.iter().filter_map(|part| {
            let what = part.trouble(now_ns)?;
            let part = part.name.clone();
            Some(Trouble { part, what })
        });
        let probes = lock(&self.probes);
        let asked = probes.iter().filter_map(|(name, probe)| {
            Some(Trouble {
                part: (*name).to_owned(),
                what: What::Gone(probe()?),
            })
        });
        told.chain(asked).collect()
    }
}

impl Part {
    fn trouble(&self, now_ns: u64) -> Option<What> {
        match self.end.load(Ordering::Acquire) {
            end::NOT_YET => {
                let since = now_ns.saturating_sub(self.beat_ns.load(Ordering::Relaxed));
                let stuck = self.patience_ns.is_some_and(|patience| since > patience);
                stuck.then(|| What::Stuck(Duration::from_nanos(since)))
            }
            end::EARLY => Some(What::Gone("ended though it should run")),
            end::PANICKED => Some(What::Gone("panicked")),
            _ => None,
        }
    }
}

/// One part's sign of life. Dropped when the part ends, in whatever way.
pub(super) struct Pulse {
    part: Arc<Part>,
    health: Arc<Health>,
}

impl Pulse {
    /// The part gets on.
    pub(super) fn beat(&self) {
        self.part.beat_ns.store(now_ns(), Ordering::Relaxed);
    }

    /// There is nothing for the part to do, so that it ends early.
    pub(super) fn done(&self) {
        self.part.end.store(end::DONE, Ordering::Release);
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        let how = if std::thread::panicking() {
            end::PANICKED
        } else if self.health.stage() == Stage::Stopping {
            end::DONE
        } else {
            end::EARLY
        };
        let end = &self.part.end;
        let _ = end.compare_exchange(end::NOT_YET, how, Ordering::AcqRel, Ordering::Acquire);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(health: &Health) -> Vec<String> {
        health.troubles().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_thread_that_panics_is_gone() {
        let health = Health::new();
        let pulse = health.part("observer-shard0", None);
        assert_eq!(said(&health), [""; 0]);
        let thread = std::thread::spawn(move || {
            let _pulse = pulse;
            panic!("on purpose");
        });
        assert!(thread.join().is_err());
        assert_eq!(said(&health), ["observer-shard0 panicked"]);
        assert!(health.troubles()[0].is_fatal());
    }

    #[test]
    fn a_thread_that_ends_too_early_is_gone_and_one_that_is_to_stop_is_not() {
        let health = Health::new();
        drop(health.part("early", None));
        let without_work = health.part("without work", None);
        without_work.done();
        drop(without_work);
        let late = health.part("late", None);
        health.reached(Stage::Stopping);
        drop(late);
        assert_eq!(said(&health), ["early ended though it should run"]);
    }

    #[test]
    fn a_thread_whose_heart_does_not_beat_is_stuck_until_it_does() {
        let health = Health::new();
        let pulse = health.part("observer-process", Some(Duration::from_secs(10)));
        let _resting = health.part("observer-show", None);
        let now = now_ns();
        assert_eq!(health.troubles_at(now + 9_000_000_000), []);
        let troubles = health.troubles_at(now + 12_500_000_000);
        assert_eq!(troubles.len(), 1);
        assert_eq!(
            troubles[0].to_string(),
            "observer-process has been stuck for 12 s"
        );
        assert!(!troubles[0].is_fatal(), "it may go on by itself");
        pulse.beat();
        assert_eq!(health.troubles(), []);
    }

    #[test]
    fn a_part_that_is_asked_tells_what_is_wrong() {
        let health = Health::new();
        health.probe("the exporter", || None);
        assert_eq!(said(&health), [""; 0]);
        health.probe("the exporter", || Some("panicked"));
        assert_eq!(said(&health), ["the exporter panicked"]);
    }
}
