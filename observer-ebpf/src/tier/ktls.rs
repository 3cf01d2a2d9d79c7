//! Kernel TLS: sockets on which the process writes and reads plaintext, and the kernel encrypts and decrypts.
//!
//! The handshake goes through TCP's own functions as ciphertext; then the process installs the keys of a direction, and
//! the calls of that direction become another's: `sk->sk_prot` points to a table whose `sendmsg` or `recvmsg` is not
//! TCP's any more, and `icsk_ulp_ops` is named `tls`. Once both are replaced, the connection's plaintext is a stream of
//! its own, under a new generation: the daemon has long turned away from the ciphertext. A connection with one
//! direction in the kernel only (OpenSSL 3.0 to 3.1 with TLS 1.3) stays ciphertext to us.
//!
//! Positions are a count from there, as for Unix sockets. Both ends do agree on TCP's sequence number of the record
//! that a request begins with, so that is what the handoff goes by: the client's `write_seq` when it sends, and the
//! server's `copied_seq` before it reads, since a read takes whole records (from 6.0). A server's read that took less
//! from TCP than it gave had bytes left from a record before, and finds nothing.
//!
//! Relies on: what `kernel::above` does, `TLS_GET_RECORD_TYPE` and `TLS_SET_RECORD_TYPE` messages for
//! records that are no data (4.17). Cost: for any other socket one pointer and one comparison a call, where a tier's
//! hook sees both kinds. Limits: where a network card encrypts, the functions are others: only the `socket` and
//! `syscall` tiers see such a connection, the others leave it alone.

use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_probe_read_user};
use observer_abi::{
    connection::{Connection, Direction, INBOUND, OUTBOUND, flag, transport},
    context::{Context, HandoffKey},
    control::shape,
};

use crate::{
    core::{
        admission::{self, Verdict},
        call::{self, Call},
        capture,
        connection,
        scratch,
    },
    kernel::{
        above,
        globals::{offset, settings},
        iterator,
        read::KernelRead,
        sock::{self, Kind},
        task,
    },
    life::tcp_state,
    tier::socket::{self, Buffer, MSG_PEEK, MSG_TRUNC, Moved},
};

/// The least that a record is longer than its plaintext: header and tag (`TLS_HEADER_SIZE`, 16 bytes of every cipher).
const OVERHEAD: u32 = 5 + 16;

/// What a control message that tells a record's type looks like (include/uapi/linux/tls.h): `struct cmsghdr` and a byte.
mod record_type {
    pub(super) const LENGTH: u64 = 17;
    /// `SOL_TLS`, and `TLS_GET_RECORD_TYPE` in the upper half.
    pub(super) const KIND: u64 = 282 | 2 << 32;
    /// Room that it takes: `CMSG_SPACE(1)`.
    pub(super) const SPACE: u64 = 24;
    /// `TLS_RECORD_TYPE_DATA`
    pub(super) const DATA: u64 = 23;
}

/// The entry of a sock whose plaintext passes both ways, and its TCP sock; `None` for any other.
///
/// # Safety
/// As for [`above::is_on`]; called in the context of the task that moves the data.
#[inline(always)]
unsafe fn plaintext<R: KernelRead>(sock: *const u8, slot: u32) -> Option<(*mut Connection, *const u8)> {
    // SAFETY: as promised.
    unsafe {
        if !above::is_replaced::<R>(sock, INBOUND) || !above::is_on::<R>(sock, OUTBOUND) {
            return None;
        }
        let file = sock::file::<R>(sock);
        if file.is_null() {
            return None;
        }
        let entry = connection::find_or_create::<R>(sock, Kind::KernelTls, file)?;
        let tcp = sock::tcp::<R>(sock)?;
        if (*entry).tcp != transport::KERNEL_TLS {
            // By way of memory, which makes it a number.
            (*scratch::at(slot)?).call.sock = sock as u64;
            begin_plaintext(slot, sock::copied_seq::<R>(tcp), sock::write_seq::<R>(tcp));
        }
        Some((entry, tcp))
    }
}

/// The connection of the scratch's call ends as ciphertext and begins as plaintext, with the records at these sequence numbers.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn begin_plaintext(slot: u32, read: u32, written: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return 0 };
    // SAFETY: live map values; a connection's parts are integers only.
    unsafe {
        let sock = (*scratch).call.sock;
        let Some(entry) = connection::find(sock) else { return 0 };
        tcp_state::tell_end(sock, entry, scratch.cast(), 0);
        (*entry).records = [read, written];
        (*entry).generation = bpf_ktime_get_ns();
        (*entry).tcp = transport::KERNEL_TLS;
        (*entry).shape = shape::PROBE;
        (*entry).flags &= flag::FROM_START | flag::OBSERVER | flag::DENIED;
        zero::<{ size_of::<[Direction; 2]>() / 8 }>((&raw mut (*entry).directions).cast());
        zero::<{ size_of::<Context>() / 8 }>((&raw mut (*entry).context).cast());
    }
    0
}

#[inline(always)]
unsafe fn zero<const WORDS: usize>(words: *mut u64) {
    let mut index = 0;
    while index < WORDS {
        // SAFETY: the caller has so many words.
        unsafe { words.add(index).write_volatile(0) };
        index += 1;
    }
}

/// What the handoff goes by: the position of the record in TCP's stream. Its first part is not zero where it is known.
#[inline(always)]
fn record_at(base: u32, sequence: u32) -> HandoffKey {
    HandoffKey { pair: 1, position: u64::from(sequence.wrapping_sub(base)) }
}

/// A send begins: `tls_sw_sendmsg`.
///
/// # Safety
/// `sock` is a TCP sock and `message` its `struct msghdr`, see [`KernelRead`].
#[inline(always)]
pub(crate) unsafe fn sending<R: KernelRead>(sock: *const u8, message: *const u8, slot: u32) {
    // SAFETY: as promised.
    unsafe {
        above::sends_here::<R>(sock);
        let Some((entry, tcp)) = plaintext::<R>(sock, slot) else { return };
        if has_control::<R>(message) {
            return;
        }
        let pid_tgid = task::pid_tgid();
        match admission::of(entry, (pid_tgid >> 32) as u32) {
            Verdict::Taken => {}
            Verdict::Own => {
                (*entry).flags |= flag::OBSERVER;
                return;
            }
            Verdict::Ignored | Verdict::Denied => return,
        }
        let out = &raw const (*entry).directions[OUTBOUND as usize];
        let (start, count) = ((*out).end, iterator::remaining::<R>(message));
        let end = start.wrapping_add(count);
        if count == 0 || ((*entry).flags & flag::SEND_PENDING != 0 && end == (*out).announced) {
            // The same message again, from where it stopped.
            return;
        }
        let call = Call {
            sock: sock as u64,
            generation: 0,
            start,
            end,
            now: bpf_ktime_get_ns(),
            pid_tgid,
            direction: 1,
            pending: 1,
            blocking: 0,
            retry: call::retry::NO,
            place: 0,
            reserved: 0,
            peer: record_at((*entry).outbound_base, sock::write_seq::<R>(tcp)),
        };
        let file = sock::file::<R>(sock);
        let Some(scratch) = capture::tell::<R>(&call, sock, Kind::KernelTls, file, entry, slot) else { return };
        iterator::at_start::<R>(message, OUTBOUND, slot, scratch);
        capture::take(slot);
    }
}

/// That send is over: so many bytes were taken.
///
/// # Safety
/// As for [`sending`].
#[inline(always)]
pub(crate) unsafe fn sent<R: KernelRead>(sock: *const u8, message: *const u8, result: i32) {
    // SAFETY: as promised; a live map value.
    unsafe {
        if result <= 0 || has_control::<R>(message) {
            return;
        }
        let Some(entry) = connection::find(sock as u64) else { return };
        if (*entry).tcp != transport::KERNEL_TLS || (*entry).flags & flag::SEND_PENDING == 0 {
            return;
        }
        let out = &raw mut (*entry).directions[OUTBOUND as usize];
        let end = (*out).end.wrapping_add(u64::from(result as u32));
        (*out).end = end;
        (*out).last_ns = bpf_ktime_get_ns();
        if end >= (*out).announced {
            (*entry).flags &= !flag::SEND_PENDING;
        }
    }
}

/// A send whose message says what type of record it is: no data (an alert, a part of a handshake).
#[inline(always)]
unsafe fn has_control<R: KernelRead>(message: *const u8) -> bool {
    // SAFETY: as the callers promise.
    unsafe { R::read::<u64>(message, offset!(msg_control_length)) != 0 }
}

/// So many bytes were sent, seen when that is over: the record that they begin with, for [`Moved`]. `None` where they are
/// not to be told.
///
/// # Safety
/// As for [`above::is_on`]; called in the context of the task that moves the data.
#[inline(always)]
pub(crate) unsafe fn record_sent<R: KernelRead>(sock: *const u8, bytes: i32, is_data: bool, slot: u32) -> Option<u32> {
    // SAFETY: as promised.
    unsafe {
        let (entry, tcp) = plaintext::<R>(sock, slot)?;
        let record = (*entry).records[OUTBOUND as usize];
        (*entry).records[OUTBOUND as usize] = sock::write_seq::<R>(tcp);
        if bytes > 0 && is_data { Some(record) } else { None }
    }
}

/// The same of bytes that were received.
///
/// # Safety
/// As for [`record_sent`].
#[inline(always)]
pub(crate) unsafe fn record_received<R: KernelRead>(
    sock: *const u8,
    bytes: i32,
    flags: i32,
    is_data: bool,
    slot: u32,
) -> Option<u32> {
    // SAFETY: as promised.
    unsafe {
        if bytes <= 0 || flags & MSG_PEEK != 0 {
            return None;
        }
        // Where it begins only now, the record is not known.
        let known = match connection::find(sock as u64) {
            Some(entry) => (*entry).tcp == transport::KERNEL_TLS && settings().tls_records() != 0,
            None => false,
        };
        let (entry, tcp) = plaintext::<R>(sock, slot)?;
        let (record, next) = ((*entry).records[INBOUND as usize], sock::copied_seq::<R>(tcp));
        (*entry).records[INBOUND as usize] = next;
        if !is_data {
            return None;
        }
        let is_whole = next.wrapping_sub(record) >= (bytes as u32).wrapping_add(OVERHEAD);
        Some(if known && is_whole { record } else { 0 })
    }
}

/// A receive of `tls_sw_recvmsg` is over.
///
/// # Safety
/// `sock` is a TCP sock and `message` its `struct msghdr`, see [`KernelRead`].
#[inline(always)]
pub(crate) unsafe fn received<R: KernelRead>(sock: *const u8, message: *const u8, flags: i32, bytes: i32, slot: u32) {
    // SAFETY: as promised.
    unsafe {
        if !above::sends_in_software::<R>(sock) {
            return;
        }
        let is_data = is_data::<R>(message);
        let Some(record) = record_received::<R>(sock, bytes, flags, is_data, slot) else { return };
        let buffer = if flags & MSG_TRUNC != 0 { Buffer::None } else { Buffer::Message(message) };
        let moved = Moved { direction: INBOUND, bytes: bytes as u32, buffer, record };
        socket::after_call::<R>(sock, Kind::KernelTls, &moved, slot);
    }
}

/// Pages were sent: `tls_sw_sendpage`. Where they lie nobody tells.
///
/// # Safety
/// As for [`record_sent`].
#[inline(always)]
pub(crate) unsafe fn pages_sent<R: KernelRead>(sock: *const u8, bytes: i32, slot: u32) {
    // SAFETY: as promised.
    unsafe {
        if record_sent::<R>(sock, bytes, true, slot).is_some() {
            let moved = Moved { direction: OUTBOUND, bytes: bytes as u32, buffer: Buffer::None, record: 0 };
            socket::after_call::<R>(sock, Kind::KernelTls, &moved, slot);
        }
    }
}

/// The handoff's part of a call that is over, see [`record_at`].
#[inline(always)]
pub(crate) fn handoff(entry: &Connection, moved: &Moved) -> HandoffKey {
    let base = if moved.direction == INBOUND { entry.inbound_base } else { entry.outbound_base };
    if moved.record == 0 { sock::NO_PEER } else { record_at(base, moved.record) }
}

/// Whether what was received into `message` is data: the kernel has put the record's type before the place where the
/// next control message would go.
#[inline(always)]
unsafe fn is_data<R: KernelRead>(message: *const u8) -> bool {
    // SAFETY: as the callers promise.
    unsafe {
        let next: u64 = R::read(message, offset!(msg_control));
        next == 0 || is_data_at(next.wrapping_sub(record_type::SPACE))
    }
}

/// Whether a control message in user memory does not say that the record is something else than data.
///
/// # Safety
/// Called in the context of the task that received it.
#[inline(always)]
pub(crate) unsafe fn is_data_at(message: u64) -> bool {
    let mut words = [0u64; 3];
    // SAFETY: the destination has the size; what cannot be read tells nothing.
    unsafe { bpf_probe_read_user(words.as_mut_ptr().cast(), record_type::SPACE as u32, message as *const _) };
    words[0] != record_type::LENGTH || words[1] != record_type::KIND || words[2] & 0xff == record_type::DATA
}
