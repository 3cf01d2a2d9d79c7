//! How a trace's context gets from one service to the next.
//!
//! In: requests that leave and arrive. Out: their ids and parents; what other hosts and readers are told.
//! Owns: the handoff on this host, the TCP option between hosts, the socket map for header injection.

pub(crate) mod context;
pub(crate) mod head;
pub(crate) mod inject;
pub(crate) mod tcp_option;
