//! What is put above TCP: sockets whose calls are not TCP's own any more, kernel TLS among them.
//!
//! Relies on: `struct proto`, `struct tcp_ulp_ops` (4.13).

use aya_ebpf::{macros::map, maps::Array};
use observer_abi::connection::{INBOUND, OUTBOUND};

use crate::kernel::{
    globals::offset,
    read::{Direct, KernelRead},
    sock,
};

/// Kernel: what TCP's own `recvmsg` and `sendmsg` are, so that others (kernel TLS) show; and `tls_sw_sendmsg`.
#[map]
pub(crate) static PLAIN_CALLS: Array<[u64; 3]> = Array::with_max_entries(1, 0);

/// `tcp_ulp_ops.name`, its first four bytes.
const TLS: u32 = u32::from_ne_bytes(*b"tls\0");

/// Notes TCP's own calls, from a connection that nothing can have been put above yet.
///
/// # Safety
/// `sock` is a typed sock that was just established, `tcp` the same, see [`sock::tcp`].
#[inline(always)]
pub(crate) unsafe fn learn(sock: *const u8, tcp: *const u8) {
    // SAFETY: as promised; each null is checked before it is followed.
    unsafe {
        let above: *const u8 = Direct::read(tcp, offset!(sock_protocol_above));
        let calls: *const u8 = Direct::read(sock, offset!(sock_prot));
        if !above.is_null() || calls.is_null() {
            return;
        }
        if let Some(plain) = PLAIN_CALLS.get_ptr_mut(0) {
            (*plain)[INBOUND as usize] = Direct::read::<u64>(calls, offset!(proto_recvmsg));
            (*plain)[OUTBOUND as usize] = Direct::read::<u64>(calls, offset!(proto_sendmsg));
        }
    }
}

/// Whether a direction's call is not TCP's own any more.
///
/// # Safety
/// As for [`is_on`].
#[inline(always)]
pub(crate) unsafe fn is_replaced<R: KernelRead>(sock: *const u8, direction: u8) -> bool {
    // SAFETY: as the callers promise.
    unsafe {
        let Some(plain) = PLAIN_CALLS.get_ptr(0) else { return false };
        let calls: *const u8 = R::read(sock, offset!(sock_prot));
        if calls.is_null() {
            return false;
        }
        let (call, plain): (u64, u64) = if direction == INBOUND {
            (R::read(calls, offset!(proto_recvmsg)), (*plain)[INBOUND as usize])
        } else {
            (R::read(calls, offset!(proto_sendmsg)), (*plain)[OUTBOUND as usize])
        };
        plain != 0 && call != plain
    }
}

/// Whether the kernel decrypts what is read from a TCP sock, or encrypts what is written.
///
/// # Safety
/// `sock` is a TCP sock, see [`KernelRead`].
#[inline(always)]
pub(crate) unsafe fn is_on<R: KernelRead>(sock: *const u8, direction: u8) -> bool {
    // SAFETY: as promised; each null is checked before it is followed.
    unsafe {
        if !is_replaced::<R>(sock, direction) {
            return false;
        }
        let Some(tcp) = sock::tcp::<R>(sock) else { return false };
        let above: *const u8 = R::read(tcp, offset!(sock_protocol_above));
        !above.is_null() && R::read::<u32>(above, offset!(ulp_name)) == TLS
    }
}

/// Whether one direction of a sock whose other one is TCP's own is the kernel's: what passes that way is not seen there.
///
/// # Safety
/// As for [`is_on`].
#[inline(always)]
pub(crate) unsafe fn is_half_on<R: KernelRead>(sock: *const u8, plain: u8) -> bool {
    // SAFETY: as promised.
    unsafe { is_on::<R>(sock, if plain == INBOUND { OUTBOUND } else { INBOUND }) }
}

/// Where [`PLAIN_CALLS`] keeps the call with which the kernel, not a network card, encrypts.
const SOFTWARE: usize = 2;

/// The sock's `sendmsg`.
#[inline(always)]
unsafe fn send_call<R: KernelRead>(sock: *const u8) -> u64 {
    // SAFETY: as the callers promise; a null is checked before it is followed.
    unsafe {
        let calls: *const u8 = R::read(sock, offset!(sock_prot));
        if calls.is_null() { 0 } else { R::read(calls, offset!(proto_sendmsg)) }
    }
}

/// Whether this sock's sends are seen by hooks on `tls_sw_sendmsg`, as far as that is known. Else its requests would
/// seem to have no answers.
///
/// # Safety
/// As for [`is_on`].
#[inline(always)]
pub(crate) unsafe fn sends_in_software<R: KernelRead>(sock: *const u8) -> bool {
    // SAFETY: as the callers promise.
    unsafe {
        match PLAIN_CALLS.get_ptr(0) {
            Some(known) => (*known)[SOFTWARE] != 0 && (*known)[SOFTWARE] == send_call::<R>(sock),
            None => false,
        }
    }
}

/// A send by this sock's `sendmsg` is the kernel's encrypting: `tls_sw_sendmsg` was called.
///
/// # Safety
/// As for [`is_on`].
#[inline(always)]
pub(crate) unsafe fn sends_here<R: KernelRead>(sock: *const u8) {
    if let Some(known) = PLAIN_CALLS.get_ptr_mut(0) {
        // SAFETY: a live map value, and as promised.
        unsafe { (*known)[SOFTWARE] = send_call::<R>(sock) };
    }
}
