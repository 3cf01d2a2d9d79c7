//! Instances, and which processes belong to which.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::process::{Service, service::Facts};

/// A process, by the tick it began in: both kinds of sources know that much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Slot {
    pub(super) tgid: u32,
    pub(super) ticks: u64,
}

/// What one exec began.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) root: Slot,
    pub(super) comm: String,
    pub(super) service: Latest,
    /// What it told of itself, where it is in a pod: what the cluster says of that may change.
    pub(super) facts: OnceLock<Facts>,
    /// Somebody reads what it is, or has.
    pub(super) looked_at: AtomicBool,
    /// What it was called by who could not wait any longer.
    pub(super) provisional: OnceLock<Arc<Service>>,
    /// What the root was before this exec; kept when it turns out to be the same.
    pub(super) previous: Option<Arc<Service>>,
}

/// A service, once it is known, as it is known now.
#[derive(Debug, Default)]
pub(super) struct Latest(RwLock<Option<Arc<Service>>>);

impl Latest {
    pub(super) fn get(&self) -> Option<Arc<Service>> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Puts what `make` makes in the place of what there is. Nothing else does meanwhile, so that an older answer never
    /// replaces a newer one. Returns what there is then, and whether it is another.
    pub(super) fn update(
        &self,
        make: impl FnOnce(Option<&Arc<Service>>) -> Option<Arc<Service>>,
    ) -> (Option<Arc<Service>>, bool) {
        let mut latest = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let made = make(latest.as_ref());
        let changed = match (&*latest, &made) {
            (Some(before), Some(after)) => !Arc::ptr_eq(before, after),
            (None, None) => false,
            _ => true,
        };
        if changed {
            latest.clone_from(&made);
        }
        (made, changed)
    }
}

/// Those that are remembered.
#[derive(Default)]
pub(super) struct Images {
    pub(super) by_slot: HashMap<Slot, Arc<Image>>,
    /// The newest process of each id: events name parents by id alone.
    pub(super) current: HashMap<u32, Slot>,
    /// Those that ended, oldest first, with the time, CLOCK_MONOTONIC ns.
    pub(super) departed: VecDeque<(u64, Slot)>,
}

/// A process whose instance is known, to be [looked at](Table::look).
pub struct Found {
    pub(super) image: Arc<Image>,
    pub(super) slot: Slot,
}

impl Found {
    /// Id of the process that was asked for.
    pub fn tgid(&self) -> u32 {
        self.slot.tgid
    }

    /// What the kernel calls it.
    pub fn name(&self) -> &str {
        &self.image.comm
    }

    /// Whether somebody looks at it already, or has.
    pub fn is_looked_at(&self) -> bool {
        self.image.looked_at.load(Ordering::Acquire)
    }
}

impl Image {
    pub(super) fn new(root: Slot, comm: String) -> Self {
        Self {
            root,
            comm,
            service: Latest::default(),
            facts: OnceLock::new(),
            looked_at: AtomicBool::new(false),
            provisional: OnceLock::new(),
            previous: None,
        }
    }
}

impl Images {
    pub(super) fn forget(&mut self, slot: Slot) {
        self.by_slot.remove(&slot);
        if self.current.get(&slot.tgid) == Some(&slot) {
            self.current.remove(&slot.tgid);
        }
    }

    /// Puts an image in; one that is there already stays unless `replace`. Returns the one that is there, and how many had to
    /// leave for it.
    pub(super) fn insert(
        &mut self,
        slot: Slot,
        image: Arc<Image>,
        replace: bool,
        capacity: usize,
    ) -> (Arc<Image>, u64) {
        if let Some(known) = self.by_slot.get_mut(&slot) {
            if replace {
                *known = image;
            }
            return (Arc::clone(known), 0);
        }
        let mut left = 0;
        while self.by_slot.len() >= capacity {
            let departed = self.departed.pop_front().map(|(_, slot)| slot);
            left += u64::from(departed.is_none());
            // Any: it is read anew when it is asked for.
            let Some(least) = departed.or_else(|| self.by_slot.keys().next().copied()) else {
                break;
            };
            self.forget(least);
        }
        self.current.insert(slot.tgid, slot);
        self.by_slot.insert(slot, Arc::clone(&image));
        (image, left)
    }
}
