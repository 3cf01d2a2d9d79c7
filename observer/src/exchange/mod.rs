//! Exchanges: which answer belongs to which request.
//!
//! In: positions, bytes and gaps of one connection, with times, from [`stream`](crate::stream).
//! Out: one [`Exchange`] for each request, complete or marked with what is missing.
//! Owns: what is open; a protocol only says what its bytes mean. The central type is [`protocol`](crate::protocol)'s, below
//! all that use it.

mod books;
mod context;
mod counters;
mod ids;
mod joins;
mod ledger;
mod lookups;
mod open;
mod sink;
mod slab;
mod tls_counters;

pub(crate) use books::{Books, Output};
pub use counters::StreamCounters;
pub(crate) use ids::Ids;
pub(crate) use joins::JoinKey;
pub use joins::Joins;
pub(crate) use ledger::{Findings, Ledger, Unseen};
pub(crate) use lookups::Lookups;
pub(crate) use open::{Bases, Call, Ends};
pub use sink::{HeaderContext, Sink, Started};
pub(crate) use slab::{Slab, Slot};
pub use tls_counters::TlsCounters;

pub use crate::protocol::exchange::{
    Common, Exchange, Incomplete, InferredLink, LinkMethod, ParentMethod, Times, TraceContext,
};
