//! The daemon's own threads.

use std::{
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::health::{Health, Pulse};

/// Starts a thread that never preempts what it observes. It is stuck when its pulse has not beaten for `patience`, and the
/// pulse ends with it.
///
/// # Errors
/// When the system has no room for another thread.
pub(super) fn spawn(
    health: &Arc<Health>,
    name: &str,
    patience: Option<Duration>,
    body: impl FnOnce(&Pulse) + Send + 'static,
) -> Result<JoinHandle<()>> {
    let pulse = health.part(name, patience);
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            yield_to_others();
            body(&pulse);
        })
        .with_context(|| format!("cannot start the thread {name}"))
}

/// Waits until threads that were told to end have ended, for at most so long. One that is stuck is left behind: the process
/// ends soon.
pub(super) fn join(threads: impl IntoIterator<Item = JoinHandle<()>>, longest: Duration) {
    let until = Instant::now() + longest;
    for thread in threads {
        let name = thread.thread().name().unwrap_or_default().to_owned();
        while !thread.is_finished() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        if !thread.is_finished() {
            tracing::error!(thread = name, "the thread is stuck and does not end");
        } else if thread.join().is_err() {
            tracing::error!(thread = name, "the thread panicked");
        }
    }
}

/// SCHED_BATCH: the scheduler lets a service that runs finish its turn when one of our threads wakes up (sched(7)). We
/// wake hundreds of times a second, and have milliseconds to spare; it made 5 % of a busy server's throughput.
fn yield_to_others() {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the calling thread (0), and a parameter that outlives the call. A refusal changes nothing.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const parameters) };
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn the_end_does_not_wait_for_a_thread_that_is_stuck() {
        let health = Health::new();
        let (_held, never) = channel::<()>();
        let stuck = spawn(&health, "stuck", None, move |_| {
            let _ = never.recv();
        })
        .unwrap();
        let began = Instant::now();
        join([stuck], Duration::from_millis(50));
        assert!(began.elapsed() >= Duration::from_millis(50));
        let ended = spawn(&health, "ended", None, |_| {}).unwrap();
        join([ended], Duration::from_secs(3600));
    }
}
