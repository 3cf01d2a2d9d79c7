//! Messages without a connection.
//!
//! In: datagrams as they are sent and read. Out: a record for each. Owns: the scratch for datagrams, and who uses it.

pub(crate) mod dns;
