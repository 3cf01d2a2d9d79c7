//! Spans from exchanges, and which of them are kept.
//!
//! In: an [`Exchange`](crate::exchange::Exchange) and its [`Service`].
//! Out: a [`Span`] that follows its protocol's conventions, for those that the sampler keeps.
//! Owns: spans, the clock that they are told by, sampling.

mod clock;
mod sampler;
#[cfg(test)]
pub(crate) mod samples;
mod slow;
mod synthesize;

use std::sync::Arc;

pub use self::{
    clock::Clock,
    sampler::{Sampler, SamplerConfig, SamplerCounts},
    synthesize::{link_attributes, synthesize},
};
pub use crate::protocol::SpanKind;
use crate::{
    exchange::InferredLink,
    process::{Service, Text, Value},
    protocol::ProtocolId,
};

/// A span, ready to be exported.
#[derive(Clone, Debug)]
pub struct Span {
    /// The process that it belongs to.
    pub service: Arc<Service>,
    /// What it was told in.
    pub protocol: ProtocolId,
    /// W3C trace id.
    pub trace_id: [u8; 16],
    /// W3C span id.
    pub span_id: [u8; 8],
    /// Parent's span id.
    pub parent_span_id: Option<[u8; 8]>,
    /// The request that a span without a parent may have been caused by.
    pub link: Option<InferredLink>,
    /// `tracestate`.
    pub trace_state: Option<Box<str>>,
    /// Name, low cardinality.
    pub name: Text,
    /// Kind.
    pub kind: SpanKind,
    /// Start, ns since the Unix epoch.
    pub start_unix_nano: u64,
    /// End, ns since the Unix epoch, not before the start.
    pub end_unix_nano: u64,
    /// Attributes.
    pub attributes: Vec<(&'static str, Value)>,
    /// Status `Error`, with the description (may be empty); `None` is `Unset`.
    pub error: Option<Box<str>>,
    /// W3C trace flags: bit 0 sampled, as it came in or set by the sampler.
    pub flags: u8,
}
