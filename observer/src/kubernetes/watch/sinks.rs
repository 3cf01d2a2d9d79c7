//! Where what is followed goes.

use std::{collections::HashSet, sync::Arc};

use rustix::time::{ClockId, clock_gettime};

use super::{Sink, WatchedNamespace, WatchedPod, WatchedService, WatchedSlice, owners::Owners};
use crate::kubernetes::{
    EndpointSliceObject, Metadata, Peers, Pod, PodObject, Reach, ServiceObject, Store,
};

pub(super) struct Pods {
    pub(super) store: Arc<Store>,
    pub(super) owners: Arc<Owners>,
}

pub(super) struct Namespaces(pub(super) Arc<Store>);

pub(super) struct Services(pub(super) Arc<Peers>);

pub(super) struct Slices(pub(super) Arc<Peers>);

impl Sink for Pods {
    type Object = WatchedPod;
    const KIND: &'static str = "pods";

    fn apply(&mut self, object: WatchedPod) -> Option<Arc<str>> {
        let pod = Pod::of(PodObject::from(object), self.store.kept())?;
        let uid = Arc::clone(pod.uid());
        self.owners.apply(pod);
        Some(uid)
    }

    fn remove(&mut self, object: WatchedPod) {
        if let Some(pod) = Pod::of(PodObject::from(object), self.store.kept()) {
            let uid = Arc::clone(pod.uid());
            // Its last state may tell how a container ended that was never seen to run.
            self.owners.apply(pod);
            self.store.remove(&uid, now_ns());
        }
    }

    fn listed(&mut self, all: &HashSet<Arc<str>>) {
        self.store.retain(all, now_ns());
        self.store.set_reach(Reach::Told);
    }

    fn lost(&mut self) {
        self.store.set_reach(Reach::Lost);
    }
}

impl Sink for Namespaces {
    type Object = WatchedNamespace;
    const KIND: &'static str = "namespaces";

    fn apply(&mut self, object: WatchedNamespace) -> Option<Arc<str>> {
        let namespace = Metadata::from(object);
        self.0.apply_namespace(&namespace);
        Some(namespace.name.into())
    }

    fn remove(&mut self, object: WatchedNamespace) {
        self.0.remove_namespace(&Metadata::from(object).name);
    }

    fn listed(&mut self, all: &HashSet<Arc<str>>) {
        self.0.retain_namespaces(all);
    }
}

impl Sink for Services {
    type Object = WatchedService;
    const KIND: &'static str = "services";

    fn apply(&mut self, object: WatchedService) -> Option<Arc<str>> {
        let service = ServiceObject::from(object);
        self.0.apply_service(&service);
        let meta = &service.metadata;
        Some(format!("{}/{}", meta.namespace, meta.name).into())
    }

    fn remove(&mut self, object: WatchedService) {
        let meta = ServiceObject::from(object).metadata;
        self.0.remove_service(&meta.namespace, &meta.name);
    }

    fn listed(&mut self, all: &HashSet<Arc<str>>) {
        self.0.retain_services(&|name| all.contains(name));
    }
}

impl Sink for Slices {
    type Object = WatchedSlice;
    const KIND: &'static str = "endpointslices";

    fn apply(&mut self, object: WatchedSlice) -> Option<Arc<str>> {
        let slice = EndpointSliceObject::from(object);
        self.0.apply_slice(&slice);
        let meta = &slice.metadata;
        Some(format!("{}/{}", meta.namespace, meta.name).into())
    }

    fn remove(&mut self, object: WatchedSlice) {
        let meta = EndpointSliceObject::from(object).metadata;
        self.0.remove_slice(&meta.namespace, &meta.name);
    }

    fn listed(&mut self, all: &HashSet<Arc<str>>) {
        self.0.retain_slices(&|name| all.contains(name));
    }
}

/// CLOCK_MONOTONIC, ns.
fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec)
        .unwrap_or(0)
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0))
}
