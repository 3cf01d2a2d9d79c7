//! The pods of this node, those that are gone for some minutes included.
//!
//! One thread writes what the API server tells; any may ask. A pod that is deleted is remembered for [`KEEP_NS`], so that
//! what its processes said last gets its names; one that the server stops telling of without a word (a list after a break)
//! leaves in the same way. While the server can't be reached everything stays as it was.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
};

use super::{
    api::Metadata,
    member::{Member, PodRef},
    namespaces::{Applied, Namespaces},
    owner::Owner,
    pod::{Kept, Pod},
};

/// How long a pod is remembered that is gone, ns.
const KEEP_NS: u64 = 300_000_000_000;
/// Pods that are remembered, at most; a kubelet runs 110 if not told otherwise, and at most some hundreds.
const MOST_PODS: usize = 4096;
/// Starts of one container that are remembered, at most.
const MOST_RUNS: usize = 8;
/// Changed pods that are told one by one; more are told as all.
const MOST_CHANGES: usize = 1024;

/// Whether the API server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reach {
    /// It was not heard of yet.
    Unheard = 0,
    /// It tells every pod.
    Told = 1,
    /// It can't be reached, or refuses: what was told before is kept.
    Lost = 2,
}

/// What a look-up gives.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// The pod is known.
    Known(Member),
    /// It is not, and may be soon.
    Awaited,
    /// It is not, and it is no use to wait: the process is in no pod, or nobody tells.
    Unknown,
}

/// Pods that changed.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    all: bool,
    pods: HashSet<Arc<str>>,
}

impl Changes {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        !self.all && self.pods.is_empty()
    }

    fn add(&mut self, uid: &Arc<str>) {
        if self.pods.len() >= MOST_CHANGES {
            self.pods.clear();
            self.all = true;
        }
        if !self.all {
            self.pods.insert(Arc::clone(uid));
        }
    }
}

/// What the store holds and could not hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Pods that there are.
    pub pods: usize,
    /// Pods that are gone and still remembered.
    pub departed: usize,
    /// Pods that found no room.
    pub refused: u64,
    /// Namespaces that found none.
    pub refused_namespaces: u64,
}

struct Listener(Box<dyn Fn() + Send + Sync>);

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Listener")
    }
}

/// See the module.
#[derive(Debug)]
pub struct Store {
    kept: Kept,
    cluster_uid: OnceLock<String>,
    /// Called after each change.
    listener: OnceLock<Listener>,
    inner: RwLock<Inner>,
    changes: Mutex<Changes>,
    reach: AtomicU8,
    refused: AtomicU64,
    refused_namespaces: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    pods: HashMap<Arc<str>, Arc<Pod>>,
    /// Uids by what the node calls static pods.
    by_hash: HashMap<Arc<str>, Arc<str>>,
    /// Uids by containers' ids.
    by_container: HashMap<Arc<str>, Arc<str>>,
    /// Those that are gone, oldest first, with the time.
    departed: VecDeque<(u64, Arc<str>)>,
    namespaces: Namespaces,
}

impl Store {
    /// An empty store, of pods as far as they are `kept`.
    pub fn new(kept: Kept) -> Self {
        Self {
            kept,
            cluster_uid: OnceLock::new(),
            listener: OnceLock::new(),
            inner: RwLock::default(),
            changes: Mutex::default(),
            reach: AtomicU8::new(Reach::Unheard as u8),
            refused: AtomicU64::new(0),
            refused_namespaces: AtomicU64::new(0),
        }
    }

    /// Has this called after each change, by whoever brings it. Only the first one that is given is.
    pub fn on_change(&self, call: impl Fn() + Send + Sync + 'static) {
        let _ = self.listener.set(Listener(Box::new(call)));
    }

    /// What of pods becomes attributes.
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    /// What tells the cluster from others, where it is known.
    pub fn cluster_uid(&self) -> Option<String> {
        self.cluster_uid.get().cloned()
    }

    /// Says what tells the cluster from others. It never changes.
    pub fn set_cluster_uid(&self, uid: String) {
        if self.cluster_uid.set(uid).is_ok() {
            let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
            changes.all = true;
        }
    }

    /// Whether the API server answers.
    pub fn reach(&self) -> Reach {
        match self.reach.load(Ordering::Acquire) {
            0 => Reach::Unheard,
            1 => Reach::Told,
            _ => Reach::Lost,
        }
    }

    /// Says whether the API server answers.
    pub fn set_reach(&self, reach: Reach) {
        self.reach.store(reach as u8, Ordering::Release);
    }

    /// The pod and container of a process.
    pub fn find(&self, process: &PodRef) -> Lookup {
        let id = process.container.as_deref();
        let found = self.read(|inner| {
            let pod = inner.pod(process)?;
            let namespace = inner.namespaces.attributes(pod.namespace()).cloned();
            Some((pod, namespace))
        });
        if let Some((pod, namespace)) = found {
            return Lookup::Known(Member {
                namespace,
                ..Member::new(&pod, id)
            });
        }
        if process.uid.is_some() && self.reach() != Reach::Lost {
            Lookup::Awaited
        } else {
            Lookup::Unknown
        }
    }

    /// Whether a process is in a pod that changed.
    pub fn concerns(&self, changes: &Changes, process: &PodRef) -> bool {
        changes.all
            || self
                .read(|inner| inner.uid(process))
                .is_some_and(|uid| changes.pods.contains(&uid))
    }

    /// A pod as it is now.
    pub fn apply(&self, mut pod: Pod) {
        let uid = Arc::clone(&pod.uid);
        let changed = self.write(|inner| {
            if let Some(before) = inner.pods.get(&uid) {
                pod.remember(before);
                let returned = inner.departed.iter().any(|(_, gone)| *gone == uid);
                if **before == pod && !returned {
                    return false;
                }
            } else if !inner.make_room() {
                self.refused.fetch_add(1, Ordering::Relaxed);
                return false;
            }
            inner.departed.retain(|(_, gone)| *gone != uid);
            inner.insert(pod);
            true
        });
        if changed {
            self.change(&uid);
        }
    }

    /// What stands above a controller, for the pods that it was asked for.
    pub fn answer(&self, controller: &str, above: Option<&Owner>) {
        let asks = |pod: &Pod| pod.asked.as_ref().is_some_and(|it| it.uid == controller);
        let answered = self.write(|inner| {
            let pods = inner.pods.values_mut().filter(|pod| asks(pod));
            let answered = pods.map(|pod| {
                *pod = Arc::new(Pod::clone(pod).answered(above));
                Arc::clone(&pod.uid)
            });
            answered.collect::<Vec<_>>()
        });
        for uid in answered {
            self.change(&uid);
        }
    }

    /// A namespace as it is now.
    pub fn apply_namespace(&self, metadata: &Metadata) {
        let concerned = self.write(|inner| {
            match inner.namespaces.apply(metadata, &self.kept) {
                Applied::Changed => {}
                Applied::Same => return Vec::new(),
                Applied::Refused => {
                    self.refused_namespaces.fetch_add(1, Ordering::Relaxed);
                    return Vec::new();
                }
            }
            let pods = inner.pods.values();
            let within = pods.filter(|pod| pod.namespace() == metadata.name);
            within.map(|pod| Arc::clone(pod.uid())).collect()
        });
        for uid in concerned {
            self.change(&uid);
        }
    }

    /// A namespace is gone. What the last processes of its pods said keeps its attributes.
    pub fn remove_namespace(&self, name: &str) {
        self.write(|inner| inner.namespaces.remove(name));
    }

    /// The namespaces that are not in a complete list are gone.
    pub fn retain_namespaces(&self, listed: &HashSet<Arc<str>>) {
        self.write(|inner| inner.namespaces.retain(listed));
    }

    /// A pod is gone, at this time, CLOCK_MONOTONIC ns.
    pub fn remove(&self, uid: &str, now_ns: u64) {
        self.write(|inner| inner.depart(uid, now_ns));
    }

    /// Those that are not in a complete list are gone.
    pub fn retain(&self, listed: &HashSet<Arc<str>>, now_ns: u64) {
        self.write(|inner| {
            let unlisted = inner.pods.keys().filter(|uid| !listed.contains(*uid));
            let unlisted: Vec<Arc<str>> = unlisted.cloned().collect();
            for uid in unlisted {
                inner.depart(&uid, now_ns);
            }
        });
    }

    /// Forgets those that are gone for long enough.
    pub fn prune(&self, now_ns: u64) {
        self.write(|inner| {
            while let Some((since, uid)) = inner.departed.front()
                && since.saturating_add(KEEP_NS) <= now_ns
            {
                let uid = Arc::clone(uid);
                inner.departed.pop_front();
                inner.forget(&uid);
            }
            let Inner {
                pods, namespaces, ..
            } = inner;
            namespaces.prune(|name| pods.values().any(|pod| pod.namespace() == name));
        });
    }

    /// The pods that changed since the last time this was asked.
    pub fn take_changes(&self) -> Changes {
        std::mem::take(&mut *self.changes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What the store holds.
    pub fn stats(&self) -> StoreStats {
        let (all, departed) = self.read(|inner| (inner.pods.len(), inner.departed.len()));
        StoreStats {
            pods: all - departed.min(all),
            departed,
            refused: self.refused.load(Ordering::Relaxed),
            refused_namespaces: self.refused_namespaces.load(Ordering::Relaxed),
        }
    }

    fn change(&self, uid: &Arc<str>) {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        changes.add(uid);
        drop(changes);
        if let Some(Listener(call)) = self.listener.get() {
            call();
        }
    }

    fn read<T>(&self, reader: impl FnOnce(&Inner) -> T) -> T {
        reader(&self.inner.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, writer: impl FnOnce(&mut Inner) -> T) -> T {
        writer(&mut self.inner.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Inner {
    fn uid(&self, process: &PodRef) -> Option<Arc<str>> {
        let by_uid = process.uid.as_deref().and_then(|uid| {
            let (own, _) = self.pods.get_key_value(uid).or_else(|| {
                let uid = self.by_hash.get(uid)?;
                self.pods.get_key_value(uid)
            })?;
            Some(Arc::clone(own))
        });
        by_uid.or_else(|| {
            self.by_container
                .get(process.container.as_deref()?)
                .cloned()
        })
    }

    fn pod(&self, process: &PodRef) -> Option<Arc<Pod>> {
        self.pods.get(&self.uid(process)?).cloned()
    }

    fn insert(&mut self, pod: Pod) {
        let uid = Arc::clone(&pod.uid);
        self.unlink(&uid);
        if let Some(hash) = &pod.config_hash {
            self.by_hash.insert(Arc::clone(hash), Arc::clone(&uid));
        }
        for run in pod.containers.iter().flat_map(|it| &it.runs) {
            self.by_container
                .insert(Arc::clone(&run.id), Arc::clone(&uid));
        }
        self.pods.insert(uid, Arc::new(pod));
    }

    fn depart(&mut self, uid: &str, now_ns: u64) {
        let is_departed = self.departed.iter().any(|(_, gone)| **gone == *uid);
        if let Some((uid, _)) = self.pods.get_key_value(uid).filter(|_| !is_departed) {
            self.departed.push_back((now_ns, Arc::clone(uid)));
        }
    }

    fn forget(&mut self, uid: &str) {
        self.unlink(uid);
        self.pods.remove(uid);
    }

    /// Takes away what leads to a pod, and leaves what leads to another by now.
    fn unlink(&mut self, uid: &str) {
        let Some(pod) = self.pods.get(uid) else {
            return;
        };
        if let Some(hash) = &pod.config_hash
            && self.by_hash.get(hash).is_some_and(|it| **it == *uid)
        {
            self.by_hash.remove(hash);
        }
        for run in pod.containers.iter().flat_map(|it| &it.runs) {
            if self
                .by_container
                .get(&run.id)
                .is_some_and(|it| **it == *uid)
            {
                self.by_container.remove(&run.id);
            }
        }
    }

    /// Whether there is room for one more, now.
    fn make_room(&mut self) -> bool {
        while self.pods.len() >= MOST_PODS {
            let Some((_, oldest)) = self.departed.pop_front() else {
                return false;
            };
            self.forget(&oldest);
        }
        true
    }
}

impl Pod {
    /// Keeps what an update no longer tells: earlier starts of its containers, and what an ended container was.
    fn remember(&mut self, before: &Self) {
        for container in &mut self.containers {
            let earlier = before
                .containers
                .iter()
                .find(|it| it.name == container.name);
            for run in earlier.into_iter().flat_map(|it| &it.runs) {
                if container.runs.len() < MOST_RUNS
                    && container.runs.iter().all(|own| own.id != run.id)
                {
                    container.runs.push(run.clone());
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
