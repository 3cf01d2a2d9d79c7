//! Facts of a `struct sock`, by the offsets of the running kernel.

use aya_ebpf::helpers::generated::{bpf_skc_to_tcp_sock, bpf_skc_to_unix_sock};
use observer_abi::{connection::family, context::HandoffKey};

use crate::kernel::{
    globals::{offset, settings},
    read::KernelRead,
};

/// `include/net/tcp_states.h`
pub(crate) mod state {
    pub(crate) const ESTABLISHED: u8 = 1;
    pub(crate) const SYN_SENT: u8 = 2;
    pub(crate) const SYN_RECV: u8 = 3;
    pub(crate) const FIN_WAIT1: u8 = 4;
    pub(crate) const CLOSE: u8 = 7;
    pub(crate) const CLOSE_WAIT: u8 = 8;
    pub(crate) const LAST_ACK: u8 = 9;
    pub(crate) const LISTEN: u8 = 10;
}

const SOCK_STREAM: u16 = 1;
const IPPROTO_TCP: u16 = 6;
const IPPROTO_UDP: u16 = 17;
const O_NONBLOCK: u32 = 0o4000;

/// What kind of socket it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Tcp,
    /// TCP with kernel TLS in both directions: its plaintext.
    KernelTls,
    Unix,
    /// No stream, see `dns`. Where nobody asked for that, as any other.
    Udp,
    Other,
}

/// TCP's own counters: 32-bit sequence numbers and the 64-bit positions that they stand for.
#[derive(Clone, Copy)]
pub(crate) struct TcpState {
    /// Next byte that the process writes.
    pub(crate) write_seq: u32,
    /// Next byte that the process reads.
    pub(crate) copied_seq: u32,
    pub(crate) snd_una: u32,
    pub(crate) rcv_nxt: u32,
    pub(crate) bytes_acked: u64,
    pub(crate) bytes_received: u64,
}

/// # Safety
/// `sock` is a `struct sock *`; see [`KernelRead`].
#[inline(always)]
pub(crate) unsafe fn family<R: KernelRead>(sock: *const u8) -> u16 {
    // SAFETY: as promised.
    unsafe { R::read(sock, offset!(sock_family)) }
}

/// # Safety
/// As for [`family`].
#[inline(always)]
pub(crate) unsafe fn kind<R: KernelRead>(sock: *const u8) -> Kind {
    // SAFETY: as promised.
    unsafe {
        match family::<R>(sock) {
            family::INET | family::INET6 => {
                match R::read::<u16>(sock, offset!(sock_protocol)) {
                    IPPROTO_TCP => Kind::Tcp,
                    IPPROTO_UDP if settings().dns() != 0 => Kind::Udp,
                    _ => Kind::Other,
                }
            }
            family::UNIX => {
                if R::read::<u16>(sock, offset!(sock_type)) == SOCK_STREAM { Kind::Unix } else { Kind::Other }
            }
            _ => Kind::Other,
        }
    }
}

/// # Safety
/// As for [`family`].
#[inline(always)]
pub(crate) unsafe fn tcp_state<R: KernelRead>(sock: *const u8) -> u8 {
    // SAFETY: as promised.
    unsafe { R::read(sock, offset!(sock_state)) }
}

/// `None` when the sock is no TCP sock.
///
/// # Safety
/// As for [`family`].
#[inline(always)]
pub(crate) unsafe fn tcp<R: KernelRead>(sock: *const u8) -> Option<*const u8> {
    if !R::TYPED {
        return Some(sock);
    }
    // SAFETY: typed pointer, checked by the verifier.
    let tcp = unsafe { bpf_skc_to_tcp_sock(sock.cast_mut().cast()) }.cast::<u8>().cast_const();
    if tcp.is_null() { None } else { Some(tcp) }
}

/// # Safety
/// `tcp` comes from [`tcp`].
#[inline(always)]
pub(crate) unsafe fn write_seq<R: KernelRead>(tcp: *const u8) -> u32 {
    // SAFETY: as promised.
    unsafe { R::read(tcp, offset!(tcp_write_seq)) }
}

/// # Safety
/// `tcp` comes from [`tcp`].
#[inline(always)]
pub(crate) unsafe fn copied_seq<R: KernelRead>(tcp: *const u8) -> u32 {
    // SAFETY: as promised.
    unsafe { R::read(tcp, offset!(tcp_copied_seq)) }
}

/// # Safety
/// `tcp` comes from [`tcp`].
#[inline(always)]
pub(crate) unsafe fn counters<R: KernelRead>(tcp: *const u8) -> TcpState {
    // SAFETY: as promised.
    unsafe {
        TcpState {
            write_seq: write_seq::<R>(tcp),
            copied_seq: copied_seq::<R>(tcp),
            snd_una: R::read(tcp, offset!(tcp_snd_una)),
            rcv_nxt: R::read(tcp, offset!(tcp_rcv_nxt)),
            bytes_acked: R::read(tcp, offset!(tcp_bytes_acked)),
            bytes_received: R::read(tcp, offset!(tcp_bytes_received)),
        }
    }
}

/// Free bytes of the send buffer; a send that is larger may have to wait.
///
/// # Safety
/// As for [`family`].
#[inline(always)]
pub(crate) unsafe fn send_room<R: KernelRead>(sock: *const u8) -> i32 {
    // SAFETY: as promised.
    unsafe {
        R::read::<i32>(sock, offset!(sock_sndbuf)).wrapping_sub(R::read::<i32>(sock, offset!(sock_wmem_queued)))
    }
}

/// The file through which processes hold the socket: null for sockets of the kernel's own and those not yet accepted.
///
/// # Safety
/// As for [`family`].
#[inline(always)]
pub(crate) unsafe fn file<R: KernelRead>(sock: *const u8) -> *const u8 {
    // SAFETY: as promised; each null is checked before it is followed.
    unsafe {
        let socket: *const u8 = R::read(sock, offset!(sock_socket));
        if socket.is_null() {
            return core::ptr::null();
        }
        R::read(socket, offset!(socket_file))
    }
}

/// # Safety
/// `file` comes from [`file`] and is not null.
#[inline(always)]
pub(crate) unsafe fn inode<R: KernelRead>(file: *const u8) -> u64 {
    // SAFETY: as promised.
    unsafe {
        let inode: *const u8 = R::read(file, offset!(file_inode));
        if inode.is_null() { 0 } else { R::read(inode, offset!(inode_ino)) }
    }
}

/// How a process reads a socket.
pub(crate) mod blocking {
    /// A read that finds nothing returns: the thread may turn to something else.
    pub(crate) const NO: u32 = 0;
    /// Blocking, and watched by no epoll: a thread that reads so is busy with one request until it answers.
    pub(crate) const PLAINLY: u32 = 1;
    /// Blocking, but watched by an epoll. In a JVM, whose selectors accept no such socket (`java.nio.channels`), it was
    /// given away and waits to be taken out when its selector comes round; elsewhere a loop may read it.
    pub(crate) const WATCHED: u32 = 2;
}

/// One of [`blocking`].
///
/// # Safety
/// `file` comes from [`file`] and is not null.
#[inline(always)]
pub(crate) unsafe fn blocking<R: KernelRead>(file: *const u8) -> u32 {
    // SAFETY: as promised.
    unsafe {
        // `f_ep` is null where nobody watches, the list `f_ep_links` (before 5.12) points to itself.
        let watched = crate::core::buffer::barrier(R::read::<u64>(file, offset!(file_ep)));
        let watched = watched != 0 && watched != crate::core::buffer::barrier(file.add(offset!(file_ep)) as u64);
        // Hidden from the compiler, which would fold the two tests into arithmetic on a pointer.
        let flags = crate::core::buffer::barrier(u64::from(R::read::<u32>(file, offset!(file_flags))));
        if flags as u32 & O_NONBLOCK != 0 {
            return blocking::NO;
        }
        if watched { blocking::WATCHED } else { blocking::PLAINLY }
    }
}

/// Network namespace inode number.
///
/// # Safety
/// As for [`family`].
#[inline(always)]
pub(crate) unsafe fn netns<R: KernelRead>(sock: *const u8) -> u32 {
    // SAFETY: as promised.
    unsafe {
        let net: *const u8 = R::read(sock, offset!(sock_net));
        if net.is_null() { 0 } else { R::read(net, offset!(net_inum)) }
    }
}

pub(crate) const NO_PEER: HandoffKey = HandoffKey { pair: 0, position: 0 };

/// The other end of a Unix socket: its sock address and its inode number; zeros where that is not known.
///
/// # Safety
/// As for [`family`].
#[inline(always)]
pub(crate) unsafe fn unix_peer<R: KernelRead>(sock: *const u8, kind: Kind) -> HandoffKey {
    if kind != Kind::Unix || (R::TYPED && settings().unix_sock_helper() == 0) {
        return NO_PEER;
    }
    // SAFETY: as promised; each null is checked before it is followed.
    unsafe {
        let own: *const u8 = if R::TYPED { bpf_skc_to_unix_sock(sock.cast_mut().cast()).cast() } else { sock };
        if own.is_null() {
            return NO_PEER;
        }
        let peer: *const u8 = R::read(own, offset!(unix_peer));
        if peer.is_null() {
            return NO_PEER;
        }
        let file = file::<R>(peer);
        if file.is_null() {
            return NO_PEER;
        }
        HandoffKey { pair: peer as u64, position: inode::<R>(file) }
    }
}
