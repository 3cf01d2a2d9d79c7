//! Connection entries: found, created, ended.
//!
//! An entry lies in a place of an array that the daemon has mapped, and a hash leads from a sock to its place: one look-up in
//! it a call, which then carries the place along. Free places lie on a stack, lowest first, so that few of the array's pages
//! are in use; one that was given back rests before it goes there, since a program on another CPU may still be at work on its
//! entry. A place is never taken from a connection that is open: where none is free, new connections are not followed, and
//! counted.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::generated::{bpf_ktime_get_ns, bpf_map_lookup_elem},
    macros::map,
    maps::{Array, HashMap, Queue, Stack},
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
    },
    kernel::{
        globals::offset,
        read::KernelRead,
        sock::{self, Kind, TcpState},
    },
};

/// BPF_F_MMAPABLE of `BPF_MAP_CREATE` (5.5).
const MAPPABLE: u32 = 1 << 10;

/// Kernel: connections, by place. The daemon reads them where they lie.
#[map]
static CONNECTIONS: Array<Connection> = Array::with_max_entries(16384, MAPPABLE);

/// Kernel: places by sock address.
#[map]
static PLACES: HashMap<u64, u32> = HashMap::with_max_entries(16384, 0);

/// Places that are free. The daemon puts all there before the programs begin, and those of Unix sockets that are gone.
#[map]
static FREE_PLACES: Stack<u32> = Stack::with_max_entries(16384, 0);

/// Kernel: places that were given back last.
#[map]
static RESTING_PLACES: Queue<u32> = Queue::with_max_entries(64, 0);

/// BPF_ANY of `bpf_map_update_elem`.
const ANY: u64 = 0;
/// BPF_NOEXIST of `bpf_map_update_elem`.
const NOEXIST: u64 = 1;

/// The entry of a call's connection, while it is that connection's. The place may be given to another one at any time.
#[inline(always)]
pub(crate) fn of(call: &Call) -> Option<*mut Connection> {
    let entry = CONNECTIONS.get_ptr_mut(call.place)?;
    // SAFETY: a live map value.
    if unsafe { (*entry).generation } == call.generation { Some(entry) } else { None }
}

/// The entry of the connection of this sock.
#[inline(always)]
pub(crate) fn find(sock: u64) -> Option<*mut Connection> {
    // Both keys in one word of the stack, which is short.
    let mut key = sock;
    // SAFETY: maps, and keys that are as long as theirs (of a little-endian machine); live map values.
    unsafe {
        let place: *const u32 = bpf_map_lookup_elem(map(&PLACES), (&raw const key).cast()).cast();
        if place.is_null() {
            return None;
        }
        (&raw mut key).write_volatile(u64::from(*place));
        let entry: *mut Connection = bpf_map_lookup_elem(map(&CONNECTIONS), (&raw const key).cast()).cast();
        // Else the place was given to another sock meanwhile.
        if !entry.is_null() && (*entry).sock == sock { Some(entry) } else { None }
    }
}

/// A map as helpers want it.
#[inline(always)]
fn map<T>(map: &T) -> *mut c_void {
    core::ptr::from_ref(map).cast_mut().cast()
}

/// The connection's entry, made if it is not there yet. `None` when it must not be (the socket is closed) or cannot
/// be (counted).
///
/// # Safety
/// `sock` is a `struct sock *` of kind `kind`, `file` its file or null.
#[inline(always)]
pub(crate) unsafe fn find_or_create<R: KernelRead>(
    sock: *const u8,
    kind: Kind,
    file: *const u8,
) -> Option<*mut Connection> {
    // SAFETY: passed on.
    unsafe { found_or_created::<R>(find(sock as u64), sock, kind, file) }
}

/// The same where it was looked for already, and `found` is what [`find`] said.
///
/// # Safety
/// As for [`find_or_create`].
#[inline(always)]
pub(crate) unsafe fn found_or_created<R: KernelRead>(
    found: Option<*mut Connection>,
    sock: *const u8,
    kind: Kind,
    file: *const u8,
) -> Option<*mut Connection> {
    let unix = kind == Kind::Unix;
    // SAFETY: as promised; a live map value.
    unsafe {
        // No hook tells when a Unix socket ends: a recycled address shows as another inode.
        let inode = if unix { sock::inode::<R>(file) } else { 0 };
        let mut place = ANY_PLACE;
        if let Some(entry) = found {
            if (*entry).inode == inode && unix == ((*entry).tcp == transport::UNIX) {
                return Some(entry);
            }
            place = (*entry).place;
        }
        let mut tcp = core::ptr::null();
        if !unix {
            let state = sock::tcp_state::<R>(sock);
            if state == sock::state::CLOSE || state == sock::state::LISTEN {
                return None;
            }
            tcp = sock::tcp::<R>(sock)?;
        }
        let entry = take(place)?;
        (*entry).inode = inode;
        (*entry).netns = sock::netns::<R>(sock);
        if !unix {
            (*entry).tcp = transport::TCP;
            begin_positions(&mut *entry, &sock::counters::<R>(tcp));
        }
        publish(sock, entry, bpf_ktime_get_ns())
    }
}

/// For [`take`]: one that is free.
const ANY_PLACE: u32 = u32::MAX;

/// The place of the sock's connection, which ends so; else one that is free.
#[inline(always)]
pub(crate) fn place_of(sock: u64) -> u32 {
    match find(sock) {
        // SAFETY: a live map value.
        Some(entry) => unsafe { (*entry).place },
        None => ANY_PLACE,
    }
}

/// A cleared entry in this place, to be filled in and [published](publish). `None` where no place is free (counted).
#[inline(always)]
pub(crate) fn take(place: u32) -> Option<*mut Connection> {
    let mut place = place;
    if place == ANY_PLACE {
        place = match FREE_PLACES.pop() {
            Ok(Some(free)) => free,
            _ => match RESTING_PLACES.pop() {
                Ok(Some(free)) => free,
                _ => {
                    count(Counter::ConnectionTableFull, 1);
                    return None;
                }
            },
        };
    }
    let entry = CONNECTIONS.get_ptr_mut(place)?;
    // SAFETY: a live map value; a Connection is integers only.
    unsafe {
        let words = entry.cast::<u64>();
        let mut index = 0;
        // The generation first: what another CPU or the daemon sees of it from here on is nobody's.
        while index < size_of::<Connection>() / 8 {
            words.add(index).write_volatile(0);
            index += 1;
        }
        (*entry).place = place;
    }
    Some(entry)
}

/// The entry is the sock's from now on. `None` where there is no room for that (counted).
///
/// # Safety
/// `entry` comes from [`take`].
#[inline(always)]
pub(crate) unsafe fn publish(sock: *const u8, entry: *mut Connection, now: u64) -> Option<*mut Connection> {
    let key = sock as u64;
    // SAFETY: as promised.
    unsafe {
        let place = (*entry).place;
        (&raw mut (*entry).generation).write_volatile(now);
        (&raw mut (*entry).sock).write_volatile(key);
        if PLACES.insert(key, &place, NOEXIST).is_ok() {
            return Some(entry);
        }
        // It was there already, or another CPU was faster, or the key leads to what is another sock's now.
        match find(key) {
            Some(other) if (*other).place == place => return Some(entry),
            Some(other) => {
                free(entry);
                return Some(other);
            }
            None => {}
        }
        if PLACES.insert(key, &place, ANY).is_ok() {
            return Some(entry);
        }
        free(entry);
    }
    count(Counter::ConnectionTableFull, 1);
    None
}

/// The connection of the sock ended: its place is free.
///
/// # Safety
/// `entry` is the live map value of the sock at `key`.
#[inline(always)]
pub(crate) unsafe fn end(key: u64, entry: *mut Connection) {
    // Once, whoever else ends it.
    if PLACES.remove(key).is_ok() {
        // SAFETY: as promised.
        unsafe { free(entry) };
    }
}

/// Nothing leads to the entry any more.
#[inline(always)]
unsafe fn free(entry: *mut Connection) {
    // SAFETY: as the callers promise.
    unsafe {
        let place = (*entry).place;
        (&raw mut (*entry).generation).write_volatile(0);
        (&raw mut (*entry).sock).write_volatile(0);
        place_freed(place);
    }
}

/// Nobody takes this place before some others. A function of its own, which the verifier looks at once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn place_freed(place: u32) -> u32 {
    if RESTING_PLACES.push(place, ANY).is_err() {
        if let Ok(Some(rested)) = RESTING_PLACES.pop() {
            let _ = FREE_PLACES.push(rested, ANY);
        }
        if RESTING_PLACES.push(place, ANY).is_err() {
            let _ = FREE_PLACES.push(place, ANY);
        }
    }
    0
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
            place: (*entry).place,
            outbound_base: (*entry).outbound_base,
            inbound_base: (*entry).inbound_base,
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
