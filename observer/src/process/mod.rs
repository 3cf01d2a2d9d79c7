//! Which processes there are, and what they are.
//!
//! In: process events and ids from [`kernel`](crate::kernel), `/proc`.
//! Out: a [`Service`] for each process that talks: the resource of its metrics and spans.
//! Owns: the table of processes, identity rules, selectors and the policy that follows from them.

mod container;
mod environment;
#[cfg(test)]
mod fixture;
mod host;
mod instrumentation;
mod language;
mod listeners;
mod naming;
mod policy;
mod proc_fs;
mod selectors;
mod service;
mod table;
mod value;

use std::sync::Arc;

pub use environment::parse_attributes;
#[cfg(test)]
pub(crate) use fixture::Fixture;
pub use host::Host;
pub use instrumentation::{Evidence, Instrumentation};
pub use policy::PolicyPlan;
pub use proc_fs::{ProcFs, is_own_pid_namespace_private, own_key};
pub use selectors::{Candidate, InPod, InvalidGlob, Selectors};
pub use service::Identifier;
pub use table::{Found, Table, TableStats};
pub use value::{Text, Value};

/// The OpenTelemetry resource of one instance: what one exec began. Shared by everything that came from that process
/// and from those it forked with no exec since; two instances have two services, even with one name, told apart by
/// `service.instance.id`.
#[derive(Debug, PartialEq)]
pub struct Service {
    /// `service.name`.
    pub name: Arc<str>,
    /// `service.instance.id`, distinct for each process that called exec; those it forked share it.
    pub instance_id: Arc<str>,
    /// Every resource attribute, `service.name` and `service.instance.id` included, sorted by key, keys unique.
    pub attributes: Vec<(&'static str, Value)>,
    /// Attributes that came from OTEL_RESOURCE_ATTRIBUTES or the configuration and whose keys are not ours.
    pub extra_attributes: Vec<(Arc<str>, Value)>,
    /// Whether it makes its own spans.
    pub instrumentation: Instrumentation,
}
