//! Who is who: keys of processes and connections, roles, addresses.
//!
//! In: numbers as the kernel tells them.
//! Out: keys that every stage uses.
//! Owns: nothing; it uses no other stage.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use observer_abi::connection::family;

/// A process that cannot be confused with a later one of the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessKey {
    /// Process id in the initial pid namespace (the kernel's tgid).
    pub tgid: u32,
    /// Start of its leader, ns since boot (`task_struct.start_boottime`; `/proc/PID/stat` field 22 is this in clock
    /// ticks, rounded down).
    pub start_ns: u64,
}

/// A connection that cannot be confused with a later one at the same address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionKey {
    /// Kernel address of the `struct sock`.
    pub sock: u64,
    /// Generation that the kernel program gave it.
    pub generation: u64,
}

/// The end of a connection at which an exchange was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The process sent the request.
    Client,
    /// The process answered it.
    Server,
}

/// One end's address.
#[derive(Debug, PartialEq, Eq, Default)]
pub enum Address {
    /// TCP. A v4-mapped IPv6 address is given as IPv4.
    Inet(SocketAddr),
    /// A Unix socket; the path is empty where it has none or it is not known.
    Unix(Arc<str>),
    /// The connection's announcement was lost.
    #[default]
    Unknown,
}

impl Clone for Address {
    fn clone(&self) -> Self {
        match self {
            Self::Inet(address) => Self::Inet(*address),
            Self::Unix(path) => Self::Unix(Arc::clone(path)),
            Self::Unknown => Self::Unknown,
        }
    }

    /// For every exchange: most are as the one before.
    fn clone_from(&mut self, source: &Self) {
        match (&mut *self, source) {
            (Self::Inet(own), Self::Inet(address)) => *own = *address,
            (Self::Unix(own), Self::Unix(path)) if Arc::ptr_eq(own, path) => {}
            (Self::Unknown, Self::Unknown) => {}
            _ => *self = source.clone(),
        }
    }
}

impl Address {
    /// As the kernel tells it: one of [`family`], and IPv4 in the first four bytes.
    pub(crate) fn of_kernel(kind: u16, bytes: [u8; 16], port: u16) -> Self {
        let ip = match kind {
            family::UNIX => return Self::Unix("".into()),
            family::INET => IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3])),
            family::INET6 => Ipv6Addr::from(bytes).to_canonical(),
            _ => return Self::Unknown,
        };
        Self::Inet(SocketAddr::new(ip, port))
    }
}
