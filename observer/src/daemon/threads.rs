//! The daemon's own threads.

use std::thread::JoinHandle;

use anyhow::{Context as _, Result};

/// Starts a thread that never preempts what it observes.
///
/// # Errors
/// When the system has no room for another thread.
pub(super) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            yield_to_others();
            body();
        })
        .with_context(|| format!("cannot start the thread {name}"))
}

/// SCHED_BATCH: the scheduler lets a service that runs finish its turn when one of our threads wakes up (sched(7)). We
/// wake hundreds of times a second, and have milliseconds to spare; it made 5 % of a busy server's throughput.
fn yield_to_others() {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the calling thread (0), and a parameter that outlives the call. A refusal changes nothing.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const parameters) };
}
