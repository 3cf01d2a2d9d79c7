//! What a shard found of processes that are not looked at yet.
//!
//! A name that is shown must be the right one, and a shard must not wait for it. So what belongs to a process waits here, in
//! order, until it is known whose it is: a moment, mostly. Nothing is shown under a name that only stands in for another;
//! were it counted at once and moved later, a backend would have two services for one process, and the sum of both.
//!
//! Only where what a process is can't be read for [`PATIENCE_NS`], or more waits than [`MOST`], it goes by the name that the
//! kernel has for it. Should the right one come later, the process begins anew under that, as after an exec.

use std::sync::Arc;

use foldhash::HashMap;

use crate::{identity::ProcessKey, process::Service};

/// How long something waits at most, ns: longer than the table waits for a pod's name.
pub(super) const PATIENCE_NS: u64 = 4_000_000_000;
/// How much waits at most, in one shard.
const MOST: usize = 8192;

/// What waits, by process.
pub(super) struct Waiting<T> {
    by_process: HashMap<ProcessKey, Held<T>>,
    /// In the order in which they were asked for.
    order: Vec<ProcessKey>,
    items: usize,
}

struct Held<T> {
    /// CLOCK_MONOTONIC ns.
    since_ns: u64,
    items: Vec<T>,
}

/// What waits no longer.
pub(super) struct Released<T> {
    pub(super) process: ProcessKey,
    pub(super) service: Arc<Service>,
    /// The service is only what the kernel calls it.
    pub(super) provisional: bool,
    pub(super) items: Vec<T>,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self {
            by_process: HashMap::default(),
            order: Vec::new(),
            items: 0,
        }
    }
}

impl<T> Waiting<T> {
    /// Whether nobody is waited for.
    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Whether a process is waited for.
    pub(super) fn has(&self, process: ProcessKey) -> bool {
        self.by_process.contains_key(&process)
    }

    /// A process is waited for from now on.
    pub(super) fn begin(&mut self, process: ProcessKey, now_ns: u64) {
        self.by_process.entry(process).or_insert_with(|| {
            self.order.push(process);
            Held {
                since_ns: now_ns,
                items: Vec::new(),
            }
        });
    }

    /// Something of a process that is waited for.
    pub(super) fn hold(&mut self, process: ProcessKey, item: T) {
        if let Some(held) = self.by_process.get_mut(&process) {
            held.items.push(item);
            self.items += 1;
        }
    }

    /// Those that wait.
    pub(super) fn processes(&self) -> &[ProcessKey] {
        &self.order
    }

    /// Lets go of what is known now, and of what has waited for too long. `known` and `provisional` are
    /// [`Table`](crate::process::Table)'s.
    pub(super) fn release(
        &mut self,
        now_ns: u64,
        known: impl Fn(ProcessKey) -> Option<Arc<Service>>,
        provisional: impl Fn(ProcessKey) -> Arc<Service>,
    ) -> Vec<Released<T>> {
        let mut released = Vec::new();
        let mut left = Vec::new();
        for process in std::mem::take(&mut self.order) {
            let known = known(process);
            let Some(held) = self.by_process.get(&process) else {
                continue;
            };
            let over = now_ns >= held.since_ns.saturating_add(PATIENCE_NS) || self.items > MOST;
            if known.is_none() && !over {
                left.push(process);
                continue;
            }
            let held = self.by_process.remove(&process);
            let items = held.map_or_else(Vec::new, |held| held.items);
            self.items -= items.len();
            released.push(Released {
                process,
                provisional: known.is_none(),
                service: known.unwrap_or_else(|| provisional(process)),
                items,
            });
        }
        self.order = left;
        released
    }

    /// Whether so much waits that something has to go now.
    pub(super) const fn is_full(&self) -> bool {
        self.items > MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{Fixture, Identifier, Table};

    /// What is released, as name, whether it is provisional, and items.
    fn released(
        waiting: &mut Waiting<u32>,
        table: &Table,
        now_ns: u64,
    ) -> Vec<(String, bool, Vec<u32>)> {
        let released = waiting.release(now_ns, |it| table.known(it), |it| table.provisional(it));
        let shown = released.into_iter().map(|it| {
            let name = it.service.name.to_string();
            (name, it.provisional, it.items)
        });
        shown.collect()
    }

    fn shop(fixture: &Fixture, pid: u32) -> ProcessKey {
        let ticks = u64::from(pid);
        fixture.process(
            pid,
            1,
            ticks,
            ticks,
            "/usr/bin/python3",
            &["python3", "/srv/shop.py"],
        )
    }

    #[test]
    fn what_waits_goes_by_the_right_name_only_and_in_order() {
        let fixture = Fixture::new();
        let table = Table::new(Identifier::new(fixture.proc(), Vec::new()));
        let process = shop(&fixture, 30);
        let mut waiting = Waiting::default();
        assert!(!waiting.has(process));
        waiting.begin(process, 100);
        assert!(waiting.has(process));
        for item in 0..3 {
            waiting.hold(process, item);
        }
        let found = table.find(process);
        assert_eq!(released(&mut waiting, &table, 200), []);
        assert_eq!(waiting.processes(), [process]);
        table.look(&found);
        let expected = ("shop".to_owned(), false, vec![0, 1, 2]);
        assert_eq!(released(&mut waiting, &table, 300), [expected]);
        assert!(waiting.is_empty() && !waiting.has(process));
    }

    #[test]
    fn who_hangs_is_named_by_the_kernel_after_a_while_and_delays_nobody_else() {
        let fixture = Fixture::new();
        let (hung, well) = (shop(&fixture, 30), shop(&fixture, 31));
        let (proc, gate) = fixture.proc_that_hangs(30);
        let table = Table::new(Identifier::new(proc, Vec::new()));
        std::thread::scope(|scope| {
            scope.spawn(|| table.look(&table.find(hung)));
            while !gate.is_waited_for() {
                std::thread::yield_now();
            }
            let mut waiting = Waiting::default();
            waiting.begin(hung, 0);
            waiting.hold(hung, 1);
            waiting.begin(well, 0);
            waiting.hold(well, 2);
            table.look(&table.find(well));
            let expected = ("shop".to_owned(), false, vec![2]);
            assert_eq!(released(&mut waiting, &table, PATIENCE_NS - 1), [expected]);
            let expected = ("python3".to_owned(), true, vec![1]);
            assert_eq!(released(&mut waiting, &table, PATIENCE_NS), [expected]);
            assert!(waiting.is_empty());
            let (provisional, generation) = (table.provisional(hung), table.generation());
            gate.open();
            while table.known(hung).is_none() {
                std::thread::yield_now();
            }
            // Told apart from now on; who remembers the provisional one asks again, and it departs.
            while table.generation() == generation {
                std::thread::yield_now();
            }
            assert_eq!(&*table.provisional(hung).name, "shop");
            assert_eq!(table.departed(vec![provisional.clone()]), [provisional]);
        });
    }

    #[test]
    fn no_more_waits_than_there_is_room_for() {
        let fixture = Fixture::new();
        let table = Table::new(Identifier::new(fixture.proc(), Vec::new()));
        let (first, second) = (shop(&fixture, 30), shop(&fixture, 31));
        let (_, _) = (table.find(first), table.find(second));
        let mut waiting = Waiting::default();
        for process in [first, second] {
            waiting.begin(process, 0);
            waiting.hold(process, 0);
        }
        for item in 2..=MOST as u32 {
            assert!(!waiting.is_full());
            waiting.hold(first, item);
        }
        assert!(waiting.is_full());
        let went = released(&mut waiting, &table, 0);
        assert_eq!(went.len(), 1, "the oldest make room");
        assert_eq!((&*went[0].0, went[0].2.len()), ("python3", MOST));
        assert!(waiting.has(second) && !waiting.is_full());
    }
}
