//! What the first bytes of a run say, and where frames begin.
//!
//! In: the bytes of a call, in a scratch. Out: protocol, sender, shape; the connection's role where that was not known;
//! frames. Owns: the rows, which the daemon sets before load, and how far each framed stream has been followed.

pub(crate) mod frames;
pub(crate) mod http1;
pub(crate) mod table;
