//! The thread that looks at executables: what it reads may be large, so nobody waits for it.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender},
    },
    time::{Duration, Instant},
};

use super::{memory, pipeline::Shared};
use crate::kernel::{Kernel, uprobes::Runtimes};

/// How often interpreters that had not begun are looked at again.
const PATIENCE: Duration = Duration::from_millis(50);
/// How often executables that nobody runs lose their breakpoints, and processes are looked at anew.
const SWEEP: Duration = Duration::from_secs(30);

/// How long the daemon's start waits for it to have looked at what runs already.
pub(super) const FIRST_LOOK: Duration = Duration::from_millis(500);

/// Processes that may wait to be looked at.
pub(super) const QUEUE: usize = 4096;

/// Until it is to stop. Says on `looked` when it has looked at every process that was there.
pub(super) fn run(
    stop: &AtomicBool,
    kernel: Arc<Mutex<Kernel>>,
    begun: &Receiver<u32>,
    looked: &SyncSender<()>,
    shared: &Shared,
) {
    let mut runtimes = match Runtimes::new(kernel) {
        Ok(runtimes) => runtimes,
        Err(error) => {
            tracing::info!(
                error = format!("{error:#}"),
                "no uprobes: calls of event loops, Go, asyncio, puma and tokio have no parents"
            );
            return;
        }
    };
    let is_captured = |pid| shared.feed.is_captured(pid);
    if runtimes.look_at_all(stop, is_captured) {
        raise(shared);
    }
    let mut told = false;
    let _ = looked.try_send(());
    memory::trim();
    let (mut swept, mut again) = (Instant::now(), Instant::now());
    while !stop.load(Ordering::Acquire) {
        if std::mem::take(&mut told) {
            raise(shared);
        }
        let patience = if runtimes.has_beginning() {
            PATIENCE
        } else {
            SWEEP
        };
        match begun.recv_timeout(patience) {
            Ok(pid) if is_captured(pid) => told |= runtimes.look_at(pid),
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if again.elapsed() >= PATIENCE {
            again = Instant::now();
            told |= runtimes.look_at_beginning();
        }
        if swept.elapsed() >= SWEEP {
            swept = Instant::now();
            runtimes.sweep();
            told |= runtimes.look_at_all(stop, is_captured);
            memory::trim();
        }
    }
}

/// Connections that are open ask again whose they are.
fn raise(shared: &Shared) {
    if let Err(error) = shared.feed.raise() {
        tracing::warn!(%error, "connections could not be made to ask for their runtime");
    }
}
