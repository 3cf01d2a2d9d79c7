//! Ids of requests and the same-host handoff. Which request a call belongs to is told by `work`.

use aya_ebpf::{helpers::generated::bpf_get_prandom_u32, macros::map, maps::LruHashMap};
use observer_abi::{
    connection::{Connection, INBOUND, OUTBOUND, role, transport},
    context::{Context, Handoff, HandoffKey, method},
    loss::Counter,
};

use crate::{
    core::output::{self, count},
    kernel::{sock::NO_PEER, task::Caller},
    work::{find, reference, unit},
};

/// Kernel: contexts on their way from client to server on this host.
#[map]
pub(crate) static HANDOFF: LruHashMap<HandoffKey, Handoff> = LruHashMap::with_max_entries(16384, 0);

/// BPF_ANY of `bpf_map_update_elem`.
const ANY: u64 = 0;

/// 64 random bits, of which all ids of a request are made: a helper's call for each word of them would be six.
#[inline(always)]
fn random() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { u64::from(bpf_get_prandom_u32() as u32) << 32 | u64::from(bpf_get_prandom_u32() as u32) }
}

/// Spreads what differs in any bit over all of them, one to one (the finalizer of SplitMix64).
#[inline(always)]
fn spread(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// Of a request that opens at `now`: the time keeps traces apart whose 64 bits are the same.
#[inline(always)]
fn new_trace_id(random: u64, now: u64) -> [u8; 16] {
    let words = [spread(random ^ now), spread(!random) | 1];
    // SAFETY: as many bytes.
    unsafe { core::mem::transmute(words) }
}

/// The request's first sequence number, and position 0 of the server's stream: both are on the wire, so both ends have
/// them, whatever addresses lie between. (The other stream's position 0 is not usable: an active opener counts its SYN
/// as an acknowledged byte.)
///
/// A Unix socket has no numbers: there the key is the client's end, which the server knows as its peer.
#[inline(always)]
pub(crate) fn handoff_key(entry: &Connection, position: u64) -> HandoffKey {
    let (request, response) = if entry.role == role::CLIENT {
        (entry.outbound_base, entry.inbound_base)
    } else {
        (entry.inbound_base, entry.outbound_base)
    };
    HandoffKey { pair: u64::from(response), position: u64::from(request.wrapping_add(position as u32)) }
}

/// Ids for a request that a client writes for its connection's owner, which was `found` so. Returns whether that is its parent.
///
/// # Safety
/// `entry` is a live map value.
#[inline(always)]
pub(crate) unsafe fn begin_client(entry: *mut Connection, caller: &Caller, found: u8, now: u64) -> bool {
    // SAFETY: live map values.
    unsafe {
        let mut random = begin(&mut (*entry).context, caller);
        let mut inherits = false;
        let owner = (*entry).owner;
        if let Some(request) = reference::resolve(&owner) {
            output::copy_words(&raw mut (*entry).context.trace_id, &raw const (*request).context.trace_id);
            (*entry).context.parent_span_id = owner.span_id.to_ne_bytes();
            (*entry).context.parent_method = found;
            if reference::resolve(&owner).is_none() {
                // Answered, and another one came, while this was copied.
                random = begin(&mut (*entry).context, caller);
            } else {
                inherits = true;
                count(if found == method::THREAD { Counter::ThreadParent } else { Counter::UnitParent }, 1);
            }
        }
        if !inherits {
            (*entry).context.trace_id = new_trace_id(random, now);
        }
        inherits
    }
}

/// Ids for a request that a client is about to send, at a position on the wire where that is known.
///
/// # Safety
/// `entry` is the live map value of the sock at `sock`.
#[inline(always)]
pub(crate) unsafe fn open_client(sock: u64, entry: *mut Connection, caller: &Caller, position: Option<u64>, now: u64) {
    // SAFETY: live map values.
    unsafe {
        let found = find::owner(entry, caller, &raw mut (*entry).owner);
        begin_client(entry, caller, found, now);
        let context = &(*entry).context;
        let handoff = Handoff {
            trace_id: context.trace_id,
            span_id: context.span_id,
            time_ns: now,
            observer: 0,
            claim: 0,
            from: 0,
            until: 0,
        };
        if (*entry).tcp == transport::UNIX {
            hand_off_unix(sock, entry, &handoff);
            return;
        }
        let Some(position) = position else { return };
        if HANDOFF.insert(handoff_key(&*entry, position), &handoff, ANY).is_ok() {
            count(Counter::HandoffWritten, 1);
        }
    }
}

/// Over a Unix socket a handoff is good until the answer is read. Where a send is seen only when it is over, another
/// thread may have read that already: then this comes too late, and must not be there for the next request.
///
/// # Safety
/// `entry` is a live map value.
#[inline(always)]
unsafe fn hand_off_unix(sock: u64, entry: *const Connection, handoff: &Handoff) {
    // SAFETY: a live map value.
    unsafe {
        let answers = &raw const (*entry).directions[INBOUND as usize].runs;
        let before = (*entry).directions[OUTBOUND as usize].runs.wrapping_sub(1);
        if answers.read_volatile() != before {
            return;
        }
        let key = HandoffKey { pair: sock, position: (*entry).inode };
        if HANDOFF.insert(key, handoff, ANY).is_err() {
            return;
        }
        count(Counter::HandoffWritten, 1);
        if answers.read_volatile() != before {
            let _ = HANDOFF.remove(key);
        }
    }
}

/// A client reads the answer: what the server did not take from a Unix socket by now is stale.
///
/// # Safety
/// `entry` is the live map value of the sock at `sock`.
#[inline(always)]
pub(crate) unsafe fn answered(sock: u64, entry: *const Connection) {
    // SAFETY: as promised.
    unsafe {
        if (*entry).tcp == transport::UNIX {
            let _ = HANDOFF.remove(HandoffKey { pair: sock, position: (*entry).inode });
        }
    }
}

/// Marks the other end of a connection of observer's own, so that it is left alone.
#[inline(always)]
pub(crate) fn mark_observer(entry: &Connection, position: u64, now: u64) {
    let handoff = Handoff { trace_id: [0; 16], span_id: [0; 8], time_ns: now, observer: 1, claim: 0, from: 0, until: 0 };
    let _ = HANDOFF.insert(handoff_key(entry, position), &handoff, ANY);
}

/// What a server finds about the request that it just read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opened {
    /// A request to be traced.
    Request,
    /// The other end is observer.
    Observer,
}

/// Ids for a request that a server has read.
///
/// # Safety
/// `entry` is a live map value of the sock at `sock`; `peer` is a Unix socket's other end, `blocking` as [`crate::kernel::sock::blocking`] says.
#[inline(always)]
pub(crate) unsafe fn open_server(
    sock: u64,
    entry: *mut Connection,
    caller: &Caller,
    position: Option<u64>,
    peer: HandoffKey,
    blocking: u32,
    now: u64,
) -> Opened {
    // SAFETY: live map values.
    unsafe {
        let response_at_open = (*entry).directions[OUTBOUND as usize].end;
        let random = begin(&mut (*entry).context, caller);
        (*entry).context.response_at_open = response_at_open;
        let mut inherits = false;
        let key = match position {
            _ if (*entry).tcp == transport::UNIX => peer,
            Some(position) => handoff_key(&*entry, position),
            None => NO_PEER,
        };
        if key.pair != 0 {
            if let Some(handoff) = HANDOFF.get_ptr(key) {
                if (*handoff).observer != 0 {
                    return Opened::Observer;
                }
                output::copy_words(&raw mut (*entry).context.trace_id, &raw const (*handoff).trace_id);
                (*entry).context.parent_span_id = (*handoff).span_id;
                (*entry).context.parent_method = method::HANDOFF;
                let _ = HANDOFF.remove(key);
                count(Counter::HandoffFound, 1);
                inherits = true;
            }
        }
        if !inherits {
            (*entry).context.trace_id = new_trace_id(random, now);
        }
        unit::request_read(sock, entry, caller, blocking);
        Opened::Request
    }
}

/// Ids for a request that begins a trace.
///
/// # Safety
/// `entry` is a live map value.
#[inline(always)]
pub(crate) unsafe fn begin_trace(entry: *mut Connection, caller: &Caller, now: u64) {
    // SAFETY: as promised.
    unsafe {
        let random = begin(&mut (*entry).context, caller);
        (*entry).context.trace_id = new_trace_id(random, now);
    }
}

/// Ids for a request whose trace and parent are in the entry's context already.
///
/// # Safety
/// `entry` is a live map value.
#[inline(always)]
pub(crate) unsafe fn begin_child(entry: *mut Connection, caller: &Caller, found: u8) {
    // SAFETY: as promised.
    unsafe {
        let parent = (*entry).context.parent_span_id;
        begin(&mut (*entry).context, caller);
        (*entry).context.parent_span_id = parent;
        (*entry).context.parent_method = found;
    }
}

/// A new span without a parent, whose trace is still to be named, from the bits that are returned.
#[inline(always)]
fn begin(context: &mut Context, caller: &Caller) -> u64 {
    let random = random();
    context.span_id = (spread(random) | 1).to_ne_bytes();
    context.parent_span_id = [0; 8];
    context.parent_method = method::NONE;
    context.tid = caller.tid;
    context.tgid = caller.tgid;
    context.start_ns = caller.process_start;
    random
}
