//! Process events, taken in before the records that came after them.
//!
//! A record can only be attributed rightly once the fork or exec before it is known: a forked child may be gone by the
//! time somebody looks for it in `/proc`. So every shard drains the events before each batch of records, and again
//! when it meets a process that it does not know.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    sync::{Mutex, PoisonError, mpsc::SyncSender},
    time::Duration,
};

use aya::maps::{MapData, RingBuf};
use observer_abi::process::{ProcessEvent, event};
use rustix::event::{EventfdFlags, eventfd};

use crate::{
    kernel::{PolicyMaps, reader},
    process::{PolicyPlan, Table},
    stream::read_pod,
};

/// How often listeners are looked for, where ports are selected, ns.
const RESCAN_NS: u64 = 2_000_000_000;
/// How often the table looks for processes whose end was not told, ns.
const SWEEP_NS: u64 = 60_000_000_000;

/// The ring of process events and what follows from them.
pub(super) struct Feed {
    inner: Mutex<Inner>,
    /// The ring's, to wait on without holding the lock.
    waiting: Option<OwnedFd>,
    /// Ends a wait.
    waker: Option<OwnedFd>,
}

struct Inner {
    ring: RingBuf<MapData>,
    plan: PolicyPlan,
    policy: PolicyMaps,
    begun: SyncSender<u32>,
    verdicts: Vec<(u32, bool)>,
    rescanned_ns: u64,
    swept_ns: u64,
}

impl Feed {
    pub(super) fn new(
        ring: RingBuf<MapData>,
        plan: PolicyPlan,
        policy: PolicyMaps,
        begun: SyncSender<u32>,
        now_ns: u64,
    ) -> Self {
        Self {
            waiting: ring.as_fd().try_clone_to_owned().ok(),
            waker: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok(),
            inner: Mutex::new(Inner {
                ring,
                plan,
                policy,
                begun,
                verdicts: Vec::new(),
                rescanned_ns: now_ns,
                swept_ns: now_ns,
            }),
        }
    }

    /// Takes in every event that the kernel has told so far, and writes the policy that follows.
    pub(super) fn drain(&self, table: &Table) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let inner = &mut *inner;
        while let Some(record) = inner.ring.next() {
            let Some(event) = read_pod::<ProcessEvent>(&record) else {
                continue;
            };
            table.event(&event);
            if event.kind != event::EXIT {
                // A fork, too: the kernel had nothing to hand down where the parent was not looked at yet. With so many
                // at once that it is full, or with nobody to listen, their calls have no parents.
                let _ = inner.begun.try_send(event.tgid);
            }
            inner.verdicts.extend(inner.plan.on_event(&event));
        }
        inner.apply();
    }

    /// Waits until the kernel tells of something, or [`nudge`](Self::nudge) is called, at most for so long. Returns whether it
    /// was shorter, as where it can't wait: the caller is to rest then.
    pub(super) fn wait(&self, longest: Duration) -> bool {
        match (&self.waiting, &self.waker) {
            (Some(waiting), Some(waker)) => reader::wait_for_any([waiting, waker], longest),
            _ => true,
        }
    }

    /// Wakes who waits for the kernel to tell of something, from now on at once, and who waits for processes to look at;
    /// there is no process 0.
    pub(super) fn nudge(&self) {
        if let Some(waker) = &self.waker {
            let _ = rustix::io::write(waker, &1u64.to_ne_bytes());
        }
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = inner.begun.try_send(0);
    }

    /// What is due every so often; not for a shard's thread, since it reads `/proc`.
    pub(super) fn housekeep(&self, table: &Table, now_ns: u64) {
        let sweep = {
            let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            let inner = &mut *inner;
            if inner.plan.selectors().has_ports()
                && now_ns.saturating_sub(inner.rescanned_ns) >= RESCAN_NS
            {
                inner.rescanned_ns = now_ns;
                match inner.plan.rescan() {
                    Ok(changed) => {
                        for (pid, _) in changed.iter().filter(|(_, capture)| *capture) {
                            let _ = inner.begun.try_send(*pid);
                        }
                        inner.verdicts.extend(changed);
                    }
                    Err(error) => tracing::warn!(%error, "cannot look for new listeners"),
                }
                inner.apply();
            }
            let sweep = now_ns.saturating_sub(inner.swept_ns) >= SWEEP_NS;
            if sweep {
                inner.swept_ns = now_ns;
            }
            sweep
        };
        if sweep {
            table.sweep();
        }
    }

    /// Makes connections ask again what the kernel was told of their processes.
    pub(super) fn raise(&self) -> anyhow::Result<()> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.policy.raise()
    }

    /// Whether the kernel captures a process.
    pub(super) fn is_captured(&self, pid: u32) -> bool {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner
            .policy
            .is_captured(pid)
            .unwrap_or(!inner.plan.selected_only())
    }

    /// Switches capture on or off.
    pub(super) fn enable(&self, on: bool) -> anyhow::Result<()> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.policy.enable(on)
    }
}

impl Inner {
    fn apply(&mut self) {
        if self.verdicts.is_empty() {
            return;
        }
        if let Err(error) = self.policy.apply(self.verdicts.drain(..)) {
            tracing::warn!(%error, "a process's policy could not be written");
        }
    }
}
