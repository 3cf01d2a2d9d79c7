//! The thread that follows processes, whatever the shards do.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{
    HOUSEKEEPING_NS, departures::Departures, now_ns, pipeline::Shared, registries::Registries,
};
use crate::kernel::{Kernel, inject::Leaving};

/// Longest sleep.
const PATIENCE: Duration = Duration::from_nanos(HOUSEKEEPING_NS);
/// Rest after events were taken in, so that a storm of short processes does not wake it for each.
const REST: Duration = Duration::from_millis(10);

/// Until it is to stop.
pub(super) fn run(
    stop: &AtomicBool,
    shared: &Shared,
    registries: &Registries,
    mut departures: Departures,
    mut leaving: Option<Leaving>,
    kernel: &Mutex<Kernel>,
) {
    let mut looked = now_ns();
    let mut looked_for_tls = looked;
    while !stop.load(Ordering::Acquire) {
        let now = now_ns();
        shared.feed.drain(&shared.table);
        shared.feed.housekeep(&shared.table, now);
        if let Some(leaving) = &mut leaving {
            leaving.drain();
        }
        if now.saturating_sub(looked_for_tls) > HOUSEKEEPING_NS {
            looked_for_tls = now;
            // Not while another thread attaches something, which may take seconds: processes go first.
            if let Ok(mut kernel) = kernel.try_lock() {
                kernel.look_for_tls();
            }
        }
        if now.saturating_sub(looked) > 60 * HOUSEKEEPING_NS {
            looked = now;
            let gone = shared.table.departed(registries.services());
            let departed = departures.due(&gone, now);
            if !departed.is_empty() {
                registries.expire(&|service| departed.contains(service));
                shared.departed.post(departed);
            }
        }
        // Nobody wakes us for connections that leave the socket map.
        if leaving.is_some() || shared.feed.wait(PATIENCE) {
            std::thread::sleep(REST);
        }
    }
    if let Err(error) = shared.feed.enable(false) {
        tracing::warn!(%error, "capture could not be switched off");
    }
}
