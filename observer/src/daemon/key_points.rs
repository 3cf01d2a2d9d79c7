//! The thread that arms key points: what captured processes have mapped, and map from now on.
//!
//! The kernel tells what is mapped to be executed as it happens (`kernel::mappings`). Where it does not, processes are looked
//! at again soon after they began.

use std::{
    collections::VecDeque,
    os::fd::{AsFd as _, OwnedFd},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd};

use super::{
    health::{Health, Pulse},
    memory,
    pipeline::Shared,
    threads::spawn,
};
use crate::{
    kernel::{Kernel, mappings::Mappings, reader},
    tls::{ArmedCounts, ArmedFiles},
};

/// How often all that is mapped is looked at anew.
const SWEEP: Duration = Duration::from_secs(60);
/// Longest time without a sign of life: a look at all that a large host has mapped, for the first time.
const PULSE: Duration = Duration::from_secs(120);
/// How long the daemon's start waits, at most, for what runs already to be armed: who waits for the daemon to be ready connects
/// next, and no connection is read whose handshake was before.
const FIRST_LOOK: Duration = Duration::from_secs(5);
/// Rest between two looks: a program maps its libraries one after the other.
const REST: Duration = Duration::from_millis(1);
/// When a process that began is looked at again where the kernel does not tell what it maps.
const AGAIN: [Duration; 3] = [
    Duration::from_millis(20),
    Duration::from_millis(100),
    Duration::from_millis(500),
];
/// Processes that may wait to be looked at.
const QUEUE: usize = 4096;

/// Tells the thread of processes.
pub(super) struct Teller {
    to: SyncSender<u32>,
    news: Arc<OwnedFd>,
}

impl Teller {
    /// Tells of one. Of those that do not fit somebody tells again: the kernel or the sweep.
    pub(super) fn tell(&self, pid: u32) {
        let _ = self.to.try_send(pid);
        let _ = rustix::io::write(&self.news, &1u64.to_ne_bytes());
    }
}

/// Who tells the thread.
pub(super) struct Tellers {
    /// Of processes that began another program, or are captured from now on.
    pub(super) begun: Teller,
    /// Of processes that hash too much.
    pub(super) hashing: Teller,
    /// Of processes that speak TLS, but whose secrets nobody told.
    pub(super) closed: Teller,
}

/// The thread's end.
pub(super) struct Beginnings {
    begun: Receiver<u32>,
    hashing: Receiver<u32>,
    closed: Receiver<u32>,
    news: Arc<OwnedFd>,
}

impl Beginnings {
    /// With the other ends.
    ///
    /// # Errors
    /// The system has no descriptors left.
    pub(super) fn new() -> Result<(Tellers, Self)> {
        let news = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .context("no descriptor for processes that begin")?;
        let news = Arc::new(news);
        let teller = || {
            let (to, from) = sync_channel(QUEUE);
            let news = Arc::clone(&news);
            (Teller { to, news }, from)
        };
        let (begun, of_begun) = teller();
        let (hashing, of_hashing) = teller();
        let (closed, of_closed) = teller();
        let beginnings = Self {
            begun: of_begun,
            hashing: of_hashing,
            closed: of_closed,
            news,
        };
        let tellers = Tellers {
            begun,
            hashing,
            closed,
        };
        Ok((tellers, beginnings))
    }
}

/// What the thread works with.
pub(super) struct Armer {
    pub(super) stop: Arc<AtomicBool>,
    pub(super) shared: Arc<Shared>,
    pub(super) kernel: Arc<Mutex<Kernel>>,
    pub(super) begun: Beginnings,
    pub(super) counts: Arc<ArmedCounts>,
    /// Only some processes are captured.
    pub(super) selective: bool,
}

/// Comes when the thread has looked at every process that was there.
pub(super) struct Looked(Receiver<()>);

impl Looked {
    /// Waits for that, [`FIRST_LOOK`] at most.
    pub(super) fn wait(&self) {
        let _ = self.0.recv_timeout(FIRST_LOOK);
    }
}

/// Processes that are to be looked at again, in the order of when.
type Again = VecDeque<(Instant, u32, usize)>;

impl Armer {
    /// Starts the thread, with what says that it has looked at every process that is there.
    ///
    /// # Errors
    /// There is no room for one.
    pub(super) fn start(self, health: &Arc<Health>) -> Result<(JoinHandle<()>, Looked)> {
        let (looked, has_looked) = sync_channel(1);
        let thread = spawn(health, "observer-keys", Some(PULSE), move |pulse| {
            self.run(&looked, pulse);
        })?;
        Ok((thread, Looked(has_looked)))
    }

    /// Until it is to stop. Says on `looked` when it has looked at every process that was there.
    fn run(self, looked: &SyncSender<()>, pulse: &Pulse) {
        let mut files = match ArmedFiles::new(Arc::clone(&self.kernel), Arc::clone(&self.counts)) {
            Ok(files) => files.with_those_of_host(),
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "TLS is not read");
                pulse.done();
                return;
            }
        };
        // Before the first look: what is mapped meanwhile is not missed.
        let mut mappings = Mappings::open()
            .inspect_err(|error| {
                tracing::info!(
                    error = format!("{error:#}"),
                    "the kernel does not tell what processes map: TLS libraries are found a little later"
                );
            })
            .ok();
        let is_captured = |pid| {
            // Each process that is looked at is a sign of life.
            pulse.beat();
            pid != std::process::id() && self.shared.feed.is_captured(pid)
        };
        files.sweep(is_captured);
        let _ = looked.try_send(());
        memory::trim();
        let (mut swept, mut again) = (Instant::now(), Again::new());
        while !self.stop.load(Ordering::Acquire) {
            pulse.beat();
            self.wait(mappings.as_ref(), &again, swept);
            if let Some(mappings) = &mut mappings {
                let lost = mappings.drain(|mapping| {
                    if !files.is_settled(mapping) && is_captured(mapping.pid) {
                        files.mapped(mapping);
                    }
                });
                if lost {
                    files.sweep(is_captured);
                }
            }
            while let Ok(pid) = self.begun.begun.try_recv() {
                if !is_captured(pid) {
                    continue;
                }
                files.began(pid);
                if self.selective || mappings.is_none() {
                    // What it mapped before it was selected, or that nobody tells.
                    files.look_at_process(pid);
                }
                if mappings.is_none() {
                    again.push_back((Instant::now() + AGAIN[0], pid, 0));
                }
            }
            while let Ok(pid) = self.begun.hashing.try_recv() {
                files.give_up(pid);
            }
            while let Ok(pid) = self.begun.closed.try_recv() {
                files.stays_closed(pid);
            }
            look_again(&mut again, |pid| {
                if is_captured(pid) {
                    files.look_at_process(pid);
                }
            });
            if swept.elapsed() >= SWEEP {
                files.sweep(is_captured);
                swept = Instant::now();
                memory::trim();
            }
        }
    }

    /// Until something is mapped, begins, or is due.
    fn wait(&self, mappings: Option<&Mappings>, again: &Again, swept: Instant) {
        let due = again.iter().map(|(due, ..)| *due).min();
        let due = due.unwrap_or(swept + SWEEP).min(swept + SWEEP);
        let longest = due.saturating_duration_since(Instant::now());
        let mut waiting: Vec<PollFd<'_>> = mappings
            .into_iter()
            .flat_map(Mappings::waited_for)
            .map(|event| PollFd::from_borrowed_fd(event, PollFlags::IN))
            .collect();
        let news = self.begun.news.as_fd();
        waiting.push(PollFd::from_borrowed_fd(news, PollFlags::IN));
        if reader::wait_for(&mut waiting, longest) {
            let _ = rustix::io::read(news, &mut [0; 8]);
            std::thread::sleep(REST);
        }
    }
}

/// Looks at those that are due.
fn look_again(again: &mut Again, mut look: impl FnMut(u32)) {
    let now = Instant::now();
    for _ in 0..again.len() {
        let Some((due, pid, times)) = again.pop_front() else {
            return;
        };
        if due > now {
            again.push_back((due, pid, times));
            continue;
        }
        look(pid);
        if let Some(next) = AGAIN.get(times + 1) {
            again.push_back((now + *next, pid, times + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_looked_at_three_times_where_nobody_tells_what_it_maps() {
        let mut again = Again::from([(Instant::now(), 7, 0)]);
        let mut looks = 0;
        let begun = Instant::now();
        while !again.is_empty() && begun.elapsed() < Duration::from_secs(10) {
            look_again(&mut again, |pid| {
                assert_eq!(pid, 7);
                looks += 1;
            });
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(looks, AGAIN.len());
        assert!(begun.elapsed() >= AGAIN[1] + AGAIN[2]);
    }
}
