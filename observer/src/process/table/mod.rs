//! The table of processes: which service each belongs to.
//!
//! **An instance is what one exec began.** Processes that were forked from one another with no exec in between (a
//! master and its workers, a server that forks for every connection) are one instance: they share one [`Service`],
//! whose `process.pid` is that of the topmost. So a forked child costs no look at `/proc` and no new metric stream.
//! exec begins a new instance. Where an event was missed, `/proc` tells: fork copies the memory layout, exec draws a
//! new one ([`Layout`](super::proc_fs::Layout)); the control group must be the same too.
//!
//! **Who must not wait** asks what is [known](Table::known), takes in events, and gets a [provisional](Table::provisional)
//! service: none of these reads a file. What has to be read is [found](Table::find) and [looked at](Table::look) by
//! others, since a file in a process's root may never be answered. A process that was gone by then is named by what the
//! kernel called it.
//!
//! A process in a pod that the cluster has not told of yet is [named](Table::name_pods) as soon as it has, and after
//! a moment ([`pods`]) in any case; when its pod changes later, so does its service.

mod ancestry;
mod images;
mod pods;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering, fence},
    },
};

use observer_abi::process::{ProcessEvent, event};
use rustix::time::{ClockId, clock_gettime};

pub use self::images::Found;
use self::{
    ancestry::topmost,
    images::{Image, Images, Slot},
};
use super::{
    Service, Value,
    proc_fs::Stat,
    service::{Identifier, Subject},
};
use crate::identity::ProcessKey;

/// How long a process that ended is remembered, ns: its last exchanges are still under way.
const GRACE_NS: u64 = 60_000_000_000;
/// Processes that are remembered at most, unless told otherwise.
const MOST_PROCESSES: usize = 32_768;

/// What the table holds and could not hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableStats {
    /// Processes in the table.
    pub processes: usize,
    /// Processes that ended and are still remembered.
    pub departed: usize,
    /// Processes that had to leave for others, and are read anew when they are asked for.
    pub overflowed: u64,
    /// Processes that were gone before they could be looked at, and are named by what the kernel called them.
    pub unseen: u64,
}

/// All processes. Shared by threads.
///
/// Hand it the process events of a batch before records are looked up: an exec that is not told yet gives its first
/// records to the old program.
pub struct Table {
    identifier: Identifier,
    capacity: usize,
    inner: RwLock<Images>,
    /// Those whose pods are waited for, oldest first, with the time.
    awaited: Mutex<VecDeque<(u64, Arc<Image>)>>,
    generation: AtomicU64,
    overflowed: AtomicU64,
    unseen: AtomicU64,
}

impl Table {
    /// An empty table.
    pub fn new(identifier: Identifier) -> Self {
        Self::with_capacity(identifier, MOST_PROCESSES)
    }

    /// An empty table that remembers at most `capacity` processes.
    pub fn with_capacity(identifier: Identifier, capacity: usize) -> Self {
        Self {
            identifier,
            capacity,
            inner: RwLock::default(),
            awaited: Mutex::default(),
            generation: AtomicU64::new(0),
            overflowed: AtomicU64::new(0),
            unseen: AtomicU64::new(0),
        }
    }

    /// The service of a process. Known ones cost a map lookup; an unknown one is read from `/proc` now: tens of µs mostly,
    /// but there is no limit.
    pub fn service(&self, key: ProcessKey) -> Arc<Service> {
        let found = self.find(key);
        let Found { image, slot } = &found;
        if let Some(known) = image.service.get() {
            return known;
        }
        self.identify(image, *slot);
        self.name(image, false)
            .unwrap_or_else(|| self.provisional_of(image))
    }

    /// The service of a process, if it has been looked at. Reads no file.
    pub fn known(&self, key: ProcessKey) -> Option<Arc<Service>> {
        self.image(key)?.service.get()
    }

    /// What a process is called that was not looked at in time: as the kernel calls it. The same for all of an instance, and
    /// until it is [known](Self::known); then the [generation](Self::generation) changes, and this one is
    /// [departed](Self::departed). Reads no file.
    pub fn provisional(&self, key: ProcessKey) -> Arc<Service> {
        let Some(image) = self.image(key) else {
            let ticks = self.identifier.proc.ticks(key);
            return Arc::new(self.identifier.unseen(key.tgid, ticks, ""));
        };
        let provisional = self.provisional_of(&image);
        // Somebody may have found it out meanwhile, and not seen this one.
        fence(Ordering::SeqCst);
        image.service.get().unwrap_or(provisional)
    }

    fn provisional_of(&self, image: &Image) -> Arc<Service> {
        let Slot { tgid, ticks } = image.root;
        let provisional = image.provisional.get_or_init(|| {
            Arc::new(match image.facts.get() {
                // Only what the cluster says is missing.
                Some(facts) => self.identifier.service(facts).service,
                None => self.identifier.unseen(tgid, ticks, &image.comm),
            })
        });
        Arc::clone(provisional)
    }

    /// The image of a process, if it is in the table. Reads no file.
    fn image(&self, key: ProcessKey) -> Option<Arc<Image>> {
        self.read(|inner| {
            let slot = match key.start_ns {
                0 => *inner.current.get(&key.tgid)?,
                _ => Slot {
                    tgid: key.tgid,
                    ticks: self.identifier.proc.ticks(key),
                },
            };
            inner.by_slot.get(&slot).cloned()
        })
    }

    /// Finds out which instance a process belongs to. Reads `/proc`, and nothing that can make it wait for long.
    pub fn find(&self, key: ProcessKey) -> Found {
        let slot = self.slot(key);
        let known = self.read(|inner| inner.by_slot.get(&slot).cloned());
        let image = known.unwrap_or_else(|| self.discover(slot));
        Found { image, slot }
    }

    /// Finds out what an instance is, unless somebody does already. Reads what the process itself has in memory and files:
    /// this may take for ever.
    pub fn look(&self, found: &Found) {
        let Found { image, slot } = found;
        if image.looked_at.swap(true, Ordering::AcqRel) {
            return;
        }
        self.identify(image, *slot);
        if self.name(image, true).is_none() {
            return;
        }
        fence(Ordering::SeqCst);
        if image.provisional.get().is_some() {
            self.generation.fetch_add(1, Ordering::Release);
        }
    }

    /// Changes whenever a process's service may have changed (exec): a cache of [`known`](Self::known) is good
    /// for as long as this stays the same.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Takes note of an event of a process's life. Reads no file. Returns whether that was all: a child whose parent is not in
    /// the table is to be [placed](Self::place) by who can wait.
    pub fn event(&self, event: &ProcessEvent) -> bool {
        let slot = self.slot_of(event);
        match event.kind {
            event::EXEC => {
                self.write(|inner| {
                    let previous = inner
                        .by_slot
                        .get(&slot)
                        .and_then(|image| image.service.get().or_else(|| image.previous.clone()));
                    let image = Image {
                        previous,
                        ..Image::new(slot, comm(event))
                    };
                    self.insert(inner, slot, Arc::new(image), true);
                });
                self.generation.fetch_add(1, Ordering::Release);
            }
            event::FORK => {
                return self.write(|inner| {
                    let parent = inner.current.get(&event.parent_tgid);
                    let Some(image) = parent.and_then(|it| inner.by_slot.get(it)).cloned() else {
                        return false;
                    };
                    self.insert(inner, slot, image, false);
                    true
                });
            }
            event::EXIT => {
                self.write(|inner| {
                    if inner.by_slot.contains_key(&slot) {
                        inner.departed.push_back((event.time_ns, slot));
                    }
                });
            }
            _ => {}
        }
        true
    }

    /// Puts a child into its parent's instance, of which `/proc` has to be asked.
    pub fn place(&self, fork: &ProcessEvent) {
        let slot = self.slot_of(fork);
        let parent = self.identifier.proc.stat(fork.parent_tgid).ok();
        let image = parent.map(|stat| {
            self.discover(Slot {
                tgid: fork.parent_tgid,
                ticks: stat.start_ticks,
            })
        });
        let image = image.unwrap_or_else(|| Arc::new(Image::new(slot, comm(fork))));
        self.write(|inner| self.insert(inner, slot, image, false));
    }

    fn slot_of(&self, event: &ProcessEvent) -> Slot {
        let key = ProcessKey {
            tgid: event.tgid,
            start_ns: event.start_ns,
        };
        let current =
            (key.start_ns == 0).then(|| self.read(|it| it.current.get(&key.tgid).copied()));
        current.flatten().unwrap_or_else(|| Slot {
            tgid: key.tgid,
            ticks: self.identifier.proc.ticks(key),
        })
    }

    /// Takes in every process there is. Identities are read later, when they are asked for. Returns how many.
    pub fn scan(&self) -> std::io::Result<usize> {
        let proc = &self.identifier.proc;
        let stats: HashMap<u32, Stat> = proc
            .pids()?
            .into_iter()
            .filter_map(|pid| Some((pid, proc.stat(pid).ok()?)))
            .collect();
        let mut images: HashMap<u32, Arc<Image>> = HashMap::new();
        for (&pid, stat) in &stats {
            let root = topmost(proc, pid, stat, |parent| stats.get(&parent).cloned())
                .last()
                .copied();
            let (root, ticks) = root.unwrap_or((pid, stat.start_ticks));
            let comm = stats
                .get(&root)
                .map_or_else(|| stat.comm.clone(), |root| root.comm.clone());
            let image = images
                .entry(root)
                .or_insert_with(|| Arc::new(Image::new(Slot { tgid: root, ticks }, comm)));
            let image = Arc::clone(image);
            self.write(|inner| {
                self.insert(
                    inner,
                    Slot {
                        tgid: pid,
                        ticks: stat.start_ticks,
                    },
                    image,
                    false,
                )
            });
        }
        Ok(stats.len())
    }

    /// Forgets processes that are gone though no event told so. To be called now and then (a minute apart will do).
    pub fn sweep(&self) {
        let slots: Vec<Slot> = self.read(|inner| inner.by_slot.keys().copied().collect());
        let gone: Vec<Slot> = slots
            .into_iter()
            .filter(|slot| !self.is_alive(*slot))
            .collect();
        let now = now_ns();
        self.write(|inner| {
            let known: HashSet<Slot> = inner.departed.iter().map(|(_, slot)| *slot).collect();
            inner.departed.extend(
                gone.into_iter()
                    .filter(|slot| !known.contains(slot))
                    .map(|slot| (now, slot)),
            );
        });
        self.prune(now);
    }

    /// Those of `services` of which no process is left, nor has been for the time that the table remembers the ended.
    pub fn departed(&self, mut services: Vec<Arc<Service>>) -> Vec<Arc<Service>> {
        fn identity(service: &Service) -> (Arc<str>, Arc<str>) {
            (service.name.clone(), service.instance_id.clone())
        }
        let left: HashSet<_> = self.read(|inner| {
            let images = inner.by_slot.values();
            images
                .filter_map(|image| {
                    let named = image.service.get();
                    let named = named.or_else(|| image.provisional.get().cloned());
                    named.or_else(|| image.previous.clone())
                })
                .map(|service| identity(&service))
                .collect()
        });
        // A process that had to leave is in no image: then its id has to do.
        let overflowed = self.overflowed.load(Ordering::Relaxed) > 0;
        services.retain(|service| {
            let present =
                left.contains(&identity(service)) || overflowed && self.has_process(service);
            !present
        });
        services
    }

    /// Whether there is a process with the service's id, whichever.
    fn has_process(&self, service: &Service) -> bool {
        let mut attributes = service.attributes.iter();
        attributes.any(|(key, value)| match (*key, value) {
            ("process.pid", Value::Int(pid)) => {
                u32::try_from(*pid).is_ok_and(|pid| self.identifier.proc.stat(pid).is_ok())
            }
            _ => false,
        })
    }

    /// What the table holds.
    pub fn stats(&self) -> TableStats {
        let (processes, departed) = self.read(|inner| (inner.by_slot.len(), inner.departed.len()));
        TableStats {
            processes,
            departed,
            overflowed: self.overflowed.load(Ordering::Relaxed),
            unseen: self.unseen.load(Ordering::Relaxed),
        }
    }

    /// A start of 0 is one that the kernel could not tell: the process that has the id now, or had it last.
    fn slot(&self, key: ProcessKey) -> Slot {
        if key.start_ns == 0 {
            if let Some(current) = self.read(|inner| inner.current.get(&key.tgid).copied()) {
                return current;
            }
            if let Ok(stat) = self.identifier.proc.stat(key.tgid) {
                return Slot {
                    tgid: key.tgid,
                    ticks: stat.start_ticks,
                };
            }
        }
        Slot {
            tgid: key.tgid,
            ticks: self.identifier.proc.ticks(key),
        }
    }

    /// Reads what the instance tells of itself: its topmost process, else the one that was asked for. Where it is gone, it has
    /// no facts, and is named by what the kernel called it.
    fn identify(&self, image: &Arc<Image>, asked: Slot) {
        // A topmost process that called exec since is another program by now.
        let root = self.read(|inner| {
            let own = inner
                .by_slot
                .get(&image.root)
                .is_none_or(|current| Arc::ptr_eq(current, image));
            own.then_some(image.root)
        });
        let found = root.into_iter().chain([asked]).find_map(|witness| {
            let subject = Subject {
                pid: image.root.tgid,
                start_ticks: image.root.ticks,
                witness: witness.tgid,
                witness_ticks: witness.ticks,
            };
            self.identifier.identify(subject).ok()
        });
        match found {
            Some(facts) => {
                let _ = image.facts.set(facts);
            }
            None => {
                self.unseen.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// An unknown process's image, by what `/proc` tells of it and its ancestors.
    fn discover(&self, slot: Slot) -> Arc<Image> {
        let proc = &self.identifier.proc;
        let stat = proc
            .stat(slot.tgid)
            .ok()
            .filter(|stat| stat.start_ticks == slot.ticks);
        let Some(stat) = stat else {
            let image = Arc::new(Image::new(slot, String::new()));
            return self.write(|inner| {
                let image = self.insert(inner, slot, image, false);
                inner.departed.push_back((now_ns(), slot));
                image
            });
        };
        let chain = topmost(proc, slot.tgid, &stat, |parent| proc.stat(parent).ok());
        let chain = chain.into_iter().map(|(tgid, ticks)| Slot { tgid, ticks });
        let chain: Vec<Slot> = std::iter::once(slot).chain(chain).collect();
        let root = chain.last().copied().unwrap_or(slot);
        self.write(|inner| {
            let known = chain
                .iter()
                .find_map(|slot| inner.by_slot.get(slot).cloned());
            let image = known.unwrap_or_else(|| Arc::new(Image::new(root, stat.comm)));
            for slot in chain {
                self.insert(inner, slot, Arc::clone(&image), false);
            }
            image
        })
    }

    /// See [`Images::insert`].
    fn insert(
        &self,
        inner: &mut Images,
        slot: Slot,
        image: Arc<Image>,
        replace: bool,
    ) -> Arc<Image> {
        let (image, left) = inner.insert(slot, image, replace, self.capacity);
        self.overflowed.fetch_add(left, Ordering::Relaxed);
        image
    }

    /// Forgets those whose grace is over at this time, CLOCK_MONOTONIC ns. A leader that ended before its threads is kept. To be
    /// called now and then (a second apart will do): it reads `/proc`.
    pub fn prune(&self, now: u64) {
        loop {
            let oldest = self.read(|inner| inner.departed.front().copied());
            let Some((ended, slot)) =
                oldest.filter(|(ended, _)| ended.saturating_add(GRACE_NS) <= now)
            else {
                return;
            };
            let alive = self.is_alive(slot);
            self.write(|inner| {
                // Another thread may have been here first.
                if inner.departed.front() != Some(&(ended, slot)) {
                    return;
                }
                inner.departed.pop_front();
                if alive {
                    inner.departed.push_back((now, slot));
                } else {
                    inner.forget(slot);
                }
            });
        }
    }

    fn is_alive(&self, slot: Slot) -> bool {
        let stat = self.identifier.proc.stat(slot.tgid);
        stat.is_ok_and(|stat| {
            stat.start_ticks == slot.ticks && (stat.state != 'Z' || stat.threads > 1)
        })
    }

    fn read<T>(&self, reader: impl FnOnce(&Images) -> T) -> T {
        reader(&self.inner.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, writer: impl FnOnce(&mut Images) -> T) -> T {
        writer(&mut self.inner.write().unwrap_or_else(PoisonError::into_inner))
    }
}

fn comm(event: &ProcessEvent) -> String {
    let end = event
        .comm
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(event.comm.len());
    String::from_utf8_lossy(&event.comm[..end]).into_owned()
}

/// CLOCK_MONOTONIC, ns.
fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec)
        .unwrap_or(0)
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests;
