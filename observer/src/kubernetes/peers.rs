//! Whose an address is: services' own, and those of the pods behind them.
//!
//! An address that several services lead to (a headless one beside an ordinary one) has no name: which of them was meant
//! can't be known. Pods with the node's network share its address, so a port always belongs to a name: a slice that says none
//! (which means every port) names nothing.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use super::api::{EndpointSliceObject, Port, ServiceObject, addresses};

/// Addresses with ports that are remembered, at most: about 150 bytes each.
const MOST_ADDRESSES: usize = 32_768;
/// Which service a slice is of.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// A service. Two are equal by their names.
#[derive(Debug)]
pub struct Peer {
    /// Its name.
    pub name: Arc<str>,
    /// Its namespace.
    pub namespace: Arc<str>,
    number: u64,
}

impl Peer {
    /// One with a new number.
    pub fn new(name: &str, namespace: &str) -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self {
            name: name.into(),
            namespace: namespace.into(),
            number: LAST.fetch_add(1, Ordering::Relaxed) + 1,
        }
    }

    /// No other has or had it, one of the same names neither. Never 0.
    pub fn number(&self) -> u64 {
        self.number
    }
}

impl PartialEq for Peer {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, &self.namespace) == (&other.name, &other.namespace)
    }
}

impl Eq for Peer {}

/// An object that tells addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Service,
    Slice,
}

type Key = (Kind, String);
type Address = (IpAddr, u16);

/// See the module.
#[derive(Debug, Default)]
pub struct Peers {
    inner: RwLock<Inner>,
    refused: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    objects: HashMap<Key, (Arc<Peer>, Vec<Address>)>,
    /// One entry for each object that tells of the address.
    by_address: HashMap<Address, Vec<Arc<Peer>>>,
    addresses: usize,
}

impl Peers {
    /// The service that an address belongs to, if it is one's only.
    pub fn name(&self, ip: IpAddr, port: u16) -> Option<Arc<Peer>> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let found = inner.by_address.get(&(ip.to_canonical(), port))?;
        let first = found.first()?;
        found
            .iter()
            .all(|peer| peer == first)
            .then(|| Arc::clone(first))
    }

    /// A service as it is now.
    pub fn apply_service(&self, service: &ServiceObject) {
        let (meta, spec) = (&service.metadata, &service.spec);
        let cluster = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
        let balancer = service.status.load_balancer.iter();
        let ingress = balancer.flat_map(|it| it.ingress.iter().flatten());
        let others = spec.external_ips.iter().flatten();
        let ips = addresses(
            cluster
                .chain(others)
                .chain(ingress.filter_map(|it| it.ip.as_ref())),
        );
        let ips: Vec<IpAddr> = ips.collect();
        let ports = spec.ports.iter().flatten().filter_map(Port::tcp);
        let pairs = ports.flat_map(|port| ips.iter().map(move |ip| (*ip, port)));
        let peer = Peer::new(&meta.name, &meta.namespace);
        self.apply(
            key(Kind::Service, &meta.namespace, &meta.name),
            peer,
            pairs.collect(),
        );
    }

    /// A slice as it is now.
    pub fn apply_slice(&self, slice: &EndpointSliceObject) {
        let meta = &slice.metadata;
        let key = key(Kind::Slice, &meta.namespace, &meta.name);
        let Some(service) = meta.labels.get(SERVICE_NAME).filter(|it| !it.is_empty()) else {
            self.remove(&key);
            return;
        };
        let endpoints = slice.endpoints.iter().flatten();
        let ips = addresses(endpoints.flat_map(|it| it.addresses.iter().flatten()));
        let ips: Vec<IpAddr> = ips.collect();
        let ports = slice.ports.iter().flatten().filter_map(Port::tcp);
        let pairs = ports.flat_map(|port| ips.iter().map(move |ip| (*ip, port)));
        self.apply(key, Peer::new(service, &meta.namespace), pairs.collect());
    }

    /// A service is gone.
    pub fn remove_service(&self, namespace: &str, name: &str) {
        self.remove(&key(Kind::Service, namespace, name));
    }

    /// A slice is gone.
    pub fn remove_slice(&self, namespace: &str, name: &str) {
        self.remove(&key(Kind::Slice, namespace, name));
    }

    /// The services that are not in a complete list, by namespace and name, are gone.
    pub fn retain_services(&self, listed: &dyn Fn(&str) -> bool) {
        self.retain(Kind::Service, listed);
    }

    /// The slices that are not in a complete list are gone.
    pub fn retain_slices(&self, listed: &dyn Fn(&str) -> bool) {
        self.retain(Kind::Slice, listed);
    }

    /// Addresses that are known, and how many found no room.
    pub fn stats(&self) -> (usize, u64) {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        (inner.addresses, self.refused.load(Ordering::Relaxed))
    }

    fn apply(&self, key: Key, peer: Peer, mut addresses: Vec<Address>) {
        for (ip, _) in &mut addresses {
            *ip = ip.to_canonical();
        }
        addresses.sort_unstable();
        addresses.dedup();
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let same = |(known, at): &(Arc<Peer>, Vec<Address>)| **known == peer && *at == addresses;
        if inner.objects.get(&key).is_some_and(same) {
            return;
        }
        inner.take(&key);
        let room = MOST_ADDRESSES.saturating_sub(inner.addresses);
        if addresses.len() > room {
            let over = addresses.len() - room;
            self.refused.fetch_add(over as u64, Ordering::Relaxed);
            addresses.truncate(room);
        }
        if addresses.is_empty() {
            return;
        }
        let peer = Arc::new(peer);
        for address in &addresses {
            inner
                .by_address
                .entry(*address)
                .or_default()
                .push(Arc::clone(&peer));
        }
        inner.addresses += addresses.len();
        inner.objects.insert(key, (peer, addresses));
    }

    fn remove(&self, key: &Key) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        inner.take(key);
    }

    fn retain(&self, kind: Kind, listed: &dyn Fn(&str) -> bool) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let gone = inner.objects.keys();
        let gone = gone.filter(|(of, name)| *of == kind && !listed(name));
        for key in gone.cloned().collect::<Vec<_>>() {
            inner.take(&key);
        }
    }
}

impl Inner {
    fn take(&mut self, key: &Key) {
        let Some((peer, addresses)) = self.objects.remove(key) else {
            return;
        };
        self.addresses -= addresses.len();
        for address in addresses {
            if let Some(peers) = self.by_address.get_mut(&address) {
                if let Some(at) = peers.iter().position(|it| Arc::ptr_eq(it, &peer)) {
                    peers.swap_remove(at);
                }
                if peers.is_empty() {
                    self.by_address.remove(&address);
                }
            }
        }
    }
}

fn key(kind: Kind, namespace: &str, name: &str) -> Key {
    (kind, format!("{namespace}/{name}"))
}

#[cfg(test)]
#[path = "peers_tests.rs"]
mod tests;
