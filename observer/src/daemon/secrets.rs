//! The thread that takes TLS secrets out of the kernel's slots, and gives each to every shard.
//!
//! A secret may be of any connection, so every shard tries it. Secrets come in bursts, some five a handshake: after the first
//! the thread rests for a moment and takes them together, so that neither it nor the shards wake for each.

use std::{
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context as _, Result};
use observer_abi::secret::SecretSlot;
use observer_protocol::tls::{Secret, Told, wipe_stack};
use rustix::event::{EventfdFlags, eventfd};

use super::{
    health::{Health, Pulse},
    key_points::Teller,
    threads::spawn,
};
use crate::{
    kernel::{SecretSlots, reader},
    tls::secrets,
};

/// Longest time without a sign of life.
const PULSE: Duration = Duration::from_secs(10);
/// Longest wait.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long others may come behind the first. What waits for a secret is kept meanwhile.
const BURST: Duration = Duration::from_millis(1);
/// Secrets that may wait for a shard.
const QUEUE: usize = 4096;

/// A secret on its way to a shard.
pub(super) struct Arriving {
    pub(super) told: Told,
    pub(super) secret: Secret,
    /// CLOCK_MONOTONIC ns.
    pub(super) at_ns: u64,
}

/// A shard's end.
pub(super) struct Inlet {
    pub(super) secrets: Receiver<Arriving>,
    /// Readable when one came.
    pub(super) news: Arc<OwnedFd>,
}

/// The other end.
struct Outlet {
    to: SyncSender<Arriving>,
    news: Arc<OwnedFd>,
}

/// What the thread works with.
pub(super) struct Distributor {
    slots: SecretSlots,
    outlets: Vec<Outlet>,
    /// Secrets that a shard had no room for.
    dropped: Arc<AtomicU64>,
    /// Who arms key points is told of processes that hash too much.
    busy: Teller,
}

impl Distributor {
    /// For so many shards, with their ends.
    ///
    /// # Errors
    /// The system has no descriptors left.
    pub(super) fn new(
        slots: SecretSlots,
        shards: usize,
        busy: Teller,
    ) -> Result<(Self, Vec<Inlet>)> {
        let mut distributor = Self {
            slots,
            outlets: Vec::new(),
            dropped: Arc::default(),
            busy,
        };
        let mut inlets = Vec::new();
        for _ in 0..shards {
            let news = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
                .context("no descriptor for TLS secrets")?;
            let news = Arc::new(news);
            let (to, secrets) = sync_channel(QUEUE);
            distributor.outlets.push(Outlet {
                to,
                news: Arc::clone(&news),
            });
            inlets.push(Inlet { secrets, news });
        }
        Ok((distributor, inlets))
    }

    /// How many were lost on the way to a shard.
    pub(super) fn dropped(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.dropped)
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// There is no room for one.
    pub(super) fn start(
        mut self,
        stop: Arc<AtomicBool>,
        health: &Arc<Health>,
    ) -> Result<JoinHandle<()>> {
        spawn(health, "observer-secret", Some(PULSE), move |pulse| {
            self.run(&stop, pulse);
        })
    }

    /// Until it is to stop.
    fn run(&mut self, stop: &AtomicBool, pulse: &Pulse) {
        while !stop.load(Ordering::Acquire) {
            pulse.beat();
            if reader::wait_for_any([self.slots.as_fd()], PATIENCE) {
                std::thread::sleep(BURST);
            }
            self.distribute();
        }
    }

    /// Gives every secret that was told so far to every shard.
    fn distribute(&mut self) {
        let Self {
            slots,
            outlets,
            dropped,
            busy,
        } = self;
        let mut any = false;
        let each = |slot: &SecretSlot| {
            for outlet in outlets.iter() {
                let Some((told, secret)) = secrets::read(slot) else {
                    return;
                };
                let at_ns = slot.time_ns;
                let arriving = Arriving {
                    told,
                    secret,
                    at_ns,
                };
                if outlet.to.try_send(arriving).is_err() {
                    dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
            any = true;
        };
        // Said again a second later where there is no room.
        slots.drain(each, |pid| busy.tell(pid));
        if any {
            wipe_stack();
            for outlet in outlets {
                // Full is as good.
                let _ = rustix::io::write(&outlet.news, &1u64.to_ne_bytes());
            }
        }
    }
}

/// No core dump of this process is written and no other user looks into it: it holds the keys of what it reads.
pub(super) fn keep_to_ourselves() {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "a core dump of this process would hold TLS secrets");
    }
}
