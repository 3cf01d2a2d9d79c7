//! Getting spans and metrics out of the machine.
//!
//! In: [`Span`](crate::trace::Span)s that the sampler kept, [`Snapshot`](crate::metrics::Snapshot)s, the daemon's own
//! [`Family`]s.
//! Out: OTLP requests, the Prometheus page.
//! Owns: the queue of unsent spans and its bound, retries, the counters of what was sent and what was lost.

mod family;
pub mod otlp;
pub mod prometheus;

pub use family::{Family, Kind, Labels};
