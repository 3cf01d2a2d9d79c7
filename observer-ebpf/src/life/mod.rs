//! Beginnings and ends.
//!
//! In: state changes of TCP sockets; fork, exec and exit. Out: records of connections and processes. Owns: nothing: it makes
//! and ends the entries of `core` and `work`.

pub(crate) mod process;
pub(crate) mod tcp_state;
