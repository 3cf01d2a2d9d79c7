//! Which request a thread works for.
//!
//! In: requests as they are read and answered; what runtimes turn to (`runtime`). Out: the request that a call is made
//! for, or none. Owns: what threads and units work for, and likely links.

pub(crate) mod find;
pub(crate) mod link;
pub(crate) mod reference;
pub(crate) mod runtime;
pub(crate) mod table;
pub(crate) mod unit;
