//! A connection's entry: what the kernel knows about one socket. It lies in a place of its own, and a table by the address of
//! its `struct sock` tells which.

use crate::{
    context::{Context, RequestReference},
    plain,
};

/// Data that the process reads from the socket.
pub const INBOUND: u8 = 0;
/// Data that the process writes to the socket.
pub const OUTBOUND: u8 = 1;

/// Which end of the connection this socket is.
pub mod role {
    /// Not known: the connection is older than observer and its first bytes did not tell.
    pub const UNKNOWN: u8 = 0;
    /// This end connected.
    pub const CLIENT: u8 = 1;
    /// This end accepted.
    pub const SERVER: u8 = 2;
}

/// How a connection's role is known: [`Connection::role_source`].
pub mod role_source {
    /// From its establishment, or it is not known yet.
    pub const GIVEN: u8 = 0;
    /// From the first bytes of one direction alone: later ones may take it back.
    pub const BYTES: u8 = 1;
    /// From the bytes of both directions, or from the daemon: only the daemon takes it back.
    pub const AGREED: u8 = 2;
    /// It was taken back, and is not to be told from bytes again.
    pub const REVOKED: u8 = 3;
}

/// Address families, as in the kernel's `include/linux/socket.h`.
pub mod family {
    /// Unix stream socket.
    pub const UNIX: u16 = 1;
    /// IPv4.
    pub const INET: u16 = 2;
    /// IPv6, including v4-mapped addresses.
    pub const INET6: u16 = 10;
}

/// What a connection is: [`Connection::tcp`].
pub mod transport {
    /// A Unix socket.
    pub const UNIX: u8 = 0;
    /// TCP: state changes end the entry.
    pub const TCP: u8 = 1;
    /// TCP whose bytes the kernel encrypts and decrypts, in both directions: positions count what the process writes and
    /// reads since that began, not TCP's sequence numbers.
    pub const KERNEL_TLS: u8 = 2;
}

/// Bits of [`Connection::flags`].
pub mod flag {
    /// The connection was seen from its establishment, so its positions count from its first byte.
    pub const FROM_START: u8 = 1;
    /// A [`ConnectionOpened`](crate::record::ConnectionOpened) record reached the ring.
    pub const ANNOUNCED: u8 = 1 << 1;
    /// A send did not fit into the send buffer: `directions[OUTBOUND].end` is what had been queued before it.
    pub const SEND_PENDING: u8 = 1 << 2;
    /// The process at one end is observer itself: nothing is captured.
    pub const OBSERVER: u8 = 1 << 3;
    /// At least one byte was captured.
    pub const ACTIVE: u8 = 1 << 4;
    /// The run of the response began with a call that was the head and nothing else: what follows is counted, not shipped,
    /// unless it looks like another response. Never on Unix sockets.
    pub const HEAD_ENDED: u8 = 1 << 5;
    /// The socket joined the socket map: the injecting program sees its sends first.
    pub const SOCKET_MAP: u8 = 1 << 6;
    /// The process in `tgid` may not be captured (under the policy of `policy_epoch`).
    pub const DENIED: u8 = 1 << 7;
}

/// Bits of [`Connection::tls`].
pub mod tls {
    /// In the request direction the handshake is over.
    pub const OPEN: u16 = 1;
    /// The last record of the handshake there was a ChangeCipherSpec.
    pub const AFTER_CHANGE: u16 = 1 << 1;
    /// What is read in this turn has bytes that nobody claims: none of it is anybody's.
    pub const SPOILED: u16 = 1 << 2;
    /// Requests and answers take turns, for certain.
    pub const TURNS: u16 = 1 << 3;
    /// Nobody is told any more whose its bytes are: requests share it, or the way through its records was lost.
    pub const NOBODYS: u16 = 1 << 4;
    /// A turn began whose first record is still to be told.
    pub const UNTOLD: u16 = 1 << 5;
    /// The header of the ClientHello's record was read alone.
    pub const HELLO: u16 = 1 << 6;
    /// The handshake there went on as application data: TLS 1.3, whose servers send session tickets behind it.
    pub const TICKETS: u16 = 1 << 7;
    /// The call that begins it is still to be taken.
    pub const BEGINS: u16 = 1 << 8;
    /// It is no TLS yet, and what the client asked last may be that it becomes so.
    pub const MAY_FOLLOW: u16 = 1 << 9;
}

/// Set in [`Direction::runs`] where TLS began in the connection's middle: runs count from 1 again then, and are more than before.
pub const UPGRADED: u32 = 1 << 31;

/// One direction of a connection. Positions are stream offsets in bytes, 64 bit; for TCP they are the protocol's
/// own sequence numbers less the initial one, for Unix sockets a count from the first byte seen.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Direction {
    /// Position after the last byte seen.
    pub end: u64,
    /// Position where the current run began.
    pub run_start: u64,
    /// When the current run's first byte was seen, CLOCK_MONOTONIC ns; of a TLS connection that carries several requests at once, when
    /// its [`shipped`](Self::shipped) bytes were counted anew.
    pub first_ns: u64,
    /// When the last byte was seen, CLOCK_MONOTONIC ns.
    pub last_ns: u64,
    /// `end` of the other direction when the current run began: the run is over once that has moved.
    pub other_at_start: u64,
    /// The last bytes of the stream, newest in the highest byte; 0 where they were not read. Lets the daemon see
    /// the end of a chunked body whose middle was only counted.
    pub tail: u64,
    /// Position after the last byte that a send announced but that was not yet queued; 0 when there is none.
    pub announced: u64,
    /// Bytes of the current run that went to the ring.
    pub shipped: u32,
    /// Runs begun, counted from 1; see [`UPGRADED`].
    pub runs: u32,
}
plain!(Direction, 64);

/// One connection. Written by the kernel; the daemon clears it once nothing leads to it any more. Whole cache lines, so that
/// no more of them are touched than need be.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Connection {
    /// Distinguishes this connection from earlier and later ones at the same sock address: CLOCK_MONOTONIC ns of
    /// the entry's creation. 0 where the place is free.
    pub generation: u64,
    /// The socket's inode number; 0 where it has none yet. Tells recycled Unix sockets apart.
    pub inode: u64,
    /// When the connection was established, CLOCK_MONOTONIC ns; 0 when not seen.
    pub established_ns: u64,
    /// When the server accepted it, CLOCK_MONOTONIC ns; 0 when not seen.
    pub accepted_ns: u64,
    /// Indexed by [`INBOUND`] and [`OUTBOUND`].
    pub directions: [Direction; 2],
    /// The request that is open on this connection.
    pub context: Context,
    /// Position 0 of the inbound stream, as a TCP sequence number (for Unix sockets 0).
    pub inbound_base: u32,
    /// Position 0 of the outbound stream, as a TCP sequence number (for Unix sockets 0).
    pub outbound_base: u32,
    /// The process that last used the socket.
    pub tgid: u32,
    /// [`ControlBlock::policy_epoch`](crate::control::ControlBlock::policy_epoch) when `tgid` was let through.
    pub policy_epoch: u32,
    /// Bits of [`flag`].
    pub flags: u8,
    /// One of [`role`].
    pub role: u8,
    /// One of [`shape`](crate::control::shape), from what was detected or from the daemon.
    pub shape: u8,
    /// One of [`transport`].
    pub tcp: u8,
    /// Network namespace inode number.
    pub netns: u32,
    /// Client: the request that the open one is sent for; before its first request, the one that it connected for.
    pub owner: RequestReference,
    /// Kind of `tgid`'s [`Runtime`](crate::process::Runtime), as of `policy_epoch`.
    pub runtime: u32,
    /// Sequence number of the first byte of the next request, for header injection.
    pub next_request: u32,
    /// Kernel TLS, by direction: TCP sequence number of the record with which the next call begins; 0 where that is not
    /// known.
    pub records: [u32; 2],
    /// [`strict`](crate::process::strict) of the process, as of `policy_epoch`.
    pub strict: u16,
    /// The protocol's number; 0 while it is not known.
    pub protocol: u8,
    /// One of [`role_source`].
    pub role_source: u8,
    /// How many connections the daemon had told of when
    /// [`ConnectionControl`](crate::control::ConnectionControl) was last asked for; 0 before.
    pub controls_set: u32,
    /// The thread whose send was announced last; 0 where that ended without all of its bytes. In tiers that see a send once,
    /// before its turn at the socket came.
    pub sender: u32,
    /// Where the entry itself lies.
    pub place: u32,
    /// The address of the `struct sock`; 0 where the place is free. An entry with another one than it was looked for by is
    /// another connection's.
    pub sock: u64,
    /// Bits of [`tls`].
    pub tls: u16,
    /// Explicit padding.
    pub reserved: [u8; 2],
    /// TLS: position behind the alert or key update, without its upper half, that a call of the request direction began with.
    pub aside: u32,
}
plain!(
    Connection,
    32 + 2 * 64 + 64 + 16 + 8 + 24 + 8 + 8 + 8 + 8 + 16
);
const _: () = assert!(core::mem::size_of::<Connection>().is_multiple_of(64));
