//! Services of processes in pods: what the cluster tells comes later than the process, and may change.

use std::sync::{
    Arc, PoisonError,
    atomic::{Ordering, fence},
};

use super::{Image, Slot, Table, now_ns};
use crate::{kubernetes::Changes, process::Service};

/// How long a process's name waits for its pod, ns: a kubelet tells a container's id a second or two after it began. Less than
/// an exchange waits for a name.
pub(super) const PATIENCE_NS: u64 = 2_500_000_000;
/// Instances that may wait, at most; others are named at once, and again when their pods are known.
const MOST_AWAITED: usize = 8192;

impl Table {
    /// Gives an instance its service, by what is known of it now. `None` if it is to wait, and `may_wait`.
    pub(super) fn name(&self, image: &Arc<Image>, may_wait: bool) -> Option<Arc<Service>> {
        let mut waits = false;
        let (service, _) = image.service.update(|before| {
            let (service, awaited) = self.make(image, before);
            waits = before.is_none() && awaited && may_wait;
            (!waits).then_some(service)
        });
        if waits && !self.wait_for(image) {
            return self.name(image, false);
        }
        service
    }

    /// What is known of an instance now, as a service, and whether the cluster may tell more in a moment.
    fn make(&self, image: &Image, before: Option<&Arc<Service>>) -> (Arc<Service>, bool) {
        let (mut service, awaited) = match image.facts.get() {
            Some(facts) => {
                let named = self.identifier.service(facts);
                match before {
                    // Its pod is forgotten by now.
                    Some(before) if !named.in_pod => return (Arc::clone(before), false),
                    _ => (named.service, named.awaited),
                }
            }
            None => {
                let Slot { tgid, ticks } = image.root;
                (self.identifier.unseen(tgid, ticks, &image.comm), false)
            }
        };
        if let Some(before) = before {
            // What was learned of it since is true of it under any name.
            service.instrumentation = before.instrumentation.clone();
        }
        let same = before.or(image.previous.as_ref());
        match same.filter(|same| ***same == service) {
            Some(same) => (Arc::clone(same), awaited),
            None => (Arc::new(service), awaited),
        }
    }

    /// Whether there is room to wait.
    fn wait_for(&self, image: &Arc<Image>) -> bool {
        let mut awaited = self.awaited.lock().unwrap_or_else(PoisonError::into_inner);
        let is_room = awaited.len() < MOST_AWAITED;
        if is_room {
            awaited.push_back((now_ns(), Arc::clone(image)));
        }
        is_room
    }

    /// Names those whose pods changed, and those that have waited for long enough at this time, CLOCK_MONOTONIC ns. Reads no
    /// file.
    pub fn name_pods(&self, changes: &Changes, now: u64) {
        let Some(pods) = self.identifier.pods() else {
            return;
        };
        let mut images: Vec<Arc<Image>> = Vec::new();
        if !changes.is_empty() {
            let is_concerned = |image: &&Arc<Image>| {
                let facts = image.facts.get();
                facts.is_some_and(|facts| pods.concerns(changes, &facts.place))
            };
            self.read(|inner| {
                images.extend(inner.by_slot.values().filter(is_concerned).cloned());
            });
            // One that forked stands there several times.
            images.sort_unstable_by_key(Arc::as_ptr);
            images.dedup_by(|one, other| Arc::ptr_eq(one, other));
        }
        let over = self.waited_until(now);
        let mut changed = false;
        for (image, is_over) in images
            .into_iter()
            .map(|image| (image, false))
            .chain(over.into_iter().map(|image| (image, true)))
        {
            changed |= self.name_again(&image, is_over);
        }
        if changed {
            self.generation.fetch_add(1, Ordering::Release);
        }
    }

    /// Takes those that have waited for long enough.
    fn waited_until(&self, now: u64) -> Vec<Arc<Image>> {
        let mut awaited = self.awaited.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |(since, _): &(u64, _)| since.saturating_add(PATIENCE_NS) <= now;
        let over = awaited.iter().take_while(|it| is_over(it)).count();
        awaited.drain(..over).map(|(_, image)| image).collect()
    }

    /// Whether somebody may have the service by another name.
    fn name_again(&self, image: &Arc<Image>, is_over: bool) -> bool {
        let mut known = false;
        let (_, changed) = image.service.update(|before| {
            known = before.is_some();
            let (service, awaited) = self.make(image, before);
            let waits = before.is_none() && awaited && !is_over;
            // One that nobody looked at yet has no facts, and does not come here.
            if waits { None } else { Some(service) }
        });
        fence(Ordering::SeqCst);
        changed && (known || image.provisional.get().is_some())
    }
}
