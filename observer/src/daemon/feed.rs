//! Process events, taken in before the records that came after them.
//!
//! A record can only be attributed rightly once the fork or exec before it is known: a forked child may be gone by the
//! time somebody looks for it in `/proc`. So every shard drains the events before each batch of records, and again
//! when it meets a process that it does not know. What follows from them for the policy takes reading `/proc`: the thread that
//! follows processes [decides](Feed::decide) that, and no shard waits for it.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::Duration,
};

use aya::maps::{MapData, RingBuf};
use observer_abi::process::{ProcessEvent, event};
use rustix::event::{EventfdFlags, eventfd};

use super::{identities::Finder, key_points::Teller};
use crate::{
    kernel::{PolicyMaps, reader},
    kubernetes::Changes,
    process::{PolicyPlan, Table},
    stream::read_pod,
};

/// How often listeners are looked for, where ports are selected, ns.
const RESCAN_NS: u64 = 2_000_000_000;
/// How often the table looks for processes whose end was not told, ns.
const SWEEP_NS: u64 = 60_000_000_000;
/// How long to rest where nothing can be waited for.
const REST: Duration = Duration::from_millis(10);
/// Events that may wait to be decided on. With more everything is looked at anew.
const UNDECIDED: usize = 16_384;

/// The ring of process events and what follows from them.
pub(super) struct Feed {
    /// Held by shards, for as long as events are taken in: nothing is read meanwhile.
    events: Mutex<Events>,
    /// Never held by a shard.
    decisions: Mutex<Decisions>,
    /// Some events did not fit.
    overflowed: AtomicBool,
    /// The ring's, to wait on without holding the lock.
    waiting: Option<OwnedFd>,
    /// Tells who decides that a shard took events in.
    news: Option<OwnedFd>,
    /// Ends a wait, and every later one.
    waker: Option<OwnedFd>,
    /// Who knows what TLS libraries there are; none where TLS is not read.
    closed: Option<Teller>,
}

struct Events {
    ring: RingBuf<MapData>,
    finder: Finder,
    begun: SyncSender<u32>,
    undecided: SyncSender<ProcessEvent>,
}

struct Decisions {
    plan: PolicyPlan,
    policy: PolicyMaps,
    undecided: Receiver<ProcessEvent>,
    begun: SyncSender<u32>,
    /// Who arms key points.
    mapping: Option<Teller>,
    verdicts: Vec<(u32, bool)>,
    /// Processes that called exec, until that is decided on.
    executed: Vec<u32>,
    rescanned_ns: u64,
    swept_ns: u64,
}

impl Feed {
    pub(super) fn new(
        ring: RingBuf<MapData>,
        plan: PolicyPlan,
        policy: PolicyMaps,
        finder: Finder,
        begun: SyncSender<u32>,
        mapping: Option<Teller>,
        now_ns: u64,
    ) -> Self {
        let (undecided, to_decide) = sync_channel(UNDECIDED);
        let eventfd = || eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok();
        Self {
            waiting: ring.as_fd().try_clone_to_owned().ok(),
            news: eventfd(),
            waker: eventfd(),
            closed: None,
            overflowed: AtomicBool::new(false),
            events: Mutex::new(Events {
                ring,
                finder,
                begun: begun.clone(),
                undecided,
            }),
            decisions: Mutex::new(Decisions {
                plan,
                policy,
                undecided: to_decide,
                begun,
                mapping,
                verdicts: Vec::new(),
                executed: Vec::new(),
                rescanned_ns: now_ns,
                swept_ns: now_ns,
            }),
        }
    }

    /// The same, telling of processes whose TLS stays closed, too.
    pub(super) fn telling(mut self, closed: Option<Teller>) -> Self {
        self.closed = closed;
        self
    }

    /// A process spoke TLS, but nobody told a secret of it.
    pub(super) fn stays_closed(&self, pid: u32) {
        if let Some(closed) = &self.closed {
            closed.tell(pid);
        }
    }

    /// Takes in every event that the kernel has told so far. Reads no file. Returns whether there was any.
    pub(super) fn drain(&self, table: &Table) -> bool {
        let mut events = lock(&self.events);
        let Events {
            ring,
            finder,
            begun,
            undecided,
        } = &mut *events;
        let mut any = false;
        while let Some(record) = ring.next() {
            let Some(event) = read_pod::<ProcessEvent>(&record) else {
                continue;
            };
            any = true;
            if !table.event(&event) {
                finder.place(event);
            }
            if event.kind != event::EXIT {
                // A fork, too: the kernel had nothing to hand down where the parent was not looked at yet. With so many
                // at once that it is full, or with nobody to listen, their calls have no parents.
                let _ = begun.try_send(event.tgid);
            }
            if undecided.try_send(event).is_err() {
                self.overflowed.store(true, Ordering::Release);
            }
        }
        any
    }

    /// The same for a shard, which leaves the decisions to others.
    pub(super) fn take_in(&self, table: &Table) {
        if self.drain(table) {
            signal(self.news.as_ref());
        }
    }

    /// Writes the policy that follows from the events.
    pub(super) fn decide(&self) {
        let mut decisions = lock(&self.decisions);
        let decisions = &mut *decisions;
        while let Ok(event) = decisions.undecided.try_recv() {
            decisions.verdicts.extend(decisions.plan.on_event(&event));
            if event.kind == event::EXEC {
                decisions.executed.push(event.tgid);
            }
        }
        if self.overflowed.swap(false, Ordering::AcqRel) {
            decisions.rescan();
        }
        decisions.apply();
    }

    /// Writes the policy that follows from pods that changed.
    pub(super) fn pods_changed(&self, changes: &Changes) {
        if changes.is_empty() {
            return;
        }
        let mut decisions = lock(&self.decisions);
        let changed = decisions.plan.pods_changed(changes);
        decisions.take(changed);
        decisions.apply();
    }

    /// Wakes who decides: there is news from elsewhere than the kernel.
    pub(super) fn tell(&self) {
        signal(self.news.as_ref());
    }

    /// Waits until the kernel tells of something, a shard took something in, or [`nudge`](Self::nudge) is called, at most for so
    /// long. Where it can't wait for these, it only rests.
    pub(super) fn wait(&self, longest: Duration) {
        let (Some(waiting), Some(news), Some(waker)) = (&self.waiting, &self.news, &self.waker)
        else {
            std::thread::sleep(REST);
            return;
        };
        reader::wait_for_any([waiting, news, waker], longest);
        // Empty or not, it is read.
        let _ = rustix::io::read(news, &mut [0; 8]);
    }

    /// Wakes who waits for the kernel to tell of something, from now on at once, and who waits for processes to look at;
    /// there is no process 0.
    pub(super) fn nudge(&self) {
        signal(self.waker.as_ref());
        let _ = lock(&self.events).begun.try_send(0);
        if let Some(mapping) = &lock(&self.decisions).mapping {
            mapping.tell(0);
        }
    }

    /// What is due every so often; not for a shard's thread, since it reads `/proc`.
    pub(super) fn housekeep(&self, table: &Table, now_ns: u64) {
        let sweep = {
            let mut decisions = lock(&self.decisions);
            if decisions.plan.selectors().has_ports()
                && now_ns.saturating_sub(decisions.rescanned_ns) >= RESCAN_NS
            {
                decisions.rescanned_ns = now_ns;
                decisions.rescan();
                decisions.apply();
            }
            let sweep = now_ns.saturating_sub(decisions.swept_ns) >= SWEEP_NS;
            if sweep {
                decisions.swept_ns = now_ns;
            }
            sweep
        };
        table.prune(now_ns);
        if sweep {
            table.sweep();
        }
    }

    /// Makes connections ask again what the kernel was told of their processes.
    pub(super) fn raise(&self) -> anyhow::Result<()> {
        let mut decisions = lock(&self.decisions);
        decisions.policy.raise()
    }

    /// Whether the kernel captures a process.
    pub(super) fn is_captured(&self, pid: u32) -> bool {
        let decisions = lock(&self.decisions);
        decisions
            .policy
            .is_captured(pid)
            .unwrap_or(!decisions.plan.selected_only())
    }

    /// Switches capture on or off.
    pub(super) fn enable(&self, on: bool) -> anyhow::Result<()> {
        let mut decisions = lock(&self.decisions);
        decisions.policy.enable(on)
    }
}

impl Decisions {
    /// Looks at all processes.
    fn rescan(&mut self) {
        match self.plan.rescan() {
            Ok(changed) => self.take(changed),
            Err(error) => tracing::warn!(%error, "cannot look at all processes"),
        }
    }

    fn take(&mut self, changed: Vec<(u32, bool)>) {
        for (pid, _) in changed.iter().filter(|(_, capture)| *capture) {
            let _ = self.begun.try_send(*pid);
            self.executed.push(*pid);
        }
        self.verdicts.extend(changed);
    }

    fn apply(&mut self) {
        if !self.verdicts.is_empty()
            && let Err(error) = self.policy.apply(self.verdicts.drain(..))
        {
            tracing::warn!(%error, "a process's policy could not be written");
        }
        // Only now: who is not captured is not looked at.
        for pid in self.executed.drain(..) {
            if let Some(mapping) = &self.mapping {
                mapping.tell(pid);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes an eventfd readable.
fn signal(eventfd: Option<&OwnedFd>) {
    if let Some(eventfd) = eventfd {
        let _ = rustix::io::write(eventfd, &1u64.to_ne_bytes());
    }
}
