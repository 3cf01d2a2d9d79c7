//! Trace context between hosts, in a TCP option: see `observer_abi::option` for what lies on the wire.
//!
//! | hook | since |
//! |---|---|
//! | sock_ops of the root control group, with header options (`Documentation/bpf`, `net/ipv4/tcp_output.c`) | 5.10 |
//! | iter/tcp with `bpf_setsockopt(TCP_BPF_SOCK_OPS_CB_FLAGS)`, for servers older than observer | 6.12 |
//!
//! A client asks in its SYN, a server answers in its SYN-ACK, each only when the other is in a configured network.
//! Where both did, the client's sock keeps the callback for writing, the server's that for options which the kernel does
//! not know; everywhere else the callbacks are switched off again, so that segments cost nothing.
//!
//! The option goes on the segment that begins with a request's first byte, when it is sent for the first time and the
//! option fits beside the data. Nothing larger than a segment: offloaded segmentation would repeat the option on each
//! of its pieces, one of which might begin with another request. Nothing repeated: where somebody on the way drops
//! segments with options, the repeated one gets through.
//!
//! Cost: some ten short runs a connection; on connections that agreed, one lookup for each segment that the client
//! sends, and one run for each that the server receives with an option.

use aya_ebpf::{
    bindings::{
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_HDR_OPT_LEN_CB, BPF_SOCK_OPS_PARSE_HDR_OPT_CB,
        BPF_SOCK_OPS_PARSE_UNKNOWN_HDR_OPT_CB_FLAG, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_TCP_CONNECT_CB,
        BPF_SOCK_OPS_TCP_LISTEN_CB, BPF_SOCK_OPS_WRITE_HDR_OPT_CB, BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG, bpf_sock_ops,
    },
    helpers::generated::{
        bpf_getsockopt, bpf_load_hdr_opt, bpf_map_lookup_elem, bpf_reserve_hdr_opt, bpf_seq_write, bpf_setsockopt,
        bpf_sock_ops_cb_flags_set, bpf_store_hdr_opt,
    },
    macros::{map, sock_ops},
    maps::{LpmTrie, LruHashMap},
    programs::SockOpsContext,
};
use observer_abi::{
    connection::{family, role},
    context::{Context, method},
    loss::Counter,
    option::{CAPABILITY_BYTES, CONTEXT_BYTES, EXPERIMENT, KIND, OptionConnection, phase, waiting},
};

use crate::{
    core::{connection, output::count, policy, scratch},
    kernel::{
        globals::{offset, settings},
        read::{Direct, KernelRead},
        sock::{self, state},
        task,
    },
};

/// Kernel: connections that trace context travels on in TCP options, by sock address.
#[map]
pub(crate) static OPTION_CONNECTIONS: LruHashMap<u64, OptionConnection> = LruHashMap::with_max_entries(16384, 0);

/// Kernel: connections about to be accepted whose SYN and SYN-ACK carried the capability, by the first sequence
/// numbers of both directions: the answer's in the upper half.
#[map]
pub(crate) static OPTION_HANDSHAKES: LruHashMap<u64, u32> = LruHashMap::with_max_entries(4096, 0);

/// Daemon: the networks whose hosts options are exchanged with; IPv4 as v4-mapped IPv6.
#[map]
pub(crate) static OPTION_PEERS: LpmTrie<[u8; 16], u32> = LpmTrie::with_max_entries(1024, 0);

/// BPF_ANY of `bpf_map_update_elem`.
const ANY: u64 = 0;
/// The option is there already (`-EEXIST`).
const EXISTS: i64 = -17;
/// The header has no such option (`-ENOMSG`).
const NO_OPTION: i64 = -42;
/// `include/linux/socket.h`, `include/uapi/linux/bpf.h`
const SOL_TCP: i32 = 6;
const TCP_BPF_SOCK_OPS_CB_FLAGS: i32 = 1008;
const BPF_LOAD_HDR_OPT_TCP_SYN: u64 = 1;
const BPF_WRITE_HDR_TCP_CURRENT_MSS: u32 = 1;
/// Flags of a TCP header.
const SYN: u32 = 2;
const ACK: u32 = 16;
/// Bytes of a TCP header without options.
const HEADER: usize = 20;
/// Bits of an IPv6 address.
const WHOLE: u32 = 128;
/// The third word of a v4-mapped address, as it lies in memory.
const MAPPED: u32 = 0xffff_0000;

const WRITE: u32 = BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG;
const READ: u32 = BPF_SOCK_OPS_PARSE_UNKNOWN_HDR_OPT_CB_FLAG;

/// The first four bytes of an option of `length` bytes, as they lie in memory.
const fn first_word(length: u32) -> u32 {
    u32::from_ne_bytes([KIND, length as u8, EXPERIMENT[0], EXPERIMENT[1]])
}

/// One field of the context: the verifier wants each read on its own, at its own width.
macro_rules! field {
    ($ops:ident . $($field:ident).+) => {
        core::ptr::read_volatile(&raw const (*$ops).$($field).+)
    };
}

// === the core's side: in the context of a task ===

/// connect() was called: the handshake may ask a peer whose network is configured, for a process that is captured.
///
/// # Safety
/// `sock` is a typed sock.
#[inline(always)]
pub(crate) unsafe fn connecting(sock: *const u8) {
    if settings().tcp_option() == 0 {
        return;
    }
    let key = sock as u64;
    let tgid = (task::pid_tgid() >> 32) as u32;
    // SAFETY: as promised.
    if tgid != settings().observer_tgid() && policy::is_selected(tgid) && unsafe { is_peer_of(sock) } {
        let _ = OPTION_CONNECTIONS.insert(key, &begun(phase::WANTED), ANY);
    } else {
        let _ = OPTION_CONNECTIONS.remove(key);
    }
}

/// A connection that no context has travelled on yet.
#[inline(always)]
fn begun(phase: u32) -> OptionConnection {
    OptionConnection { trace_id: [0; 16], span_id: [0; 8], sequence: 0, waiting: 0, phase, switched_on: 0 }
}

/// The sock is closed.
#[inline(always)]
pub(crate) fn ended(sock: u64) {
    if settings().tcp_option() != 0 {
        let _ = OPTION_CONNECTIONS.remove(sock);
    }
}

/// A request was opened by the call that lies in the scratch of `slot`. A client's context waits for the segment that
/// begins with the request's first byte; a server is given what came with that.
///
/// A function of its own, since the stack has no room for it below `capture::open_run`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn request_opened(slot: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return 0 };
    // SAFETY: live map values.
    unsafe {
        let call = &(*scratch).call;
        let Some(connection) = connection::of(call) else { return 0 };
        let Some(entry) = OPTION_CONNECTIONS.get_ptr_mut(call.sock) else { return 0 };
        let Some(position) = call.wire_position(&*connection) else { return 0 };
        if (*entry).phase == phase::CLIENT && (*connection).role == role::CLIENT {
            let context = &raw const (*connection).context;
            let sequence = (*connection).outbound_base.wrapping_add(position as u32);
            leave(entry, sequence, (&raw const (*context).trace_id).cast(), (&raw const (*context).span_id).cast());
        } else if (*entry).phase == phase::SERVER && (*entry).waiting == waiting::CONTEXT {
            let sequence = (*connection).inbound_base.wrapping_add(position as u32);
            if (*entry).sequence == sequence && (*connection).context.parent_method == method::NONE {
                take(entry, &raw mut (*connection).context);
                take(entry, &raw mut (*scratch).opened.context);
                count(Counter::OptionFound, 1);
            }
            // Whatever it was: it is gone.
            (*entry).waiting = 0;
        }
    }
    0
}

#[inline(always)]
unsafe fn take(entry: *const OptionConnection, context: *mut Context) {
    // SAFETY: live map values.
    unsafe {
        copy::<4>((&raw mut (*context).trace_id).cast(), (&raw const (*entry).trace_id).cast());
        copy::<2>((&raw mut (*context).parent_span_id).cast(), (&raw const (*entry).span_id).cast());
        (*context).parent_method = method::TCP_OPTION;
    }
}

/// Whether the other end of a connecting sock is in a configured network.
#[inline(always)]
unsafe fn is_peer_of(sock: *const u8) -> bool {
    // SAFETY: a typed sock.
    unsafe {
        match sock::family::<Direct>(sock) {
            family::INET => is_peer(&v4(Direct::read(sock, offset!(sock_daddr)))),
            family::INET6 => is_peer(&PeerKey {
                bits: WHOLE,
                address: [
                    Direct::read(sock, offset!(sock_v6_daddr)),
                    Direct::read(sock, offset!(sock_v6_daddr) + 4),
                    Direct::read(sock, offset!(sock_v6_daddr) + 8),
                    Direct::read(sock, offset!(sock_v6_daddr) + 12),
                ],
            }),
            _ => false,
        }
    }
}

// === the handshake and the segments: in softirq, too ===

#[sock_ops]
pub(crate) fn option_callback(ctx: SockOpsContext) -> u32 {
    let ops = ctx.ops;
    // SAFETY: the program's context.
    unsafe {
        match field!(ops.op) {
            BPF_SOCK_OPS_TCP_CONNECT_CB => connect(ops),
            BPF_SOCK_OPS_TCP_LISTEN_CB => listen(ops),
            BPF_SOCK_OPS_HDR_OPT_LEN_CB => reserve(ops),
            BPF_SOCK_OPS_WRITE_HDR_OPT_CB => write(ops),
            BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => connected(ops),
            BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => accepted(ops),
            BPF_SOCK_OPS_PARSE_HDR_OPT_CB => read(ops),
            _ => {}
        }
    }
    1
}

/// The SYN is about to be made.
#[inline(always)]
unsafe fn connect(ops: *mut bpf_sock_ops) {
    // SAFETY: the program's context; a live map value.
    unsafe {
        let Some(entry) = known(ops) else { return };
        let flags = field!(ops.bpf_sock_ops_cb_flags);
        if (*entry).phase == phase::WANTED && flags & WRITE == 0 {
            (*entry).switched_on = 1;
            bpf_sock_ops_cb_flags_set(ops, (flags | WRITE) as i32);
        }
    }
}

/// A server listens: its SYN-ACKs are to be asked about.
#[inline(always)]
unsafe fn listen(ops: *mut bpf_sock_ops) {
    // SAFETY: the program's context.
    unsafe {
        let flags = field!(ops.bpf_sock_ops_cb_flags);
        bpf_sock_ops_cb_flags_set(ops, (flags | WRITE) as i32);
    }
}

/// A segment is about to be made: is there to be room for an option?
#[inline(always)]
unsafe fn reserve(ops: *mut bpf_sock_ops) {
    // SAFETY: the program's context; a live map value.
    unsafe {
        let how = field!(ops.__bindgen_anon_1.reply);
        if how == BPF_WRITE_HDR_TCP_CURRENT_MSS {
            return;
        }
        let flags = field!(ops.skb_tcp_flags);
        if flags & SYN == 0 {
            reserve_for_context(ops);
        } else if flags & ACK == 0 {
            if let Some(entry) = known(ops) {
                if (*entry).phase == phase::WANTED {
                    bpf_reserve_hdr_opt(ops, CAPABILITY_BYTES, 0);
                }
            }
        } else if is_asked(ops) {
            if is_remote_peer(ops) {
                bpf_reserve_hdr_opt(ops, CAPABILITY_BYTES, 0);
            } else {
                count(Counter::OptionRefused, 1);
            }
        }
    }
}

#[inline(always)]
unsafe fn reserve_for_context(ops: *mut bpf_sock_ops) {
    // SAFETY: the program's context; a live map value.
    unsafe {
        let Some(entry) = known(ops) else { return };
        if (*entry).phase != phase::CLIENT || (*entry).waiting == 0 {
            return;
        }
        let bytes = field!(ops.skb_len);
        if (*entry).waiting == waiting::WITHDRAWAL {
            if bytes != 0 && bytes + CAPABILITY_BYTES <= field!(ops.mss_cache) {
                bpf_reserve_hdr_opt(ops, CAPABILITY_BYTES, 0);
            }
            return;
        }
        let ahead = (*entry).sequence.wrapping_sub(field!(ops.snd_nxt)) as i32;
        if ahead < 0 {
            // It left without.
            (*entry).waiting = 0;
            count(Counter::OptionLeftOut, 1);
        } else if ahead == 0 && bytes != 0 && bytes + CONTEXT_BYTES <= field!(ops.mss_cache) {
            bpf_reserve_hdr_opt(ops, CONTEXT_BYTES, 0);
        }
    }
}

/// A segment is made, and some program has made room in it.
#[inline(always)]
unsafe fn write(ops: *mut bpf_sock_ops) {
    // SAFETY: the program's context; live map values.
    unsafe {
        let flags = field!(ops.skb_tcp_flags);
        let Some((sequence, acknowledged)) = numbers(ops) else { return };
        if flags & SYN == 0 {
            write_context(ops, sequence);
        } else if flags & ACK == 0 {
            if let Some(entry) = known(ops) {
                if (*entry).phase == phase::WANTED && write_capability(ops) {
                    (*entry).phase = phase::ASKED;
                }
            }
        } else if is_asked(ops) && is_remote_peer(ops) && write_capability(ops) {
            let _ = OPTION_HANDSHAKES.insert(handshake(sequence.wrapping_add(1), acknowledged), 1, ANY);
        }
    }
}

#[inline(always)]
unsafe fn write_context(ops: *mut bpf_sock_ops, sequence: u32) {
    // SAFETY: the program's context; a live map value; the option's words.
    unsafe {
        let Some(entry) = known(ops) else { return };
        if (*entry).phase != phase::CLIENT {
            return;
        }
        if (*entry).waiting == waiting::WITHDRAWAL {
            if write_capability(ops) {
                (*entry).waiting = waiting::NOTHING;
            }
            return;
        }
        if (*entry).waiting == waiting::NOTHING || (*entry).sequence != sequence {
            return;
        }
        let mut option = [0u32; CONTEXT_BYTES as usize / 4];
        option[0] = first_word(CONTEXT_BYTES);
        copy::<4>((&raw mut option[1]).cast(), (&raw const (*entry).trace_id).cast());
        copy::<2>((&raw mut option[5]).cast(), (&raw const (*entry).span_id).cast());
        // Where calls are seen before the sock is locked, the next request may have come meanwhile.
        let still = (&raw const (*entry).waiting).read_volatile() == waiting::CONTEXT
            && (&raw const (*entry).sequence).read_volatile() == sequence;
        if still && bpf_store_hdr_opt(ops, option.as_ptr().cast(), CONTEXT_BYTES, 0) == 0 {
            (*entry).waiting = 0;
            count(Counter::OptionWritten, 1);
        }
    }
}

/// A client's connection is there: did the SYN-ACK answer?
#[inline(always)]
unsafe fn connected(ops: *mut bpf_sock_ops) {
    // SAFETY: the program's context; a live map value.
    unsafe {
        let Some(sock) = sock(ops) else { return };
        let Some(entry) = OPTION_CONNECTIONS.get_ptr_mut(sock) else { return };
        if (*entry).phase == phase::ASKED && has_capability(ops, 0) {
            (*entry).phase = phase::CLIENT;
            return;
        }
        let switched_on = (*entry).switched_on;
        let _ = OPTION_CONNECTIONS.remove(sock);
        if switched_on != 0 {
            let flags = field!(ops.bpf_sock_ops_cb_flags);
            bpf_sock_ops_cb_flags_set(ops, (flags & !WRITE) as i32);
        }
    }
}

/// A server's connection is there. It has inherited the listening sock's callbacks.
#[inline(always)]
unsafe fn accepted(ops: *mut bpf_sock_ops) {
    // SAFETY: the program's context.
    unsafe {
        let Some(sock) = sock(ops) else { return };
        let flags = field!(ops.bpf_sock_ops_cb_flags);
        let key = handshake(field!(ops.snd_nxt), field!(ops.rcv_nxt));
        if OPTION_HANDSHAKES.get_ptr(key).is_none() {
            if flags & WRITE != 0 {
                bpf_sock_ops_cb_flags_set(ops, (flags & !WRITE) as i32);
            }
            return;
        }
        let _ = OPTION_HANDSHAKES.remove(key);
        if OPTION_CONNECTIONS.insert(sock, &begun(phase::SERVER), ANY).is_err() {
            return;
        }
        bpf_sock_ops_cb_flags_set(ops, (flags & !WRITE | READ) as i32);
        // The first request may have come with the handshake's last segment.
        read(ops);
    }
}

/// A segment came with an option that the kernel does not know.
#[inline(always)]
unsafe fn read(ops: *mut bpf_sock_ops) {
    let mut option = [0u32; CONTEXT_BYTES as usize / 4];
    option[0] = first_word(CAPABILITY_BYTES);
    // SAFETY: the program's context; the option's words; a live map value.
    unsafe {
        let length = bpf_load_hdr_opt(ops, option.as_mut_ptr().cast(), CONTEXT_BYTES, 0);
        if length == NO_OPTION {
            return;
        }
        let named = option[1] | option[2] | option[3] | option[4] != 0 && option[5] | option[6] != 0;
        if let (Some(entry), Some((sequence, _))) = (known(ops), numbers(ops)) {
            if (*entry).phase == phase::SERVER && length == i64::from(CONTEXT_BYTES) && named {
                leave(entry, sequence, (&raw const option[1]).cast(), (&raw const option[5]).cast());
                return;
            }
            if (*entry).phase == phase::SERVER && length == i64::from(CAPABILITY_BYTES) {
                (&raw mut (*entry).waiting).write_volatile(waiting::WITHDRAWAL);
                return;
            }
        }
        count(Counter::OptionRefused, 1);
    }
}

// === servers that listened before observer came ===

/// `(struct bpf_iter__tcp *ctx)`: a pointer each to meta and sock, then a user id. Writes `+` for each listening sock
/// whose SYN-ACKs will be asked about, `-` for one that this kernel does not let it.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/tcp")]
pub(crate) fn option_listeners(ctx: *const *const u8) -> i32 {
    // SAFETY: the iterator's context; both pointers are typed.
    unsafe {
        let meta = ctx.read_volatile();
        let sock = ctx.add(1).read_volatile();
        if sock.is_null() || sock::tcp_state::<Direct>(sock) != state::LISTEN {
            return 0;
        }
        let seq: *const u8 = Direct::read(meta, 0);
        let target = sock.cast_mut().cast();
        let mut flags = 0u32;
        let at: *mut core::ffi::c_void = (&raw mut flags).cast();
        let mut answer = b'-';
        if bpf_getsockopt(target, SOL_TCP, TCP_BPF_SOCK_OPS_CB_FLAGS, at, 4) == 0 {
            let at_flags: *mut u32 = at.cast();
            at_flags.write_volatile(at_flags.read_volatile() | WRITE);
            if bpf_setsockopt(target, SOL_TCP, TCP_BPF_SOCK_OPS_CB_FLAGS, at, 4) == 0 {
                answer = b'+';
            }
        }
        bpf_seq_write(seq.cast_mut().cast(), (&raw const answer).cast(), 1);
    }
    0
}

// === what they share ===

/// Leaves ids for the segment, or the request, with this number.
///
/// # Safety
/// `entry` is a live map value; the ids have 16 and 8 bytes.
#[inline(always)]
pub(crate) unsafe fn leave(entry: *mut OptionConnection, sequence: u32, trace_id: *const u32, span_id: *const u32) {
    // SAFETY: a live map value; ids of 16 and 8 bytes.
    unsafe {
        (&raw mut (*entry).waiting).write_volatile(waiting::NOTHING);
        copy::<4>((&raw mut (*entry).trace_id).cast(), trace_id);
        copy::<2>((&raw mut (*entry).span_id).cast(), span_id);
        (&raw mut (*entry).sequence).write_volatile(sequence);
        (&raw mut (*entry).waiting).write_volatile(waiting::CONTEXT);
    }
}

/// # Safety
/// There are so many words at both.
#[inline(always)]
pub(crate) unsafe fn copy<const WORDS: usize>(to: *mut u32, from: *const u32) {
    let mut index = 0;
    while index < WORDS {
        // SAFETY: as the caller promises.
        unsafe { to.add(index).write_volatile(from.add(index).read_volatile()) };
        index += 1;
    }
}

/// Address of the sock, where it is more than a request for a connection.
#[inline(always)]
unsafe fn sock(ops: *const bpf_sock_ops) -> Option<u64> {
    // SAFETY: the program's context.
    let sock = unsafe { field!(ops.__bindgen_anon_2.sk) };
    if sock.is_null() { None } else { Some(sock as u64) }
}

#[inline(always)]
unsafe fn known(ops: *const bpf_sock_ops) -> Option<*mut OptionConnection> {
    // SAFETY: the program's context.
    unsafe { OPTION_CONNECTIONS.get_ptr_mut(sock(ops)?) }
}

/// Sequence number of the segment, and the one that it acknowledges.
#[inline(always)]
unsafe fn numbers(ops: *const bpf_sock_ops) -> Option<(u32, u32)> {
    // SAFETY: the program's context; the verifier checks what is read of the header against its end.
    unsafe {
        let header: *const u8 = field!(ops.__bindgen_anon_3.skb_data).cast();
        let end: *const u8 = field!(ops.__bindgen_anon_4.skb_data_end).cast();
        if header.add(HEADER) > end {
            return None;
        }
        let words: *const u32 = header.cast();
        Some((u32::from_be(words.add(1).read_volatile()), u32::from_be(words.add(2).read_volatile())))
    }
}

/// Key of a connection that is about to be accepted: the first sequence numbers of the answer and of the request.
#[inline(always)]
fn handshake(answer: u32, request: u32) -> u64 {
    u64::from(answer) << 32 | u64::from(request)
}

/// A SYN-ACK that is made for a SYN with the capability. A repeated one is made without that SYN, one with a cookie
/// leaves nothing behind that could be told of later.
#[inline(always)]
unsafe fn is_asked(ops: *mut bpf_sock_ops) -> bool {
    // SAFETY: the program's context.
    unsafe {
        field!(ops.is_fullsock) == 0
            && field!(ops.__bindgen_anon_1.reply) == 0
            && has_capability(ops, BPF_LOAD_HDR_OPT_TCP_SYN)
    }
}

#[inline(always)]
unsafe fn has_capability(ops: *mut bpf_sock_ops, flags: u64) -> bool {
    let mut option = first_word(CAPABILITY_BYTES);
    // SAFETY: the program's context; the option's bytes.
    let length = unsafe { bpf_load_hdr_opt(ops, (&raw mut option).cast(), CAPABILITY_BYTES, flags) };
    length == i64::from(CAPABILITY_BYTES)
}

#[inline(always)]
unsafe fn write_capability(ops: *mut bpf_sock_ops) -> bool {
    let option = first_word(CAPABILITY_BYTES);
    // SAFETY: the program's context; the option's bytes.
    let stored = unsafe { bpf_store_hdr_opt(ops, (&raw const option).cast(), CAPABILITY_BYTES, 0) };
    stored == 0 || stored == EXISTS
}

#[repr(C)]
struct PeerKey {
    bits: u32,
    address: [u32; 4],
}

#[inline(always)]
fn v4(address: u32) -> PeerKey {
    PeerKey { bits: WHOLE, address: [0, 0, MAPPED, address] }
}

#[inline(always)]
fn is_peer(key: &PeerKey) -> bool {
    let map = core::ptr::from_ref(&OPTION_PEERS).cast_mut().cast();
    // SAFETY: the map's own key.
    unsafe { !bpf_map_lookup_elem(map, core::ptr::from_ref(key).cast()).is_null() }
}

/// Whether the other end is in a configured network.
#[inline(always)]
unsafe fn is_remote_peer(ops: *const bpf_sock_ops) -> bool {
    // SAFETY: the program's context.
    unsafe {
        match field!(ops.family) as u16 {
            family::INET => is_peer(&v4(field!(ops.remote_ip4))),
            family::INET6 => {
                let word = |index: usize| (&raw const (*ops).remote_ip6).cast::<u32>().add(index).read_volatile();
                is_peer(&PeerKey { bits: WHOLE, address: [word(0), word(1), word(2), word(3)] })
            }
            _ => false,
        }
    }
}
