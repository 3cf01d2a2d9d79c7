//! Datagrams to name servers and from them (DNS over UDP, port 53), as they were sent and read: each is a record of its
//! own, with the request that a query is made for. Which answer belongs to which query is for the daemon to say.
//!
//! | hook | prototype | tier |
//! |---|---|---|
//! | fexit `udp_sendmsg`, `udpv6_sendmsg` | `(struct sock *sk, struct msghdr *msg, size_t len)` | `fentry` |
//! | fexit `udp_recvmsg`, `udpv6_recvmsg` | `(struct sock *sk, struct msghdr *msg, size_t len, [int nonblock,] int flags[, int *addr_len])` | `fentry` |
//! | kprobe, kretprobe of the first two; kprobe of the others and of `skb_consume_udp` | `(struct sock *sk, struct sk_buff *skb, int len)` | `kprobe` |
//! | fentry, kprobe `udp_destroy_sock`, `udpv6_destroy_sock` | `(struct sock *sk)` | both |
//! | the hooks of all sockets' calls | | `socket`, `syscall` |
//!
//! A socket that is connected says where its datagrams go. Of others the destination of a send tells; what they receive
//! counts as an answer once a query left through them, since the sender is not known in every tier at that time.
//!
//! Cost: other datagrams pay for reading a port, those of unconnected sockets for a lookup or an address, too. Limits: what
//! `recvmmsg` brings is counted, not read; a ring's sends on unconnected sockets are not recognised under lockdown.

use aya_ebpf::{
    helpers::generated::{bpf_ktime_get_ns, bpf_probe_read_kernel, bpf_probe_read_user},
    macros::map,
    maps::{LruHashMap, PerCpuArray},
};
use observer_abi::{
    connection::{INBOUND, OUTBOUND, family, role},
    context::{RequestReference, method},
    loss::Counter,
    record::{self, Datagram, MAX_DATAGRAM, NAME_SERVER_PORT, RecordHeader},
};

use crate::{
    core::{
        buffer::{self, Source},
        call::retry,
        output::{self, count},
        policy,
        scratch::{self, Scratch, slot},
    },
    kernel::{
        arch::registers::{self, call, register},
        globals::{offset, settings},
        iterator,
        read::{Direct, KernelRead, Probe},
        sock, task,
    },
    tier::socket::Buffer,
    work::{find, reference, table},
};

/// BPF_ANY of `bpf_map_update_elem`.
const ANY: u64 = 0;
/// Bytes of a DNS message's header: nothing shorter is one.
const HEADER: u32 = 12;
/// Messages of one `sendmmsg` that are told apart.
const MAX_MESSAGES: u32 = 8;

/// A socket through which queries went.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Asking {
    inode: u64,
    /// Start of the process that asked first, ns since boot: what its sockets tell goes into one ring.
    started: u64,
    /// Of a `sendmmsg` that is under way, the array of its messages; else 0.
    array: u64,
    /// And which of them is sent next.
    next: u32,
    /// Datagrams received.
    received: u32,
}

/// Kernel: sockets through which queries went, by sock address.
#[map]
static ASKING: LruHashMap<u64, Asking> = LruHashMap::with_max_entries(1024, 0);

/// Kernel: how many want the scratch of datagrams on a CPU, see [`scratch::take`].
#[map]
static DATAGRAM_TAKEN: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Where a call says to whom it sends.
#[derive(Clone, Copy)]
pub(crate) enum Name {
    /// In this `struct msghdr` of the kernel's, and in the system call.
    Message(*const u8),
    /// In the system call's arguments.
    SystemCall,
    /// In these saved registers.
    Registers(*const u8),
}

/// `struct sockaddr_in`, or the beginning of a `struct sockaddr_in6`.
#[repr(C)]
#[derive(Clone, Copy)]
struct SocketAddress {
    family: u16,
    port: u16,
    /// IPv4; the flow of IPv6.
    first: u32,
    /// IPv6, its first half.
    rest: [u32; 2],
}

/// Reads an address where it lies, in the kernel (1) or in the process, as one of a socket of this family, into the scratch's
/// `found`. Returns its port; 0 where it can't be read.
///
/// A function of its own for the sake of its callers' stack.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn read_name(in_kernel: u32, at: u64, sock_family: u32) -> u32 {
    let Some(scratch) = scratch::at(slot::DATAGRAM) else { return 0 };
    let mut name = SocketAddress { family: 0, port: 0, first: 0, rest: [0; 2] };
    // SAFETY: the destinations have the sizes; faults are reported.
    unsafe {
        if !read(in_kernel, (&raw mut name).cast(), 16, at) {
            return 0;
        }
        let into = (&raw mut (*scratch).found).cast::<u32>();
        if name.family == family::INET6 {
            into.write_volatile(name.rest[0]);
            into.add(1).write_volatile(name.rest[1]);
            if !read(in_kernel, into.add(2).cast(), 8, at.wrapping_add(16)) {
                return 0;
            }
        } else if name.family != family::INET {
            return 0;
        } else if sock_family == u32::from(family::INET6) {
            // As the socket's own addresses would be written.
            into.write_volatile(0);
            into.add(1).write_volatile(0);
            into.add(2).write_volatile(0xffff_u32.to_be());
            into.add(3).write_volatile(name.first);
        } else {
            (&raw mut (*scratch).found).write_volatile([u64::from(name.first), 0]);
        }
    }
    u32::from(u16::from_be(name.port))
}

#[inline(always)]
unsafe fn read(in_kernel: u32, into: *mut core::ffi::c_void, size: u32, at: u64) -> bool {
    // SAFETY: as the callers promise; faults are reported.
    unsafe {
        if in_kernel == 0 {
            return bpf_probe_read_user(into, size, at as *const _) == 0;
        }
        settings().may_probe_read() != 0 && bpf_probe_read_kernel(into, size, at as *const _) == 0
    }
}

/// Where the system call's arguments have the address that it sends to; 0 where they have none.
#[inline(always)]
unsafe fn named_in(registers: *const u8) -> u64 {
    // SAFETY: typed registers; a user address, whose fault is reported.
    unsafe {
        match Direct::read::<u64>(registers, register::ORIG_RAX) {
            call::SENDTO => Direct::read(registers, register::R8),
            call::SENDMSG | call::SENDMMSG => {
                // `msg_name` is the first member of the message, and that of its array's.
                let message: u64 = Direct::read(registers, register::RSI);
                let mut name = 0u64;
                bpf_probe_read_user((&raw mut name).cast(), 8, message as *const _);
                name
            }
            _ => 0,
        }
    }
}

/// To which port a call on an unconnected socket sends, 0 where that is not known; the address is left in the scratch.
#[inline(always)]
unsafe fn named(name: Name, sock_family: u16) -> u16 {
    let sock_family = u32::from(sock_family);
    // SAFETY: as the callers promise.
    unsafe {
        let registers = match name {
            Name::Message(message) if settings().may_probe_read() != 0 => {
                let at: u64 = Probe::read(message, offset!(msg_name));
                return if at == 0 { 0 } else { read_name(1, at, sock_family) as u16 };
            }
            Name::Message(_) | Name::SystemCall => match task::registers() {
                Some(registers) => registers,
                None => return 0,
            },
            Name::Registers(registers) => registers,
        };
        if Direct::read::<u64>(registers, register::CS) != register::USER_CS {
            return 0;
        }
        let at = named_in(registers);
        if at == 0 { 0 } else { read_name(0, at, sock_family) as u16 }
    }
}

/// Whether a datagram of this socket may be to or from a name server, as far as its addresses tell. Cheap.
///
/// # Safety
/// `sock` is a UDP sock, see [`KernelRead`].
#[inline(always)]
pub(crate) unsafe fn may_ask<R: KernelRead>(sock: *const u8, direction: u8) -> bool {
    // SAFETY: as promised.
    let port = u16::from_be(unsafe { R::read(sock, offset!(sock_dport)) });
    port == NAME_SERVER_PORT || (port == 0 && (direction == OUTBOUND || ASKING.get_ptr(sock as u64).is_some()))
}

/// A call moved datagrams of `length` bytes in all. With `messages` other than 0 they are those of a `sendmmsg` that is
/// over, whose registers `name` has.
///
/// # Safety
/// `sock` is a UDP sock, see [`KernelRead`]; called in the context of the task that moved them.
#[inline(always)]
pub(crate) unsafe fn moved<R: KernelRead>(
    sock: *const u8,
    direction: u8,
    length: u32,
    name: Name,
    buffer: Buffer,
    messages: u32,
) {
    // SAFETY: as promised.
    unsafe {
        if (length < HEADER && messages == 0) || !may_ask::<R>(sock, direction) {
            return;
        }
        let pid_tgid = task::pid_tgid();
        let tgid = (pid_tgid >> 32) as u32;
        if tgid == settings().observer_tgid() || !policy::is_selected(tgid) {
            return;
        }
        let file = sock::file::<R>(sock);
        if file.is_null() {
            return;
        }
        let inode = sock::inode::<R>(file);
        let sock_family = sock::family::<R>(sock);
        let connected: u16 = u16::from_be(R::read(sock, offset!(sock_dport)));
        if connected == 0 && direction == INBOUND && !has_asked(sock as u64, inode) {
            // Another socket had its address before.
            return;
        }
        // One that was preempted in the middle may have it: programs of several hooks share it.
        let Some(taken) = DATAGRAM_TAKEN.get_ptr_mut(0) else { return };
        if !scratch::take(taken) {
            missed(sock as u64, direction);
            return;
        }
        let asks = connected == 0 && direction == OUTBOUND;
        if asks && named(name, sock_family) != NAME_SERVER_PORT {
            scratch::give(taken);
            return;
        }
        if let Some(scratch) = scratch::at(slot::DATAGRAM) {
            let record = record_in(scratch);
            fill(record, sock as u64, inode, direction, pid_tgid, sock::netns::<R>(sock));
            (*record).length = length;
            (*record).family = sock_family;
            (*record).peer_port = if asks { NAME_SERVER_PORT } else { connected };
            (*record).local_port = R::read(sock, offset!(sock_num));
            let peer = (&raw mut (*record).peer_address).cast::<u32>();
            let local = (&raw mut (*record).local_address).cast::<u32>();
            if asks {
                peer.cast::<[u64; 2]>().write_volatile((*scratch).found);
            }
            if sock_family == family::INET {
                local.write_volatile(R::read(sock, offset!(sock_rcv_saddr)));
                if connected != 0 {
                    peer.write_volatile(R::read(sock, offset!(sock_daddr)));
                }
            } else {
                let mut word = 0;
                while word < 4 {
                    local.add(word).write_volatile(R::read(sock, offset!(sock_v6_rcv_saddr) + 4 * word));
                    if connected != 0 {
                        peer.add(word).write_volatile(R::read(sock, offset!(sock_v6_daddr) + 4 * word));
                    }
                    word += 1;
                }
            }
            let call = &raw mut (*scratch).call;
            (*call).sock = sock as u64;
            (*call).start = 0;
            (*call).end = u64::from(length);
            (*call).direction = u32::from(direction);
            (*call).retry = retry::NO;
            match buffer {
                // The segments' addresses can't be read: the call's arguments have them.
                Buffer::Message(message)
                    if settings().may_probe_read() == 0
                        && settings().task_registers() != 0
                        && iterator::is_array::<R>(message) =>
                {
                    of_system_call(scratch, direction);
                }
                Buffer::Message(message) => {
                    iterator::at_end::<R>(message, direction, u64::from(length), slot::DATAGRAM, scratch);
                }
                Buffer::SystemCall => of_system_call(scratch, direction),
                Buffer::Registers(registers) => registers::of_registers(registers, direction).store(scratch),
                Buffer::Known | Buffer::None => Source::Unknown.store(scratch),
            }
            if messages == 0 {
                datagram_moved();
            } else if let Name::Registers(registers) = name {
                let array: u64 = Direct::read(registers, register::RSI);
                let mut index = 0;
                while index < MAX_MESSAGES {
                    if index >= messages {
                        break;
                    }
                    if message_sent(array.wrapping_add(u64::from(index) * registers::MMSGHDR)) >= HEADER {
                        datagram_moved();
                    }
                    index += 1;
                }
            }
        }
        scratch::give(taken);
    }
}

/// Whether a query went through this very socket.
#[inline(always)]
fn has_asked(sock: u64, inode: u64) -> bool {
    match ASKING.get_ptr(sock) {
        // SAFETY: a live map value.
        Some(asking) => unsafe { (*asking).inode == inode },
        None => false,
    }
}

/// A datagram cannot be read: an answer among them counts all the same, so that it is known to be lost.
#[inline(always)]
fn missed(sock: u64, direction: u8) {
    count(Counter::DatagramMissed, 1);
    if direction == INBOUND {
        if let Some(asking) = ASKING.get_ptr_mut(sock) {
            // SAFETY: a live map value.
            unsafe { (*asking).received = (*asking).received.wrapping_add(1) };
        }
    }
}

/// The record lies right before its payload.
#[inline(always)]
unsafe fn record_in(scratch: *mut Scratch) -> *mut Datagram {
    // SAFETY: a run's record, which is longer, has room there.
    unsafe { (&raw mut (*scratch).payload).cast::<u8>().sub(size_of::<Datagram>()).cast() }
}

/// What the socket and the caller tell.
#[inline(always)]
unsafe fn fill(record: *mut Datagram, sock: u64, inode: u64, direction: u8, pid_tgid: u64, netns: u32) {
    // SAFETY: room for a record; it is whole words.
    unsafe {
        let words = record.cast::<u64>();
        let mut index = 0;
        while index < size_of::<Datagram>() / 8 {
            words.add(index).write_volatile(0);
            index += 1;
        }
        (*record).header = RecordHeader {
            sock,
            generation: inode,
            time_ns: bpf_ktime_get_ns(),
            captured: 0,
            kind: record::kind::DATAGRAM,
            direction,
            flags: 0,
            role: role::CLIENT,
        };
        (*record).netns = netns;
        (*record).tid = pid_tgid as u32;
        (*record).tgid = (pid_tgid >> 32) as u32;
        (*record).start_ns = task::start_times().0;
    }
}

/// The buffer of the datagram that the current system call just moved, left in the scratch.
#[inline(always)]
unsafe fn of_system_call(scratch: *mut Scratch, direction: u8) {
    // SAFETY: a typed pointer, read directly; map values.
    unsafe {
        if direction == OUTBOUND {
            if let Some(registers) = task::registers() {
                if Direct::read::<u64>(registers, register::ORIG_RAX) == call::SENDMMSG
                    && Direct::read::<u64>(registers, register::CS) == register::USER_CS
                {
                    let array: u64 = Direct::read(registers, register::RSI);
                    let messages: u64 = Direct::read(registers, register::RDX);
                    let index = next_message(record_in(scratch), array, messages);
                    registers::of_message(array.wrapping_add(u64::from(index) * registers::MMSGHDR)).store(scratch);
                    return;
                }
            }
        }
        registers::of_system_call(direction).store(scratch);
    }
}

/// Which of the messages of a `sendmmsg` has left now: each send of the socket is seen, also one that fails.
#[inline(always)]
unsafe fn next_message(record: *const Datagram, array: u64, messages: u64) -> u32 {
    // SAFETY: live map values.
    unsafe {
        let Some(asking) = asking((*record).header.sock, (*record).header.generation, (*record).start_ns) else {
            return 0;
        };
        let index = if (*asking).array == array { (*asking).next } else { 0 };
        if u64::from(index) + 1 < messages {
            (*asking).array = array;
            (*asking).next = index + 1;
        } else {
            (*asking).array = 0;
        }
        index
    }
}

/// A send failed: no message of its `sendmmsg` follows.
#[inline(always)]
pub(crate) fn failed(sock: *const u8) {
    if let Some(asking) = ASKING.get_ptr_mut(sock as u64) {
        // SAFETY: a live map value.
        unsafe { (*asking).array = 0 };
    }
}

/// What is known of the socket, from now on if not before.
#[inline(always)]
fn asking(sock: u64, inode: u64, started: u64) -> Option<*mut Asking> {
    if let Some(asking) = ASKING.get_ptr_mut(sock) {
        // SAFETY: a live map value.
        if unsafe { (*asking).inode } == inode {
            return Some(asking);
        }
    }
    let new = Asking { inode, array: 0, started, next: 0, received: 0 };
    ASKING.insert(sock, &new, ANY).ok()?;
    ASKING.get_ptr_mut(sock)
}

/// One message of a `sendmmsg` that is over, at this address of the process: its length is returned, it and the buffer are
/// left in the scratch.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn message_sent(message: u64) -> u32 {
    let Some(scratch) = scratch::at(slot::DATAGRAM) else { return 0 };
    let mut length = 0u32;
    // SAFETY: a map value; user addresses, whose faults are reported.
    unsafe {
        bpf_probe_read_user((&raw mut length).cast(), 4, message.wrapping_add(registers::MSG_LENGTH) as *const _);
        (*record_in(scratch)).length = length;
        registers::of_message(message).store(scratch);
    }
    length
}

/// Counts the datagram whose record lies in the scratch, with where its bytes are, reads it and sends it on.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn datagram_moved() -> u32 {
    let Some(scratch) = scratch::at(slot::DATAGRAM) else { return 0 };
    // SAFETY: live map values.
    unsafe {
        let record = record_in(scratch);
        let header = &raw mut (*record).header;
        let Some(asking) = asking((*header).sock, (*header).generation, (*record).start_ns) else { return 0 };
        let outbound = (*header).direction == OUTBOUND;
        if !outbound {
            (*asking).received = (*asking).received.wrapping_add(1);
        }
        (*record).received = (*asking).received;
        (*header).flags = 0;
        let length = u64::from((*record).length);
        let wanted = if length < MAX_DATAGRAM as u64 { length } else { MAX_DATAGRAM as u64 };
        let copied = buffer::bounded(buffer::copy_payload(slot::DATAGRAM, 0, wanted));
        (*header).captured = copied;
        if copied == 0 {
            (*header).flags = record::flag::NO_PAYLOAD;
        }
        if outbound {
            asked_for();
        }
        count(Counter::Datagrams, 1);
        let size = size_of::<Datagram>() as u64 + u64::from(copied);
        output::send((*asking).started, record.cast(), size);
    }
    0
}

/// Notes which request the query in the scratch is made for.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn asked_for() -> u32 {
    let Some(scratch) = scratch::at(slot::DATAGRAM) else { return 0 };
    // SAFETY: a record in the scratch; live map values; the current task calls.
    unsafe {
        let record = record_in(scratch);
        let caller = task::caller(task::pid_tgid());
        let mut owner: RequestReference = reference::NOTHING;
        let found = find::working_on(table::kind_of(caller.tgid), &caller, &raw mut owner);
        (*record).parent_method = u16::from(method::NONE);
        let Some(request) = reference::resolve(&owner) else { return 0 };
        output::copy_words(&raw mut (*record).trace_id, &raw const (*request).context.trace_id);
        (*record).parent_span_id = owner.span_id.to_ne_bytes();
        if reference::resolve(&owner).is_some() {
            (*record).parent_method = u16::from(found);
        } else {
            // Answered, and another one came, while this was copied.
            (*record).trace_id = [0; 16];
            (*record).parent_span_id = [0; 8];
        }
    }
    0
}

/// The socket is closed.
#[inline(always)]
pub(crate) fn destroyed(sock: *const u8) {
    let key = sock as u64;
    let Some(asking) = ASKING.get_ptr(key) else { return };
    // SAFETY: a live map value; the record is on the stack.
    unsafe {
        let mut record = core::mem::MaybeUninit::<Datagram>::uninit();
        let at = record.as_mut_ptr();
        fill(at, key, (*asking).inode, INBOUND, task::pid_tgid(), 0);
        (*at).header.kind = record::kind::DATAGRAMS_CLOSED;
        (*at).received = (*asking).received;
        let started = (*asking).started;
        let _ = ASKING.remove(key);
        output::send(started, at.cast(), size_of::<Datagram>() as u64);
    }
}
