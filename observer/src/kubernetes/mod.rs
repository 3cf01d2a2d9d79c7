//! What the cluster says of this node's pods, and of the addresses that they call.
//!
//! In: pods, services and endpoint slices as the API server tells them. Out: for a process's container, its [`Member`]: the
//! pod, its workload and the names that follow from them; for an address, the service that it belongs to.
//! Owns: the store of both, bounded, and the order in which names are chosen.

pub mod account;
mod api;
mod image;
mod label_selector;
#[cfg(test)]
pub(crate) mod made;
mod member;
mod names;
mod namespaces;
mod owner;
mod peers;
mod pod;
mod selector;
mod store;
#[cfg(feature = "kubernetes")]
pub mod watch;

pub use self::{
    api::{EndpointSliceObject, Metadata, PodObject, ServiceObject},
    label_selector::{InvalidLabelSelector, LabelSelector},
    member::{Attribute, Member, PodRef},
    owner::{Owner, OwnerKind},
    peers::{Peer, Peers},
    pod::{Kept, Pod},
    selector::{PodSelector, Verdict},
    store::{Changes, Lookup, Reach, Store, StoreStats},
};

/// A pod's wish about tracing: `observer.dev/trace: "false"` leaves its processes alone.
pub const TRACE_ANNOTATION: &str = "observer.dev/trace";
