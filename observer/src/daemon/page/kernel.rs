//! What the kernel programs count.
//!
//! Whoever attaches or loads something holds the kernel meanwhile, maybe for seconds. Nobody who asks for the page waits
//! for that: they get what was read last.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, TryLockError},
};

use observer_abi::loss::Counter;

use crate::{
    export::{Family, Kind},
    kernel::{Kernel, ProgramStats, counters::is_loss},
};

/// Something that is read while it may be in use elsewhere.
struct Snapshots<S, R> {
    source: Arc<Mutex<S>>,
    last: Mutex<Arc<R>>,
}

impl<S, R> Snapshots<S, R> {
    fn new(source: Arc<Mutex<S>>, first: R) -> Self {
        Self {
            source,
            last: Mutex::new(Arc::new(first)),
        }
    }

    /// What `read` says of the source now, or said last if the source is in use. `read` is told the last, too.
    fn get(&self, read: impl FnOnce(&S, &R) -> R) -> Arc<R> {
        let source = match self.source.try_lock() {
            Ok(source) => source,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return self.last(),
        };
        // Stored before the source is let go of: what somebody was told, the next one is not told less than.
        let new = Arc::new(read(&source, &self.last()));
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&new);
        new
    }

    fn last(&self) -> Arc<R> {
        Arc::clone(&self.last.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What was read at one moment.
#[derive(Default)]
struct Reading {
    counters: Vec<(Counter, &'static str, u64)>,
    programs: Vec<ProgramStats>,
    lost_calls: u64,
}

impl Reading {
    /// Where something can't be read, what `last` said stays.
    fn of(kernel: &Kernel, last: &Self) -> Self {
        let programs = kernel.program_stats();
        let counters = kernel.counters().unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot read the kernel's counters");
            last.counters.clone()
        });
        // What first programs missed and what spares took over is not read at one moment, so that the difference may
        // seem to fall; a counter must not.
        let lost_calls = kernel.lost_calls(&programs, &counters).max(last.lost_calls);
        Self {
            counters,
            programs,
            lost_calls,
        }
    }
}

/// The kernel's counters, as they are now or were a moment ago.
pub(in crate::daemon) struct Readings {
    snapshots: Snapshots<Kernel, Reading>,
    map_bytes: BTreeMap<String, u64>,
}

impl Readings {
    /// To be made before anybody else uses the kernel.
    pub(in crate::daemon) fn new(
        kernel: Arc<Mutex<Kernel>>,
        map_bytes: BTreeMap<String, u64>,
    ) -> Self {
        let first = Reading::of(
            &kernel.lock().unwrap_or_else(PoisonError::into_inner),
            &Reading::default(),
        );
        Self {
            snapshots: Snapshots::new(kernel, first),
            map_bytes,
        }
    }

    /// Adds the families.
    pub(super) fn tell(&self, families: &mut Vec<Family>) {
        let reading = self.snapshots.get(Reading::of);
        reading.tell_counters(families);
        reading.tell_programs(families);
        families.push(Family::by(
            "observer_kernel_map_bytes",
            "Kernel memory of each map.",
            Kind::Gauge,
            "map",
            self.map_bytes
                .iter()
                .map(|(name, bytes)| (name.clone(), *bytes as f64)),
        ));
    }
}

impl Reading {
    fn tell_counters(&self, families: &mut Vec<Family>) {
        if self.counters.is_empty() {
            return;
        }
        let sum = |wanted: &str| {
            self.counters
                .iter()
                .find(|(_, name, _)| *name == wanted)
                .map_or(0.0, |(_, _, value)| *value as f64)
        };
        families.push(Family::single(
            "observer_records",
            "Records that the kernel programs submitted.",
            Kind::Counter,
            sum("records"),
        ));
        families.push(Family::single(
            "observer_record_bytes",
            "Bytes of those records.",
            Kind::Counter,
            sum("record_bytes"),
        ));
        families.push(Family::by(
            "observer_lost",
            "Losses in the kernel, by reason. Zero means that every byte that matters was seen.",
            Kind::Counter,
            "reason",
            self.counters
                .iter()
                .filter(|(counter, ..)| is_loss(*counter))
                .map(|(_, name, value)| ((*name).to_owned(), *value as f64))
                .chain([("program_missed".to_owned(), self.lost_calls as f64)]),
        ));
        families.push(Family::single(
            "observer_headers_injected",
            "Requests into which a traceparent line was put.",
            Kind::Counter,
            sum("header_injected"),
        ));
        families.push(Family::by(
            "observer_headers_left_out",
            "What got no traceparent line, by reason: requests (present, split, pipelined, failed) and connections into which none is put any more (pipelined, uncertain, not_http, failed).",
            Kind::Counter,
            "reason",
            self.counters
                .iter()
                .filter(|(counter, ..)| *counter != Counter::HeaderInjected)
                .filter_map(|(_, name, value)| {
                    Some((name.strip_prefix("header_")?.to_owned(), *value as f64))
                }),
        ));
        families.push(Family::by(
            "observer_kernel_events",
            "What the kernel programs did, by kind.",
            Kind::Counter,
            "event",
            self.counters
                .iter()
                .filter(|(counter, name, _)| {
                    !is_loss(*counter) && !name.starts_with("record") && !name.starts_with("header")
                })
                .map(|(_, name, value)| ((*name).to_owned(), *value as f64)),
        ));
    }

    fn tell_programs(&self, families: &mut Vec<Family>) {
        let mut each = |name, help, value: fn(&ProgramStats) -> u64| {
            families.push(Family::by(
                name,
                help,
                Kind::Counter,
                "program",
                self.programs
                    .iter()
                    .map(|program| (program.name.clone(), value(program) as f64)),
            ));
        };
        each(
            "observer_program_run_time_nanoseconds",
            "Time spent in each kernel program; zero unless kernel.bpf_stats_enabled is set.",
            |program| program.run_time_ns,
        );
        each(
            "observer_program_runs",
            "Runs of each kernel program; zero unless kernel.bpf_stats_enabled is set.",
            |program| program.runs,
        );
        each(
            "observer_program_missed",
            "Times that the kernel left out a program since the CPU was in the middle of it already.",
            |program| program.missed,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_while_the_source_is_in_use_gets_the_last_reading_at_once() {
        let source = Arc::new(Mutex::new(1));
        let snapshots = Snapshots::new(Arc::clone(&source), 0);
        let read = |now: &i32, last: &i32| *now + *last;
        assert_eq!(*snapshots.get(read), 1);
        {
            // An attach that takes long: on this very thread, so that a wait would never end.
            let mut attaching = source.lock().unwrap();
            *attaching = 10;
            assert_eq!(*snapshots.get(read), 1);
        }
        assert_eq!(*snapshots.get(read), 11);
        assert_eq!(*snapshots.last(), 11);
    }

    #[test]
    fn nothing_is_told_of_counters_that_were_never_read() {
        let mut families = Vec::new();
        Reading::default().tell_counters(&mut families);
        assert_eq!(families, []);
    }
}
