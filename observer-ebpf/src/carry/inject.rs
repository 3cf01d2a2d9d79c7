//! Header injection: puts one `traceparent` line into HTTP/1 requests that leave captured processes.
//!
//! | hook | prototype | since |
//! |---|---|---|
//! | sock_ops, root control group | `BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB` | 4.13 |
//! | sk_msg on the socket map | each `sendmsg` of a socket in it, before its bytes are queued | 4.17 (`sk` in its context: 5.8) |
//!
//! A socket in the map sends through `tcp_bpf_sendmsg` (net/ipv4/tcp_bpf.c): this program sees a message first, copied
//! into the kernel; then its pieces pass `tcp_sendmsg_locked`, as pages. `tcp_sendmsg` is not called. So for these
//! sockets this program is the tier adapter for sends, in every tier: it opens the run and takes the ids from it.
//!
//! Only at a request's first byte, which is known from connect() on: the head tells where the next request begins. Where
//! it does not (chunked bodies, upgrades), or in any doubt, the connection leaves the map. The inserted bytes are no
//! part of the stream's positions: `outbound_base` moves on by as many, so that positions stay those of the process's
//! own bytes.
//!
//! Cost: connections of captured processes pay one copy more for each send, requests two page allocations.
//! Limits: connections that are older than observer; `docs/limitations.md` has the rest.

use aya_ebpf::{
    bindings::{BPF_RB_NO_WAKEUP, bpf_sock_ops, sk_action, sk_msg_md},
    helpers::generated::{
        bpf_ktime_get_ns, bpf_msg_pop_data, bpf_msg_pull_data, bpf_msg_push_data, bpf_probe_read_kernel,
        bpf_skc_to_tcp_sock, bpf_sock_hash_update,
    },
    macros::{map, sk_msg, sock_ops},
    maps::{Array, LruHashMap, PerCpuArray, RingBuf, SockHash},
    programs::{SkMsgContext, SockOpsContext},
};
use observer_abi::{
    connection::{Connection, OUTBOUND, flag, role},
    control::{INJECTED_LINE, InjectionControl, injection},
    loss::Counter,
    record::MAX_PAYLOAD,
};

use crate::{
    carry::head::{self, verdict},
    core::{
        admission::{self, Verdict},
        buffer::{Source, barrier, bounded},
        call::{self, Call},
        capture,
        connection,
        output::{add, count},
        policy,
        scratch::{self, Scratch, slot},
    },
    kernel::{
        globals::{offset, settings},
        read::{Direct, KernelRead},
        sock::{self, Kind},
        task,
    },
};

/// Daemon: whose connections get headers injected.
#[map]
pub(crate) static INJECTION_CONTROL: Array<InjectionControl> = Array::with_max_entries(1, 0);

/// Kernel: sockets that connect for a captured process and may join the socket map.
#[map]
pub(crate) static JOINING: LruHashMap<u64, u64> = LruHashMap::with_max_entries(4096, 0);

/// Kernel (the daemon takes out): client sockets whose sends the injecting program sees, by sock address.
#[map]
pub(crate) static INJECTED: SockHash<u64> = SockHash::with_max_entries(16384, 0);

/// Kernel: sock addresses that should leave that map.
#[map]
pub(crate) static LEAVING: RingBuf = RingBuf::with_byte_size(64 << 10, 0);

/// Kernel: which of the injecting program's scratches are taken, by counting.
#[map]
pub(crate) static SCRATCH_TAKEN: PerCpuArray<[u64; slot::MESSAGES as usize]> = PerCpuArray::with_max_entries(1, 0);

/// BPF_ANY of `bpf_map_update_elem`.
const ANY: u64 = 0;
/// `BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB` (include/uapi/linux/bpf.h).
const ACTIVE_ESTABLISHED: u32 = 4;
/// Added to a sequence number: far from every request's beginning.
const NOWHERE: u32 = 0x8000_0000;

/// A process calls connect(): called in its context.
#[inline(always)]
pub(crate) fn connecting(sock: *const u8, tgid: u32) {
    if settings().inject() == 0 {
        return;
    }
    let own = tgid == settings().observer_tgid();
    let wanted = match whose() {
        injection::ON => !own && policy::is_selected(tgid),
        injection::SELF_TEST => own,
        _ => false,
    };
    // SAFETY: a typed sock of a tracepoint.
    if wanted && unsafe { is_plain(sock) } {
        let _ = JOINING.insert(sock as u64, &1, ANY);
    }
}

/// Whose connections join, see [`injection`].
#[inline(always)]
fn whose() -> u32 {
    match INJECTION_CONTROL.get_ptr(0) {
        // SAFETY: a live map value.
        Some(control) => unsafe { (*control).mode },
        None => injection::OFF,
    }
}

/// A TCP socket that a process holds itself. (The subflows of Multipath TCP lie below the socket that it holds.)
#[inline(always)]
unsafe fn is_plain(sock: *const u8) -> bool {
    // SAFETY: a typed sock; each null is checked before it is followed.
    unsafe {
        if sock::kind::<Direct>(sock) != Kind::Tcp || sock::file::<Direct>(sock).is_null() {
            return false;
        }
        let socket: *const u8 = Direct::read(sock, offset!(sock_socket));
        !socket.is_null() && Direct::read::<*const u8>(socket, offset!(socket_sk)) == sock
    }
}

/// A connection is there that this host opened.
#[sock_ops]
pub(crate) fn inject_established(ctx: SockOpsContext) -> u32 {
    if ctx.op() == ACTIVE_ESTABLISHED {
        // SAFETY: the program's context.
        unsafe { join(ctx.ops) };
    }
    1
}

/// # Safety
/// `ops` is the program's context.
#[inline(always)]
unsafe fn join(ops: *mut bpf_sock_ops) {
    // SAFETY: as promised; live map values; typed pointers.
    unsafe {
        let sk = (*ops).__bindgen_anon_2.sk;
        if sk.is_null() {
            return;
        }
        let mut key = sk as u64;
        if JOINING.get_ptr(key).is_none() {
            return;
        }
        let _ = JOINING.remove(key);
        let Some(entry) = connection::find(key) else { return };
        let tcp = bpf_skc_to_tcp_sock(sk.cast()).cast::<u8>().cast_const();
        if tcp.is_null() {
            return;
        }
        let counters = sock::counters::<Direct>(tcp);
        if (*entry).role != role::CLIENT || counters.write_seq != counters.snd_una || counters.bytes_acked > 1 {
            // Sent with the SYN (TCP Fast Open).
            return;
        }
        (*entry).next_request = counters.write_seq;
        (*entry).flags |= flag::SOCKET_MAP;
        let map = core::ptr::from_ref(&INJECTED).cast_mut().cast();
        if bpf_sock_hash_update(ops, map, (&raw mut key).cast(), ANY) != 0 {
            (*entry).flags &= !flag::SOCKET_MAP;
            count(Counter::HeaderFailed, 1);
        }
    }
}

/// A send of a socket in the map.
#[sk_msg]
pub(crate) fn inject_message(ctx: SkMsgContext) -> u32 {
    // SAFETY: the program's context.
    unsafe { sending(ctx.msg) }
}

/// One send: the call's connection and its sock.
struct Sending {
    key: u64,
    entry: *mut Connection,
    tcp: *const u8,
    /// Sequence number of its first byte.
    sequence: u32,
    size: u64,
    pid_tgid: u64,
    /// Of observer's self-test: not captured.
    own: bool,
}

/// # Safety
/// `msg` is the program's context.
#[inline(always)]
unsafe fn sending(msg: *mut sk_msg_md) -> u32 {
    // SAFETY: as promised; live map values; typed pointers.
    unsafe {
        let sk = (*msg).__bindgen_anon_3.sk;
        if sk.is_null() {
            return sk_action::SK_PASS;
        }
        let key = sk as u64;
        let Some(entry) = connection::find(key) else {
            tell_to_leave(key);
            return sk_action::SK_PASS;
        };
        if (*entry).flags & flag::SOCKET_MAP == 0 {
            // The entry was made anew. Outside of the map the tier's own hooks see the sends.
            tell_to_leave(key);
            return sk_action::SK_PASS;
        }
        let tcp = bpf_skc_to_tcp_sock(sk.cast()).cast::<u8>().cast_const();
        if tcp.is_null() {
            return sk_action::SK_PASS;
        }
        let pid_tgid = task::pid_tgid();
        let tgid = (pid_tgid >> 32) as u32;
        let own = tgid == settings().observer_tgid() && whose() == injection::SELF_TEST;
        let sequence = sock::write_seq::<Direct>(tcp);
        let sending = Sending { key, entry, tcp, sequence, size: u64::from((*msg).size), pid_tgid, own };
        let above: *const u8 = Direct::read(tcp, offset!(sock_protocol_above));
        if !above.is_null() || (!own && admission::of(entry, tgid) != Verdict::Taken) {
            leave(&sending, 0, Counter::HeaderNotHttp);
            return sk_action::SK_PASS;
        }
        let Some(slot) = take() else {
            leave(&sending, 0, Counter::HeaderFailed);
            return sk_action::SK_PASS;
        };
        let verdict = told(msg, &sending, slot);
        give(slot);
        verdict
    }
}

/// Captures the message, and inserts the line where a request begins.
#[inline(always)]
unsafe fn told(msg: *mut sk_msg_md, sending: &Sending, slot: u32) -> u32 {
    // SAFETY: as for `sending`.
    unsafe {
        let &Sending { entry, sequence, size, own, .. } = sending;
        let Some(scratch) = scratch::at(slot) else { return sk_action::SK_PASS };
        let to_next = (*entry).next_request.wrapping_sub(sequence) as i32;
        let runs = (*entry).directions[OUTBOUND as usize].runs;
        let wants = to_next == 0 || size < 8 || capture::wants_sent(entry);
        let copied = if wants { copy(msg, size, scratch) } else { 0 };
        if !own {
            let tail = tail(msg, scratch, size, copied, (*entry).directions[OUTBOUND as usize].tail);
            capture(sending, slot, copied, tail);
        } else {
            (*scratch).opened.context.trace_id = [0; 16];
            (*scratch).opened.context.span_id = [0; 8];
        }
        if to_next != 0 {
            // A body goes on. What lies behind its end in the same message cannot be told from it for certain.
            if to_next < 0 || size > to_next as u64 {
                leave(sending, 0, Counter::HeaderUncertain);
            }
            return sk_action::SK_PASS;
        }
        let opened = own || (*entry).directions[OUTBOUND as usize].runs != runs;
        let found = head::parse_head(slot, copied);
        let reason = match found & 0xff {
            verdict::SPLIT => Counter::HeaderSplit,
            verdict::NOT_HTTP => Counter::HeaderNotHttp,
            verdict::WHOLE | verdict::HAS_CONTEXT => {
                let total = (*scratch).found[0];
                let mut added = 0;
                if found & 0xff == verdict::HAS_CONTEXT {
                    count(Counter::HeaderPresent, 1);
                } else if !opened {
                    count(Counter::HeaderPipelined, 1);
                } else {
                    match insert(msg, scratch, slot, (found >> 8) as u32) {
                        Inserted::Yes => added = INJECTED_LINE,
                        Inserted::No => count(Counter::HeaderFailed, 1),
                        Inserted::Half => return sk_action::SK_DROP,
                    }
                }
                if added != 0 {
                    if !own {
                        count(Counter::HeaderInjected, 1);
                    }
                    (*entry).outbound_base = (*entry).outbound_base.wrapping_add(added);
                }
                (*entry).next_request = sequence.wrapping_add(added).wrapping_add(total as u32);
                if total == 0 {
                    leave(sending, added, Counter::HeaderUncertain);
                } else if size > total {
                    leave(sending, added, Counter::HeaderPipelined);
                }
                return sk_action::SK_PASS;
            }
            _ => Counter::HeaderUncertain,
        };
        leave(sending, 0, reason);
    }
    sk_action::SK_PASS
}

/// The message's first bytes, to the payload.
#[inline(always)]
unsafe fn copy(msg: *mut sk_msg_md, size: u64, scratch: *mut Scratch) -> u64 {
    // SAFETY: the program's context and a map value.
    unsafe {
        let wanted = bounded(size);
        if bpf_msg_pull_data(msg, 0, wanted, 0) != 0 {
            return 0;
        }
        let data = (*msg).__bindgen_anon_1.data.cast::<u8>();
        let payload: *mut u8 = (&raw mut (*scratch).payload).cast();
        if bpf_probe_read_kernel(payload.cast(), wanted, data.cast()) != 0 {
            return 0;
        }
        u64::from(wanted)
    }
}

/// The last eight bytes of the stream after the message, as in [`crate::core::buffer::read_tail`].
#[inline(always)]
unsafe fn tail(msg: *mut sk_msg_md, scratch: *const Scratch, size: u64, copied: u64, before: u64) -> u64 {
    // SAFETY: the program's context and a map value.
    unsafe {
        let payload: *const u8 = (&raw const (*scratch).payload).cast();
        if size >= 8 && copied == size {
            let at = (barrier(size - 8) & (MAX_PAYLOAD as u64 - 1)) as usize;
            return payload.add(at).cast::<u64>().read_volatile();
        }
        if size < 8 {
            let bytes = barrier(size) & 7;
            if bytes == 0 || copied == 0 {
                return 0;
            }
            return (before >> (8 * bytes)) | (payload.cast::<u64>().read_volatile() << (64 - 8 * bytes));
        }
        if bpf_msg_pull_data(msg, (size - 8) as u32, size as u32, 0) != 0 {
            return 0;
        }
        let data = (*msg).__bindgen_anon_1.data.cast::<u8>();
        let end = (*msg).__bindgen_anon_2.data_end.cast::<u8>();
        if data.add(8) > end {
            return 0;
        }
        data.cast::<u64>().read_volatile()
    }
}

/// Hands the message to the core, as the tiers' adapters do.
#[inline(always)]
unsafe fn capture(sending: &Sending, slot: u32, copied: u64, tail: u64) {
    // SAFETY: as for `sending`.
    unsafe {
        let &Sending { entry, tcp, sequence, size, pid_tgid, .. } = sending;
        let file = sock::file::<Direct>(tcp);
        if file.is_null() {
            return;
        }
        let out = &raw const (*entry).directions[OUTBOUND as usize];
        if (*entry).flags & flag::SEND_PENDING != 0 {
            capture::send_done(entry, sequence, (*out).last_ns);
        }
        let start = catch_up(entry, sequence);
        let pending = u32::from(size as i64 > i64::from(sock::send_room::<Direct>(tcp)));
        let call = Call {
            sock: sending.key,
            generation: 0,
            start,
            end: start.wrapping_add(size),
            now: bpf_ktime_get_ns(),
            pid_tgid,
            direction: u32::from(OUTBOUND),
            pending,
            blocking: sock::blocking::NO,
            retry: call::retry::NO,
            place: 0,
            reserved: 0,
            peer: sock::NO_PEER,
        };
        let Some(scratch) = capture::tell::<Direct>(&call, tcp, Kind::Tcp, file, entry, slot) else { return };
        if copied == 0 { Source::Unknown } else { Source::Copied(copied, tail) }.store(scratch);
        // There is no rest: the bytes are here.
        capture::capture_data(slot);
    }
}

/// Takes bytes into account that passed this program: after a send that found no room the kernel gives the next one the
/// verdict of that one, unasked. Returns the position of the next byte.
///
/// # Safety
/// `entry` is the live map value of a TCP sock.
#[inline(always)]
pub(crate) unsafe fn catch_up(entry: *mut Connection, write_seq: u32) -> u64 {
    // SAFETY: as promised.
    unsafe {
        let out = &raw mut (*entry).directions[OUTBOUND as usize];
        let position = connection::extend((*out).end, (*entry).outbound_base, write_seq);
        if position.wrapping_sub((*out).end) as i64 > 0 {
            (*out).end = position;
        }
        position
    }
}

/// What became of the line.
#[derive(PartialEq, Eq)]
enum Inserted {
    Yes,
    /// The message is as it was.
    No,
    /// Room was made that could be neither filled nor taken away.
    Half,
}

/// Inserts the line behind the first `at` bytes.
#[inline(always)]
unsafe fn insert(msg: *mut sk_msg_md, scratch: *mut Scratch, slot: u32, at: u32) -> Inserted {
    // SAFETY: the program's context and a map value; the packet's bounds are checked.
    unsafe {
        head::write_line(slot);
        if bpf_msg_push_data(msg, at, INJECTED_LINE, 0) != 0 {
            return Inserted::No;
        }
        let end = at + INJECTED_LINE;
        if bpf_msg_pull_data(msg, at, end, 0) == 0 {
            let data = (*msg).__bindgen_anon_1.data.cast::<u8>();
            let data_end = (*msg).__bindgen_anon_2.data_end.cast::<u8>();
            if data.add(INJECTED_LINE as usize) <= data_end {
                let line = head::line(scratch);
                let mut index = 0;
                while index < INJECTED_LINE as usize / 8 * 8 {
                    data.add(index).cast::<u64>().write_volatile(line.add(index).cast::<u64>().read_volatile());
                    index += 8;
                }
                while index < INJECTED_LINE as usize {
                    data.add(index).write_volatile(line.add(index).read_volatile());
                    index += 1;
                }
                // In one piece, which is queued whole or not at all: a send that finds no more room is told how many
                // of its own bytes are gone, and the kernel does not know of ours.
                bpf_msg_pull_data(msg, 0, end, 0);
                return Inserted::Yes;
            }
        }
        if bpf_msg_pop_data(msg, at, INJECTED_LINE, 0) == 0 { Inserted::No } else { Inserted::Half }
    }
}

/// Nothing will be injected into this connection any more.
#[inline(always)]
unsafe fn leave(sending: &Sending, added: u32, reason: Counter) {
    // SAFETY: a live map value.
    unsafe {
        let &Sending { key, entry, sequence, size, .. } = sending;
        let to_next = (*entry).next_request.wrapping_sub(sequence) as i32;
        let known = to_next < i32::MIN / 2;
        (*entry).next_request = sequence.wrapping_add(size as u32).wrapping_add(added).wrapping_add(NOWHERE);
        if known {
            return;
        }
        count(reason, 1);
        tell_to_leave(key);
    }
}

/// Programs of this type may not take sockets out of the map (since 6.9); the daemon does.
#[inline(always)]
fn tell_to_leave(key: u64) {
    let _ = LEAVING.output::<u64>(&key, u64::from(BPF_RB_NO_WAKEUP));
}

/// A scratch that nobody has.
///
/// Unlike tracing programs these may be interrupted by themselves, in another task. All contenders are on this CPU, and
/// an addition cannot be torn: who finds 1 after adding has it.
#[inline(always)]
fn take() -> Option<u32> {
    let taken: *mut u64 = SCRATCH_TAKEN.get_ptr_mut(0)?.cast();
    let mut index = 0;
    while index < slot::MESSAGES {
        // SAFETY: the map's value has so many.
        unsafe {
            let counter = taken.add(index as usize);
            add(counter, 1);
            if counter.read_volatile() == 1 {
                return Some(slot::MESSAGE + index);
            }
            add(counter, u64::MAX);
        }
        index += 1;
    }
    None
}

#[inline(always)]
fn give(slot: u32) {
    if let Some(taken) = SCRATCH_TAKEN.get_ptr_mut(0) {
        let index = slot.wrapping_sub(slot::MESSAGE);
        if index < slot::MESSAGES {
            // SAFETY: the map's value has so many.
            unsafe { add(taken.cast::<u64>().add(index as usize), u64::MAX) };
        }
    }
}
