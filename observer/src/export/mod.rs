//! Getting spans and metrics out of the machine.
//!
//! In: [`Span`](crate::trace::Span)s that the sampler kept, [`Snapshot`](crate::metrics::Snapshot)s.
//! Out: OTLP requests.
//! Owns: the queue of unsent spans and its bound, retries, the counters of what was sent and what was lost.

pub mod otlp;
pub mod prometheus;
