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
    departures::Departures,
    health::{Health, Pulse},
    pipeline::Shared,
    registries::Registries,
    threads::spawn,
    time::{HOUSEKEEPING_NS, now_ns},
};
use crate::{
    config::Settings,
    kernel::{Kernel, Places, PolicyMaps, inject::Leaving},
    kubernetes::Store,
    process::{Identifier, PolicyPlan, ProcFs, Selectors, Table},
};

/// Longest time without a sign of life: a look at all processes of a large host takes some seconds.
const PULSE: Duration = Duration::from_secs(60);

/// Time between two looks for places of connections that are gone.
const RECLAIM_NS: u64 = 5 * HOUSEKEEPING_NS;

/// Longest sleep.
const PATIENCE: Duration = Duration::from_nanos(HOUSEKEEPING_NS);
/// Rest in a storm of short processes, so that it does not wake for each.
const REST: Duration = Duration::from_millis(10);
/// Times that it may wake without a rest, and the time in which it gains one of them: what is selected and begins alone is
/// decided on at once.
const AT_ONCE: u32 = 32;

/// Every process that there is now, and the policy that follows, written.
///
/// # Errors
/// `/proc` can't be read, or the policy not be written.
pub(super) fn look(
    settings: &Settings,
    selectors: Selectors,
    pods: Option<&Arc<Store>>,
    policy: &mut PolicyMaps,
) -> Result<(Table, PolicyPlan)> {
    let resource = settings.resource.iter();
    let resource = resource.map(|(key, value)| (key.clone(), value.clone()));
    let mut identifier = Identifier::new(ProcFs::default(), resource.collect());
    if let Some(pods) = pods {
        identifier = identifier.in_cluster(Arc::clone(pods));
    }
    let table = Table::new(identifier);
    table
        .scan()
        .context("cannot read the processes from /proc")?;
    let plan = PolicyPlan::new(ProcFs::default(), selectors, std::process::id());
    let mut plan = plan.in_cluster(pods.map(Arc::clone));
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
    pub(super) places: Places,
    pub(super) kernel: Arc<Mutex<Kernel>>,
}

/// How often it may wake in a short time.
struct Pace {
    left: u32,
    /// Since when none was gained, ns.
    since_ns: u64,
}

impl Pace {
    const fn new(now_ns: u64) -> Self {
        Self {
            left: AT_ONCE,
            since_ns: now_ns,
        }
    }

    /// After events were taken in: whether to wait for the next ones without a rest.
    fn may_go_on(&mut self, now_ns: u64) -> bool {
        let every = REST.as_nanos() as u64;
        let gained = now_ns.saturating_sub(self.since_ns) / every;
        self.since_ns += gained * every;
        let gained = u32::try_from(gained).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(gained).min(AT_ONCE);
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }
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
        let mut reclaimed = looked;
        let mut pace = Pace::new(looked);
        while !self.stop.load(Ordering::Acquire) {
            pulse.beat();
            let now = now_ns();
            let shared = &self.shared;
            let busy = shared.feed.drain(&shared.table);
            shared.feed.decide();
            if let Some(pods) = shared.pods() {
                let changes = pods.take_changes();
                shared.table.name_pods(&changes, now);
                shared.feed.pods_changed(&changes);
                pods.prune(now);
            }
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
            if now.saturating_sub(reclaimed) > RECLAIM_NS {
                reclaimed = now;
                self.places.reclaim(now);
            }
            if now.saturating_sub(looked) > 60 * HOUSEKEEPING_NS {
                looked = now;
                self.let_go(now);
            }
            // Nobody wakes us for connections that leave the socket map.
            if self.leaving.is_some() || busy && !pace.may_go_on(now) {
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

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn who_begins_alone_is_decided_on_at_once() {
        let mut pace = Pace::new(0);
        // Fork, exec and exit of a process every 100 ms, each a wake-up, for a minute.
        for at in (0..60_000).step_by(100) {
            assert!(
                (0..3).all(|event| pace.may_go_on((at + event) * MS)),
                "{at}"
            );
        }
    }

    #[test]
    fn in_a_storm_it_wakes_a_hundred_times_a_second_and_rests_in_between() {
        let mut pace = Pace::new(0);
        // An event each 100 µs for a second, and for as long as it rests.
        let (mut at, mut woken, mut rested) = (0, 0, 0);
        while at < 1000 * MS {
            woken += 1;
            if pace.may_go_on(at) {
                at += MS / 10;
            } else {
                rested += 1;
                at += REST.as_nanos() as u64;
            }
        }
        assert!((90..=100).contains(&rested), "{rested}");
        assert!(woken <= 2 * 100 + AT_ONCE, "{woken}");
    }
}
