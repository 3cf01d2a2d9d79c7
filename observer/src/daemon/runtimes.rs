//! The thread that looks at executables: what it reads may be large, so nobody waits for it.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{
    health::{Health, Pulse},
    memory,
    pipeline::Shared,
    threads::spawn,
};
use crate::kernel::{Kernel, uprobes::Runtimes};

/// How often interpreters that had not begun are looked at again.
const PATIENCE: Duration = Duration::from_millis(50);
/// How often executables that nobody runs lose their breakpoints, and processes are looked at anew.
const SWEEP: Duration = Duration::from_secs(30);

/// Longest time without a sign of life: breakpoints in one executable, or a rest.
const PULSE: Duration = Duration::from_secs(120);
/// How long the daemon's start waits for it to have looked at what runs already.
const FIRST_LOOK: Duration = Duration::from_millis(500);

/// Processes that may wait to be looked at.
pub(super) const QUEUE: usize = 4096;

/// What the thread works with.
pub(super) struct Looker {
    pub(super) stop: Arc<AtomicBool>,
    pub(super) shared: Arc<Shared>,
    pub(super) kernel: Arc<Mutex<Kernel>>,
    /// Processes that began.
    pub(super) begun: Receiver<u32>,
}

impl Looker {
    /// Starts the thread, and waits until it has looked at every process that is there, for a moment: who waits for the
    /// daemon to be ready sends requests next.
    ///
    /// # Errors
    /// There is no room for a thread.
    pub(super) fn start(self, health: &Arc<Health>) -> Result<JoinHandle<()>> {
        let (looked, has_looked) = sync_channel(1);
        let thread = spawn(health, "observer-runtime", Some(PULSE), move |pulse| {
            self.run(&looked, pulse);
        })?;
        let _ = has_looked.recv_timeout(FIRST_LOOK);
        Ok(thread)
    }

    /// Until it is to stop. Says on `looked` when it has looked at every process that was there.
    fn run(self, looked: &SyncSender<()>, pulse: &Pulse) {
        let Self {
            stop,
            shared,
            kernel,
            begun,
        } = self;
        let mut runtimes = match Runtimes::new(kernel) {
            Ok(runtimes) => runtimes,
            Err(error) => {
                tracing::info!(
                    error = format!("{error:#}"),
                    "no uprobes: calls of event loops, Go, asyncio, puma and tokio have no parents"
                );
                pulse.done();
                return;
            }
        };
        let is_captured = |pid| {
            // Each process that is looked at is a sign of life.
            pulse.beat();
            shared.feed.is_captured(pid)
        };
        if runtimes.look_at_all(&stop, is_captured) {
            raise(&shared);
        }
        let mut told = false;
        let _ = looked.try_send(());
        memory::trim();
        let (mut swept, mut again) = (Instant::now(), Instant::now());
        while !stop.load(Ordering::Acquire) {
            pulse.beat();
            if std::mem::take(&mut told) {
                raise(&shared);
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
                told |= runtimes.look_at_all(&stop, is_captured);
                memory::trim();
            }
        }
    }
}

/// Connections that are open ask again whose they are.
fn raise(shared: &Shared) {
    if let Err(error) = shared.feed.raise() {
        tracing::warn!(%error, "connections could not be made to ask for their runtime");
    }
}
