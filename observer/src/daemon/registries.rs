//! The shards' metrics, seen as one.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::time::now_ns;
use crate::{
    metrics::{Limits, Merge, Registry, Snapshot},
    process::Service,
    trace::Clock,
};

/// Gives all metrics now.
pub(super) type Collect = Arc<dyn Fn() -> Snapshot + Send + Sync>;

/// One registry a shard. Collections go side by side; a service leaves all registries between two of them, so that
/// none sees it in some shards only, where it would seem to count backwards.
pub(super) struct Registries {
    shards: Vec<Arc<Mutex<Registry>>>,
    cap: usize,
    leaving: RwLock<()>,
}

impl Registries {
    /// Empty ones; `cap` is the number of series of each metric of each service.
    pub(super) fn new(shards: usize, limits: Limits, cap: usize) -> Self {
        Self {
            shards: (0..shards)
                .map(|_| Arc::new(Mutex::new(Registry::new(limits))))
                .collect(),
            cap,
            leaving: RwLock::new(()),
        }
    }

    /// Each shard's, in the order of the shards.
    pub(super) fn shards(&self) -> &[Arc<Mutex<Registry>>] {
        &self.shards
    }

    /// All metrics now.
    pub(super) fn collect(&self) -> Snapshot {
        let _complete = self.leaving.read().unwrap_or_else(PoisonError::into_inner);
        let mut merge = Merge::new(self.cap);
        for registry in &self.shards {
            // The shard goes on as soon as the pointers are copied.
            let views = registry
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .views();
            merge.add_views(&views);
        }
        merge.finish(Clock::measure().unix_nano(now_ns()))
    }

    /// Every service that has metrics; one that several shards know, several times.
    pub(super) fn services(&self) -> Vec<Arc<Service>> {
        let mut services = Vec::new();
        self.each(|registry| services.extend(registry.services().cloned()));
        services
    }

    /// Drops services; see [`Registry::expire`].
    pub(super) fn expire(&self, dead: &dyn Fn(&Service) -> bool) {
        let _alone = self.leaving.write().unwrap_or_else(PoisonError::into_inner);
        self.each(|registry| registry.expire(dead));
    }

    fn each(&self, mut visit: impl FnMut(&mut Registry)) {
        for registry in &self.shards {
            visit(&mut registry.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        identity::Role,
        trace::samples::{exchange, service},
    };

    #[test]
    fn a_service_leaves_every_shard() {
        let registries = Registries::new(3, Limits::default(), 100);
        let (old, young) = (service("old"), service("young"));
        for registry in registries.shards() {
            let mut registry = registry.lock().unwrap();
            registry.record(&old, &exchange(Role::Server), None, false, 1);
            registry.record(&young, &exchange(Role::Server), None, false, 1);
        }
        assert_eq!(registries.services().len(), 6);
        assert_eq!(registries.collect().services.len(), 2);
        registries.expire(&|service| &*service.name == "old");
        let left = registries.collect().services;
        assert_eq!(left.len(), 1);
        assert_eq!(&*left[0].service.name, "young");
        assert_eq!(Arc::strong_count(&old), 1);
    }
}
