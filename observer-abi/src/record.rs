//! Records in the rings: what the kernel tells about connections and their bytes.
//!
//! Every record begins with a [`RecordHeader`]. All records of a connection are in one ring, in order.

use crate::{connection::Connection, context::Context, plain};

/// Kinds of records.
pub mod kind {
    /// A run began: [`RunOpened`](super::RunOpened) and payload.
    pub const RUN_OPENED: u8 = 1;
    /// More of a run: [`RunData`](super::RunData) and payload.
    pub const RUN_DATA: u8 = 2;
    /// A connection was seen for the first time: [`ConnectionOpened`](super::ConnectionOpened).
    pub const CONNECTION_OPENED: u8 = 3;
    /// A connection ended: [`ConnectionClosed`](super::ConnectionClosed).
    pub const CONNECTION_CLOSED: u8 = 4;
    /// A call without a parent may have been made for a request: [`LinkFound`](super::LinkFound).
    pub const LINK_FOUND: u8 = 5;
    /// A datagram to or from a name server: [`Datagram`](super::Datagram) and payload.
    pub const DATAGRAM: u8 = 6;
    /// A socket through which datagrams went to a name server was closed: [`Datagram`](super::Datagram) without payload.
    pub const DATAGRAMS_CLOSED: u8 = 7;
}

/// Bits of [`RecordHeader::flags`].
pub mod flag {
    /// The copy of the payload faulted or the buffer is not known: bytes moved, none were read.
    pub const NO_PAYLOAD: u8 = 1;
    /// The send may not have fitted: its end is announced, not certain.
    pub const SEND_PENDING: u8 = 1 << 1;
    /// The connection was seen from its establishment.
    pub const FROM_START: u8 = 1 << 2;
    /// The connection was reset.
    pub const RESET: u8 = 1 << 3;
    /// What is told is the plaintext of a connection that the kernel encrypts. Its ciphertext, the handshake, was another generation.
    pub const KERNEL_TLS: u8 = 1 << 4;
    /// The rest of the run is counted, not shipped: [`connection::flag::HEAD_ENDED`](crate::connection::flag::HEAD_ENDED).
    pub const HEAD_ENDED: u8 = 1 << 5;
    /// Bytes between what the direction's last record told and this one's first were counted, as the connection's shape wants it:
    /// none of them was lost.
    pub const COUNTED: u8 = 1 << 6;
    /// The connection is TLS that is read at the wire: positions and bytes are those of the ciphertext, which is shipped as frames
    /// are. Never with [`KERNEL_TLS`].
    pub const TLS: u8 = 1 << 7;
}

/// The head of each record.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct RecordHeader {
    /// Sock address.
    pub sock: u64,
    /// Generation of the connection.
    pub generation: u64,
    /// When, CLOCK_MONOTONIC ns.
    pub time_ns: u64,
    /// Payload bytes that follow the fixed part.
    pub captured: u32,
    /// One of [`kind`].
    pub kind: u8,
    /// [`INBOUND`](crate::connection::INBOUND) or [`OUTBOUND`](crate::connection::OUTBOUND).
    pub direction: u8,
    /// Bits of [`flag`].
    pub flags: u8,
    /// One of [`role`](crate::connection::role).
    pub role: u8,
}
plain!(RecordHeader, 32);

/// More bytes of a run. The payload is the first `captured` bytes of `[start, end)`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct RunData {
    /// The head.
    pub header: RecordHeader,
    /// Position of the first byte of this call.
    pub start: u64,
    /// Position after its last byte.
    pub end: u64,
    /// The calling thread.
    pub tid: u32,
    /// Its process.
    pub tgid: u32,
}
plain!(RunData, 32 + 24);

/// A run began. Carries what happened in both directions since the last record, and the ids of the request.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct RunOpened {
    /// The call, as in a [`RunData`].
    pub data: RunData,
    /// Position after the last byte of the previous run in this direction.
    pub previous_end: u64,
    /// When that byte was seen, CLOCK_MONOTONIC ns; 0 when there was none.
    pub previous_last_ns: u64,
    /// Position after the last byte of the other direction.
    pub other_end: u64,
    /// When that byte was seen, CLOCK_MONOTONIC ns; 0 when there was none.
    pub other_last_ns: u64,
    /// [`Direction::tail`](crate::connection::Direction::tail) of the other direction.
    pub other_tail: u64,
    /// Start time of the process's leader, ns since boot.
    pub start_ns: u64,
    /// When the connection was established, CLOCK_MONOTONIC ns; 0 when not seen or not the connection's first run.
    pub established_ns: u64,
    /// When the server accepted it; 0 when not seen or not the first run.
    pub accepted_ns: u64,
    /// Network namespace inode number.
    pub netns: u32,
    /// Run number in this direction, from 1.
    pub run: u32,
    /// The request's ids.
    pub context: Context,
    /// The protocol's number, as far as first bytes told it; 0 where they did not.
    pub protocol: u8,
    /// Explicit padding.
    pub reserved: [u8; 7],
}
plain!(RunOpened, 56 + 64 + 8 + 64 + 8);

/// A connection was seen for the first time, or its announcement had not fitted into the ring before.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ConnectionOpened {
    /// The head.
    pub header: RecordHeader,
    /// Local address, IPv4 in the first four bytes.
    pub local_address: [u8; 16],
    /// Peer address, IPv4 in the first four bytes.
    pub peer_address: [u8; 16],
    /// One of [`family`](crate::connection::family).
    pub family: u16,
    /// Local port, host order.
    pub local_port: u16,
    /// Peer port, host order.
    pub peer_port: u16,
    /// Explicit padding.
    pub reserved: u16,
    /// Network namespace inode number.
    pub netns: u32,
    /// The process.
    pub tgid: u32,
    /// The socket's inode number, 0 when not known.
    pub inode: u64,
    /// For Unix sockets the process at the other end, 0 when not known.
    pub peer_tgid: u32,
    /// Where its entry lies: [`Connection::place`].
    pub place: u32,
    /// [`Connection::outbound_base`]; 0 of a Unix socket, as is the other.
    pub outbound_base: u32,
    /// [`Connection::inbound_base`].
    pub inbound_base: u32,
}
plain!(ConnectionOpened, 32 + 32 + 8 + 8 + 8 + 8 + 8);

/// A connection ended; its entry as it was last.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ConnectionClosed {
    /// The head.
    pub header: RecordHeader,
    /// The last state of the entry.
    pub connection: Connection,
}
plain!(ConnectionClosed, 32 + core::mem::size_of::<Connection>());

/// Which request a call without a parent may have been made for: the one that its thread had resumed last, which was still
/// unanswered when the first byte of the call's answer was read. Comes right before the run of that answer.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct LinkFound {
    /// The head, of the answer.
    pub header: RecordHeader,
    /// W3C span id of the call.
    pub call_span_id: [u8; 8],
    /// W3C span id of the request.
    pub span_id: [u8; 8],
    /// W3C trace id of the request.
    pub trace_id: [u8; 16],
}
plain!(LinkFound, 32 + 32);

/// A datagram to a name server, or one from it. The payload is its first bytes.
///
/// There are no connections and no entries: the socket is its sock and, as the header's generation, its inode number.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Datagram {
    /// The head; its role is that of a client.
    pub header: RecordHeader,
    /// Local address, IPv4 in the first four bytes.
    pub local_address: [u8; 16],
    /// The name server's, all zero where it is not known: of an answer on a socket that is not connected.
    pub peer_address: [u8; 16],
    /// One of [`family`](crate::connection::family).
    pub family: u16,
    /// Local port, host order.
    pub local_port: u16,
    /// The name server's port, host order; 0 where it is not known.
    pub peer_port: u16,
    /// Of a query, how its parent was found, one of [`method`](crate::context::method).
    pub parent_method: u16,
    /// Network namespace inode number.
    pub netns: u32,
    /// Bytes of the datagram.
    pub length: u32,
    /// The calling thread.
    pub tid: u32,
    /// Its process.
    pub tgid: u32,
    /// Start time of the process's leader, ns since boot.
    pub start_ns: u64,
    /// Datagrams that were received through the socket since its first query, this one included.
    pub received: u32,
    /// Explicit padding.
    pub reserved: u32,
    /// Of a query, W3C trace id of the request that it is made for; all zero where there is none.
    pub trace_id: [u8; 16],
    /// Of a query, W3C span id of that request.
    pub parent_span_id: [u8; 8],
}
plain!(Datagram, 32 + 32 + 8 + 8 + 8 + 8 + 8 + 24);

/// The most of a datagram that a record carries, in bytes: what names hold (255), and more than a header and one question
/// without an extension ask for.
pub const MAX_DATAGRAM: usize = 512;

/// The port of name servers.
pub const NAME_SERVER_PORT: u16 = 53;

/// The most payload that one record carries, in bytes.
pub const MAX_PAYLOAD: usize = 8192;

/// The last bytes of a call that shape [`HEAD_TAIL`](crate::control::shape::HEAD_TAIL) ships behind the run's first.
pub const TAIL: u64 = 32;
