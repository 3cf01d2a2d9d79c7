//! TLS connections of which nothing is shipped. Contexts cross them all the same, since whose bytes they are can be seen.
//! (Those whose records are shipped: `records`.)
//!
//! Both ends know a TLS connection by its first record. The client's end says for
//! which request it writes, before the bytes leave: *these bytes, from here to there, are that request's*. The server's end
//! looks that up for what it has read, and whoever read it works for that request from then on, as for one that came in
//! the open. So what it calls gets the client's request as its parent: the hop between has no span of its own.
//!
//! On one host the claim is the handoff's entry of the connection; between hosts it is the TCP option on the segment that
//! begins a run, good for that run.
//!
//! A wrong parent is worse than none:
//! - Only where the client offers HTTP/1.1 or nothing by name (`hello`). HTTP/2 puts many requests on one connection.
//! - A claim is good for bytes that lie in it whole. What was missed, or came in one read with somebody else's, is nobody's,
//!   and so is the rest of that run. The handshake's bytes, which both ends follow record by record (`handshake`), do not count.
//! - A client that writes for two requests in one run shares the connection between them (own protocols do): nothing
//!   passes on it any more. If it is not known for whom it writes on, nothing passes until the next run.
//! - A server that was told of a second request before it answered the first: the same.
//! - Alerts and key updates are known by their length, and begin nothing.
//!
//! TLS 1.3's session tickets, which servers write behind the handshake, look like an answer. Servers that read record
//! by record (OpenSSL does so) have not read the request by then. For one that reads ahead, and sends tickets after it
//! got the handshake's end and the first request in one read, that request is answered with the tickets.
//!
//! Cost: nothing for connections on which nothing can pass (an ignored one's lookup). Otherwise one lookup and, at the
//! client, one update a call; at a run's beginning what a request in the open costs, without copy and record.

use observer_abi::{
    connection::{Connection, INBOUND, OUTBOUND, UPGRADED, flag, role, tls, transport},
    control::shape,
    detection,
    loss::Counter,
};

use crate::{
    carry::context::{self, HANDOFF},
    core::{
        buffer,
        call::Call,
        capture,
        connection,
        output::count,
        scratch,
    },
    detect::frames,
    kernel::globals::settings,
};
pub(crate) use super::handshake::opaque_looked_at;
use super::{
    client,
    handshake::look,
    hello, server,
};

/// Where a protocol that is not known asks for TLS, it does so within so many bytes of the client's.
const SOON: u64 = 16 * 1024;

/// Whether the call's bytes may begin TLS: the first of the request direction of a connection of which all was seen. Or later ones
/// where what is spoken is not known yet (PostgreSQL, MySQL, SMTP and others ask for TLS first), or the client asked for something
/// else to follow (a proxy, for a tunnel).
///
/// # Safety
/// `entry` is a live map value.
#[inline(always)]
pub(crate) unsafe fn may_begin(entry: *const Connection, call: &Call) -> bool {
    let direction = if call.direction == u32::from(INBOUND) { INBOUND } else { OUTBOUND };
    // SAFETY: as promised.
    unsafe {
        if (*entry).flags & flag::FROM_START == 0 || !connection::is_request((*entry).role, direction) {
            return false;
        }
        if call.start == 0 {
            return (*entry).shape == shape::PROBE;
        }
        let may_follow = (*entry).tls & tls::MAY_FOLLOW != 0
            || ((*entry).protocol == detection::UNKNOWN_PROTOCOL && call.start < SOON);
        may_follow && (*entry).tcp == transport::TCP
    }
}

/// Looks at those bytes: 1 where the connection is TLS from here on. The scratch's payload is overwritten.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn opaque_begun(slot: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return 0 };
    // SAFETY: live map values.
    unsafe {
        let call = &(*scratch).call;
        let Some(entry) = connection::of(call) else { return 0 };
        let payload: *const u8 = (&raw const (*scratch).payload).cast();
        let length = call.end.wrapping_sub(call.start);
        let first = buffer::copy_payload(slot, 0, length.min(hello::HEAD + hello::MESSAGE)) as u32;
        let upgraded = call.start != 0;
        if !(if upgraded { hello::is_tls_inside(payload, first, length) } else { hello::is_tls(payload, first) }) {
            return 0;
        }
        let copied = buffer::copy_payload(slot, 0, length) as u32;
        if (*entry).generation != call.generation {
            // Given to another connection while the bytes were copied.
            return 0;
        }
        // Its end is told, since it was announced.
        (*entry).flags |= flag::ACTIVE;
        if upgraded {
            upgrade(entry);
        }
        (*entry).tls = 0;
        let is_server = (*entry).role == role::SERVER;
        if settings().tls() != 0 && (*entry).tcp == transport::TCP {
            (*entry).shape = shape::RECORDS;
            if hello::hello_offers_turns(slot, copied, 0) != 0 {
                (*entry).tls = tls::TURNS;
            }
            (*entry).tls |= tls::BEGINS;
            if upgraded {
                frames::frames_upgraded(slot);
            }
            if !is_server && (*entry).tls & tls::TURNS != 0 {
                count(Counter::Opaque, 1);
            }
            return 1;
        }
        (*entry).shape = shape::OPAQUE;
        if upgraded {
            frames::frames_upgraded(slot);
        }
        if !is_server && hello::hello_offers_turns(slot, copied, 0) == 0 {
            (*entry).shape = shape::IGNORE;
        }
    }
    1
}

/// Whatever the connection was, it is so no more: what begins now is its first run.
#[inline(always)]
unsafe fn upgrade(entry: *mut Connection) {
    // SAFETY: as the callers promise; indices are 0 and 1.
    unsafe {
        forget(entry);
        (*entry).context.parent_span_id = [0; 8];
        (*entry).protocol = detection::UNKNOWN_PROTOCOL;
        (*entry).flags &= !flag::HEAD_ENDED;
        let mut index = 0;
        while index < 2 {
            let direction = &raw mut (*entry).directions[index];
            (*direction).runs = UPGRADED;
            (*direction).other_at_start = u64::MAX;
            (*direction).shipped = 0;
            index += 1;
        }
    }
}

/// Such a connection began, and its first records were looked at.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn opaque_opened(slot: u32, look: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return 0 };
    // SAFETY: live map values.
    unsafe {
        let Some(entry) = connection::of(&(*scratch).call) else { return 0 };
        if look == look::LOST {
            (*entry).shape = shape::IGNORE;
        } else if (*entry).role != role::SERVER && (*entry).shape == shape::OPAQUE {
            count(Counter::Opaque, 1);
            // So that the other end knows that this one tells.
            client::claim(entry, scratch, (*scratch).call.start, 0);
        }
    }
    0
}

/// Takes the call on an opaque connection that lies in the scratch of `slot`, once it was looked at.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn opaque_moved(slot: u32, look: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return 0 };
    // SAFETY: live map values.
    unsafe {
        let call = &(*scratch).call;
        let Some(entry) = connection::of(call) else { return 0 };
        let inbound = call.direction == u32::from(INBOUND);
        if look == look::LOST {
            forget(entry);
            (*entry).shape = shape::IGNORE;
        } else if look == look::HANDSHAKE {
            // It is nobody's.
        } else if (*entry).role == role::CLIENT && !inbound {
            let opens = client::opaque_writer(slot, look);
            client::opaque_written(slot, look, opens);
        } else if (*entry).role == role::SERVER && inbound {
            server::opaque_read(slot, look);
        }
        capture::account(entry, &raw mut (*entry).directions[usize::from(!inbound)], call, 0);
    }
    0
}

/// The kernel encrypts one of its directions (kernel TLS), which is not seen here: when a request is answered, say.
///
/// # Safety
/// `entry` is a live map value.
#[inline(always)]
pub(crate) unsafe fn halved(entry: *mut Connection) {
    // SAFETY: as promised.
    unsafe {
        forget(entry);
        (*entry).shape = shape::IGNORE;
    }
}

/// The connection at `sock` ended.
///
/// # Safety
/// `entry` is its live map value.
#[inline(always)]
pub(crate) unsafe fn ended(sock: u64, entry: *const Connection) {
    // SAFETY: as promised.
    unsafe {
        if matches!((*entry).shape, shape::OPAQUE | shape::RECORDS | shape::FRAMES | shape::IGNORE) {
            frames::ended(sock);
        }
        if matches!((*entry).shape, shape::OPAQUE | shape::RECORDS) && (*entry).role == role::CLIENT {
            let _ = HANDOFF.remove(context::handoff_key(&*entry, 0));
            if (*entry).tls & tls::TICKETS != 0 {
                let _ = HANDOFF.remove(context::handoff_key(&*entry, client::BEFORE));
            }
        }
    }
}

/// Nothing passes on the connection any more.
#[inline(always)]
pub(super) unsafe fn give_up(entry: *mut Connection) {
    // SAFETY: as the callers promise.
    unsafe {
        forget(entry);
        if (*entry).shape == shape::RECORDS {
            (*entry).tls = (*entry).tls & !tls::TURNS | tls::NOBODYS;
        } else {
            (*entry).shape = shape::IGNORE;
        }
    }
}

/// The entry's context is nobody's.
#[inline(always)]
pub(crate) unsafe fn forget(entry: *mut Connection) {
    // SAFETY: as the callers promise.
    unsafe {
        (&raw mut (*entry).context.trace_id).cast::<[u64; 2]>().write_volatile([0; 2]);
        (*entry).context.span_id = [0; 8];
    }
}
