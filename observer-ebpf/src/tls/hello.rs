//! What TLS shows in the clear (RFC 8446 sections 4.1.2 and 5.1, RFC 5246, RFC 7301): its records' heads, and the first
//! message, in which a client says what it would speak.
//!
//! The bytes lie in a scratch's payload. The functions with a C ABI are looked at by the verifier once, as in `capture`.

use observer_abi::record::MAX_PAYLOAD;

use crate::core::{buffer::barrier, scratch};

/// Types of records.
pub(super) mod record {
    pub(in crate::tls) const CHANGE_CIPHER_SPEC: u8 = 20;
    pub(in crate::tls) const ALERT: u8 = 21;
    pub(in crate::tls) const HANDSHAKE: u8 = 22;
    pub(in crate::tls) const APPLICATION_DATA: u8 = 23;
}
/// Bytes before a record's content: type, version, length.
pub(super) const HEAD: u64 = 5;

const CLIENT_HELLO: u64 = 1;
/// Where in a ClientHello its session id is: behind the head (4), version (2) and random (32).
const SESSION_ID: u64 = 38;
/// Extensions that are looked at.
const MAX_EXTENSIONS: u32 = 24;

/// Types of extensions.
mod extension {
    /// Application-Layer Protocol Negotiation.
    pub(super) const ALPN: u32 = 16;
    /// 0-RTT: the first request leaves before the handshake.
    pub(super) const EARLY_DATA: u32 = 42;
    /// The client says after the handshake what it speaks.
    pub(super) const NEXT_PROTOCOL: u32 = 13172;
    /// What is seen here is not what counts.
    pub(super) const ENCRYPTED_HELLO: u32 = 0xfe0d;
}

const HTTP_1_1: u64 = u64::from_be_bytes(*b"http/1.1");

/// Eight bytes as a number, the first one highest: one read, where the verifier would follow each of eight.
///
/// # Safety
/// `payload` is a scratch's, which has twice [`MAX_PAYLOAD`] bytes.
#[inline(always)]
unsafe fn word(payload: *const u8, at: u64) -> u64 {
    let at = (barrier(at) & (MAX_PAYLOAD as u64 - 1)) as usize;
    // SAFETY: within the payload's room, as promised. (x86 and the verifier there do not ask for alignment.)
    u64::from_be(unsafe { payload.add(at).cast::<u64>().read_volatile() })
}

/// # Safety
/// As for [`word`].
#[inline(always)]
unsafe fn byte(payload: *const u8, at: u64) -> u64 {
    // SAFETY: as promised.
    unsafe { word(payload, at) >> 56 }
}

/// A number of two bytes.
///
/// # Safety
/// As for [`word`].
#[inline(always)]
unsafe fn pair(payload: *const u8, at: u64) -> u64 {
    // SAFETY: as promised.
    unsafe { word(payload, at) >> 48 }
}

/// Whether a stream that begins with the payload's bytes, `copied` of which are there, is TLS: a handshake's record, of
/// any version from SSL 3 to 1.3.
///
/// # Safety
/// `payload` is a scratch's.
#[inline(always)]
pub(crate) unsafe fn is_tls(payload: *const u8, copied: u32) -> bool {
    // SAFETY: as promised.
    unsafe {
        let first = word(payload, 0);
        copied >= 3 && first >> 48 == (record::HANDSHAKE as u64) << 8 | 3 && (first >> 40) & 0xff <= 4
    }
}

/// The shortest ClientHello in a record, and the longest that fits one.
const SHORTEST: u64 = 42;
const LONGEST: u64 = 1 << 14;

/// Whether bytes in a stream's middle are a ClientHello: a record with a message of that type in it, of one length with it, as
/// long as one can be. `copied` of a call's `length` bytes are there. (OpenSSL and GnuTLS read its first five bytes alone. What
/// comes behind them is looked at then: [`hello_bytes`].)
///
/// # Safety
/// `payload` is a scratch's.
#[inline(always)]
pub(super) unsafe fn is_tls_inside(payload: *const u8, copied: u32, length: u64) -> bool {
    // SAFETY: as promised.
    unsafe {
        let content = pair(payload, 3);
        let is_record = is_tls(payload, copied) && content >= SHORTEST && content <= LONGEST;
        if length == HEAD || !is_record {
            return is_record && u64::from(copied) == HEAD;
        }
        u64::from(copied) >= HEAD + MESSAGE && hello_bytes(payload, HEAD) == content
    }
}

/// Bytes that are looked at of a message: its head, and a version.
pub(super) const MESSAGE: u64 = 6;

/// Bytes of the ClientHello that begins there; 0 where none does.
///
/// # Safety
/// As for [`word`].
#[inline(always)]
pub(super) unsafe fn hello_bytes(payload: *const u8, at: u64) -> u64 {
    // SAFETY: as promised.
    let first = unsafe { word(payload, at) };
    let is_hello = first >> 56 == CLIENT_HELLO && (first >> 24) & 0xff == 3;
    if is_hello { 4 + ((first >> 32) & 0xff_ffff) } else { 0 }
}

/// 1 where the ClientHello in the scratch is whole and offers nothing that could be multiplexed: HTTP/1.1 alone, or no
/// protocol by name. `without_head` is 1 where the head of its record was read before.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn hello_offers_turns(slot: u32, copied: u32, without_head: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return 0 };
    // SAFETY: a map value.
    unsafe {
        let payload: *const u8 = (&raw const (*scratch).payload).cast();
        let head = if without_head != 0 { 0 } else { HEAD };
        let end = head + 4 + (word(payload, head + 1) >> 40);
        let fits = if without_head != 0 { end == u64::from(copied) } else { end == HEAD + pair(payload, 3) && end <= u64::from(copied) };
        if !fits || end <= head + SESSION_ID || byte(payload, head) != CLIENT_HELLO {
            return 0;
        }
        let mut at = head + SESSION_ID;
        at += 1 + byte(payload, at);
        // Cipher suites, then compression methods.
        at += 2 + pair(payload, at);
        at += 1 + byte(payload, at);
        if at >= end {
            return u32::from(at == end);
        }
        at += 2;
        let mut seen = 0;
        while seen < MAX_EXTENSIONS {
            if at + 4 > end {
                return u32::from(at == end);
            }
            let head = word(payload, at) >> 32;
            let length = head & 0xffff;
            match (head >> 16) as u32 {
                extension::ALPN if !is_http_1_1(payload, at + 4, length) => return 0,
                extension::EARLY_DATA | extension::NEXT_PROTOCOL | extension::ENCRYPTED_HELLO => return 0,
                _ => {}
            }
            at += 4 + length;
            seen += 1;
        }
    }
    0
}

/// Whether an ALPN extension's content, a list of names, is that one name.
#[inline(always)]
unsafe fn is_http_1_1(payload: *const u8, at: u64, length: u64) -> bool {
    const NAME: u64 = 8;
    // SAFETY: as for `word`.
    unsafe { length == 3 + NAME && byte(payload, at + 2) == NAME && word(payload, at + 3) == HTTP_1_1 }
}
