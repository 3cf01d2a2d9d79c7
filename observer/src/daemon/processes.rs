//! The thread that follows processes, whatever the shards do.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::{
    HOUSEKEEPING_NS,
    departures::Departures,
    health::{Health, Pulse},
    now_ns,
    pipeline::Shared,
    registries::Registries,
    threads::spawn,
};
use crate::{
    config::Settings,
    kernel::{Kernel, PolicyMaps, inject::Leaving},
    process::{Identifier, PolicyPlan, ProcFs, Selectors, Table},
};

/// Longest time without a sign of life: a look at all processes of a large host takes some seconds.
const PULSE: Duration = Duration::from_secs(60);

/// Longest sleep.
const PATIENCE: Duration = Duration::from_nanos(HOUSEKEEPING_NS);
/// Rest after events were taken in, so that a storm of short processes does not wake it for each.
const REST: Duration = Duration::from_millis(10);

/// Every process that there is now, and the policy that follows, written.
///
/// # Errors
/// `/proc` can't be read, or the policy not be written.
pub(super) fn look(
    settings: &Settings,
    selectors: Selectors,
    policy: &mut PolicyMaps,
) -> Result<(Table, PolicyPlan)> {
    let resource = settings.resource.iter();
    let resource = resource.map(|(key, value)| (key.clone(), value.clone()));
    let table = Table::new(Identifier::new(ProcFs::default(), resource.collect()));
    table
        .scan()
        .context("cannot read the processes from /proc")?;
    let mut plan = PolicyPlan::new(ProcFs::default(), selectors, std::process::id());
    let verdicts = plan
        .rescan()
        .context("cannot read the processes from /proc")?;
    if plan.selected_only() && !verdicts.iter().any(|(_, capture)| *capture) {
        tracing::warn!("no running process matches the selectors yet; waiting for one");
    }
    policy.apply(verdicts)?;
    tracing::debug!("processes are looked through");
    Ok((table, plan))
}

/// What the thread works with.
pub(super) struct Follower {
    pub(super) stop: Arc<AtomicBool>,
    pub(super) shared: Arc<Shared>,
    pub(super) registries: Arc<Registries>,
    pub(super) departures: Departures,
    pub(super) leaving: Option<Leaving>,
    pub(super) kernel: Arc<Mutex<Kernel>>,
}

impl Follower {
    /// Starts the thread.
    ///
    /// # Errors
    /// There is no room for one.
    pub(super) fn start(self, health: &Arc<Health>) -> Result<JoinHandle<()>> {
        spawn(health, "observer-process", Some(PULSE), |pulse| {
            self.run(pulse)
        })
    }

    /// Until it is to stop.
    fn run(mut self, pulse: &Pulse) {
        let mut looked = now_ns();
        let mut looked_for_tls = looked;
        while !self.stop.load(Ordering::Acquire) {
            pulse.beat();
            let now = now_ns();
            let shared = &self.shared;
            let busy = shared.feed.drain(&shared.table);
            shared.feed.decide();
            shared.feed.housekeep(&shared.table, now);
            if let Some(leaving) = &mut self.leaving {
                leaving.drain();
            }
            if now.saturating_sub(looked_for_tls) > HOUSEKEEPING_NS {
                looked_for_tls = now;
                // Not while another thread attaches something, which may take seconds: processes go first.
                if let Ok(mut kernel) = self.kernel.try_lock() {
                    kernel.look_for_tls();
                }
            }
            if now.saturating_sub(looked) > 60 * HOUSEKEEPING_NS {
                looked = now;
                self.let_go(now);
            }
            // Nobody wakes us for connections that leave the socket map.
            if busy || self.leaving.is_some() {
                std::thread::sleep(REST);
            }
            if self.leaving.is_none() {
                self.shared.feed.wait(PATIENCE);
            }
        }
        if let Err(error) = self.shared.feed.enable(false) {
            tracing::warn!(%error, "capture could not be switched off");
        }
    }

    /// Services that are gone for long enough leave the metrics.
    fn let_go(&mut self, now: u64) {
        let gone = self.shared.table.departed(self.registries.services());
        let departed = self.departures.due(&gone, now);
        if !departed.is_empty() {
            self.registries
                .expire(&|service| departed.contains(service));
            self.shared.departed.post(departed);
        }
    }
}
