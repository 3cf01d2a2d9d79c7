//! Connection entries: found, created, ended.

use aya_ebpf::{
    helpers::generated::bpf_ktime_get_ns,
    macros::map,
    maps::{LruHashMap, PerCpuArray},
};
use observer_abi::{
    connection::{Connection, INBOUND, OUTBOUND, family, flag, role, transport},
    loss::Counter,
    record::{self, ConnectionOpened, RecordHeader},
};

use crate::{
    core::{
        call::Call,
        output::{self, count},
        scratch::slot,
    },
    kernel::{
        globals::offset,
        read::KernelRead,
        sock::{self, Kind, TcpState},
    },
};

/// Kernel: connections by sock address.
#[map]
pub(crate) static CONNECTIONS: LruHashMap<u64, Connection> = LruHashMap::with_max_entries(16384, 0);

/// For `connection::create` in system call context, one a program as in [`slot`].
#[map]
pub(crate) static SCRATCH_CREATE: PerCpuArray<Connection> = PerCpuArray::with_max_entries(slot::COUNT, 0);

/// BPF_ANY of `bpf_map_update_elem`.
const ANY: u64 = 0;

/// The entry of a call's connection, while it is that connection's. The table may give it to another one at any time.
#[inline(always)]
pub(crate) fn of(call: &Call) -> Option<*mut Connection> {
    let entry = CONNECTIONS.get_ptr_mut(call.sock)?;
    // SAFETY: a live map value.
    if unsafe { (*entry).generation } == call.generation { Some(entry) } else { None }
}

/// The connection's entry, made if it is not there yet. `None` when it must not be (the socket is closed) or cannot
/// be (counted). `slot` is the program's scratch.
///
/// # Safety
/// `sock` is a `struct sock *` of kind `kind`, `file` its file or null.
#[inline(always)]
pub(crate) unsafe fn find_or_create<R: KernelRead>(
    sock: *const u8,
    kind: Kind,
    file: *const u8,
    slot: u32,
) -> Option<*mut Connection> {
    let key = sock as u64;
    let existing = CONNECTIONS.get_ptr_mut(key);
    if kind != Kind::Unix {
        if existing.is_some() {
            return existing;
        }
        // SAFETY: as promised.
        let state = unsafe { sock::tcp_state::<R>(sock) };
        if state == sock::state::CLOSE || state == sock::state::LISTEN {
            return None;
        }
        // SAFETY: as promised.
        return unsafe { create::<R>(sock, kind, 0, slot) };
    }
    // No hook tells when a Unix socket ends: a recycled address shows as another inode.
    // SAFETY: as promised.
    let inode = unsafe { sock::inode::<R>(file) };
    if let Some(entry) = existing {
        // SAFETY: a live map value.
        if unsafe { (*entry).inode } == inode {
            return existing;
        }
    }
    // SAFETY: as promised.
    unsafe { create::<R>(sock, kind, inode, slot) }
}

/// # Safety
/// As for [`find_or_create`].
#[inline(always)]
unsafe fn create<R: KernelRead>(sock: *const u8, kind: Kind, inode: u64, slot: u32) -> Option<*mut Connection> {
    let entry = SCRATCH_CREATE.get_ptr_mut(slot)?;
    // SAFETY: a live per-CPU map value, and as promised.
    unsafe {
        clear(entry);
        (*entry).generation = bpf_ktime_get_ns();
        (*entry).inode = inode;
        (*entry).netns = sock::netns::<R>(sock);
        if kind != Kind::Unix {
            (*entry).tcp = transport::TCP;
            let tcp = sock::tcp::<R>(sock)?;
            begin_positions(&mut *entry, &sock::counters::<R>(tcp));
        }
        insert(sock, entry)
    }
}

/// # Safety
/// `entry` is a valid map value.
#[inline(always)]
pub(crate) unsafe fn clear(entry: *mut Connection) {
    // SAFETY: as promised; a Connection is integers only.
    unsafe {
        let words = entry.cast::<u64>();
        let mut index = 0;
        while index < size_of::<Connection>() / 8 {
            words.add(index).write_volatile(0);
            index += 1;
        }
    }
}

/// # Safety
/// `entry` is a valid map value.
#[inline(always)]
pub(crate) unsafe fn insert(sock: *const u8, entry: *mut Connection) -> Option<*mut Connection> {
    let key = sock as u64;
    // SAFETY: as promised.
    if CONNECTIONS.insert(key, unsafe { &*entry }, ANY).is_err() {
        count(Counter::ConnectionTableFull, 1);
        return None;
    }
    CONNECTIONS.get_ptr_mut(key)
}

/// Positions count from the first byte of each direction, whatever was seen of it: both ends compute the same.
#[inline(always)]
pub(crate) fn begin_positions(entry: &mut Connection, tcp: &TcpState) {
    entry.outbound_base = tcp.snd_una.wrapping_sub(tcp.bytes_acked as u32);
    entry.inbound_base = tcp.rcv_nxt.wrapping_sub(tcp.bytes_received as u32);
    entry.directions[OUTBOUND as usize].end =
        tcp.bytes_acked.wrapping_add(u64::from(tcp.write_seq.wrapping_sub(tcp.snd_una)));
    entry.directions[INBOUND as usize].end =
        tcp.bytes_received.wrapping_sub(u64::from(tcp.rcv_nxt.wrapping_sub(tcp.copied_seq)));
}

/// The 64-bit position of a TCP sequence number near `near`, the last position known.
#[inline(always)]
pub(crate) fn extend(near: u64, base: u32, seq: u32) -> u64 {
    let delta = seq.wrapping_sub(base).wrapping_sub(near as u32) as i32;
    near.wrapping_add(i64::from(delta) as u64)
}

/// Tells the daemon the addresses, once; again if the ring had no room.
///
/// # Safety
/// `entry` is a live map value, `scratch` room for a [`ConnectionOpened`], `sock` the entry's socket.
#[inline(always)]
pub(crate) unsafe fn announce<R: KernelRead>(
    sock: *const u8,
    kind: Kind,
    file: *const u8,
    entry: *mut Connection,
    scratch: *mut u8,
    now: u64,
    tgid: u32,
) {
    let record = scratch.cast::<ConnectionOpened>();
    // SAFETY: as promised.
    unsafe {
        let zero = ConnectionOpened {
            header: RecordHeader {
                sock: sock as u64,
                generation: (*entry).generation,
                time_ns: now,
                captured: 0,
                kind: record::kind::CONNECTION_OPENED,
                direction: 0,
                flags: if (*entry).flags & flag::FROM_START != 0 { record::flag::FROM_START } else { 0 }
                    | if kind == Kind::KernelTls { record::flag::KERNEL_TLS } else { 0 },
                role: (*entry).role,
            },
            local_address: [0; 16],
            peer_address: [0; 16],
            family: sock::family::<R>(sock),
            local_port: 0,
            peer_port: 0,
            reserved: 0,
            netns: (*entry).netns,
            tgid,
            inode: if file.is_null() { 0 } else { sock::inode::<R>(file) },
            peer_tgid: 0,
            reserved_2: 0,
        };
        record.write(zero);
        if kind != Kind::Unix {
            (*record).local_port = R::read::<u16>(sock, offset!(sock_num));
            (*record).peer_port = u16::from_be(R::read::<u16>(sock, offset!(sock_dport)));
            let local = (&raw mut (*record).local_address).cast::<u32>();
            let peer = (&raw mut (*record).peer_address).cast::<u32>();
            if (*record).family == family::INET {
                local.write(R::read(sock, offset!(sock_rcv_saddr)));
                peer.write(R::read(sock, offset!(sock_daddr)));
            } else {
                let mut word = 0;
                while word < 4 {
                    local.add(word).write(R::read(sock, offset!(sock_v6_rcv_saddr) + 4 * word));
                    peer.add(word).write(R::read(sock, offset!(sock_v6_daddr) + 4 * word));
                    word += 1;
                }
            }
        }
        if output::send((*entry).generation, scratch, size_of::<ConnectionOpened>() as u64) {
            (*entry).flags |= flag::ANNOUNCED;
        }
    }
}

/// Whether the direction carries requests: a client's outbound or a server's inbound bytes.
#[inline(always)]
pub(crate) fn is_request(role: u8, direction: u8) -> bool {
    (role == role::CLIENT && direction == OUTBOUND) || (role == role::SERVER && direction == INBOUND)
}
