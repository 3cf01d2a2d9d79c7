//! What the first bytes of a run say.
//!
//! In: a run's first bytes, in a scratch. Out: protocol, sender, shape; the connection's role where that was not known.
//! Owns: the rows, which the daemon sets before load.

pub(crate) mod http1;
pub(crate) mod table;
