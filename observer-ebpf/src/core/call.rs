//! One call: what the adapters hand to the core.

use observer_abi::{
    connection::{Connection, transport},
    context::HandoffKey,
};

/// One call that moved, or is about to move, bytes.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Call {
    /// The address of its sock.
    pub(crate) sock: u64,
    /// The generation of the connection, whose entry may be another's by the time that it is written to.
    pub(crate) generation: u64,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) now: u64,
    pub(crate) pid_tgid: u64,
    pub(crate) direction: u32,
    /// 1 where the send may not fit into the send buffer.
    pub(crate) pending: u32,
    /// 1 where [`crate::kernel::sock::is_plainly_blocking`] says so.
    pub(crate) blocking: u32,
    /// One of [`retry`].
    pub(crate) retry: u32,
    /// Where its connection's entry lies.
    pub(crate) place: u32,
    /// Explicit padding.
    pub(crate) reserved: u32,
    /// The other end of a Unix socket that is read, see [`crate::kernel::sock::unix_peer`]: its sock and inode. Kernel TLS: where
    /// the call is on the wire, see [`Call::wire_position`]. Else zero.
    pub(crate) peer: HandoffKey,
}

/// Whether bytes that cannot be read now are read at the send's end, see [`Call::retry`].
pub(crate) mod retry {
    /// They are not.
    pub(crate) const NO: u32 = 0;
    /// They may be.
    pub(crate) const POSSIBLE: u32 = 1;
    /// What the core says, in the scratch: they are to be. The adapter that said that they may be has to see to it.
    pub(crate) const WANTED: u32 = 2;
}

impl Call {
    /// Where in TCP's stream a call begins whose bytes a run opens with; `None` where that is not known.
    #[inline(always)]
    pub(crate) fn wire_position(&self, entry: &Connection) -> Option<u64> {
        if entry.tcp != transport::KERNEL_TLS {
            Some(self.start)
        } else if self.peer.pair != 0 {
            Some(self.peer.position)
        } else {
            None
        }
    }
}
