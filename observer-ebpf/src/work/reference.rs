//! References to requests.
//!
//! A wrong parent is worse than none. What is kept of a request is never an id alone but a reference to where it lies, in
//! the entry of the connection that it came on: a request that was answered, whose connection ended, or after which
//! another one came resolves to nothing.

use observer_abi::{
    connection::{Connection, OUTBOUND, flag},
    context::RequestReference,
};

use crate::core::connection;

pub(crate) const NOTHING: RequestReference = RequestReference { sock: 0, generation: 0, span_id: 0 };

/// The request that is open on a server's connection.
///
/// # Safety
/// `entry` is the live map value of the sock at `sock`.
#[inline(always)]
pub(crate) unsafe fn reference(sock: u64, entry: *const Connection) -> RequestReference {
    // SAFETY: as promised.
    unsafe {
        RequestReference {
            sock,
            generation: (*entry).generation,
            span_id: u64::from_ne_bytes((*entry).context.span_id),
        }
    }
}

/// Whether no byte of the answer to the server's request has left.
///
/// # Safety
/// `entry` is a live map value.
#[inline(always)]
pub(crate) unsafe fn is_unanswered(entry: *const Connection) -> bool {
    // SAFETY: as promised.
    unsafe {
        let out = &raw const (*entry).directions[OUTBOUND as usize];
        let from = (*entry).context.response_at_open;
        (*out).end == from && (*out).announced <= from
    }
}

/// Makes references to the open request of a server's connection lead nowhere.
///
/// # Safety
/// `entry` is a live map value.
#[inline(always)]
pub(crate) unsafe fn close(entry: *mut Connection) {
    // SAFETY: as promised.
    unsafe { (*entry).context.response_at_open = u64::MAX };
}

/// The entry that the request lies in, while it is open.
#[inline(always)]
pub(crate) fn resolve(request: &RequestReference) -> Option<*const Connection> {
    if request.sock == 0 {
        return None;
    }
    let entry = connection::find(request.sock)?;
    // SAFETY: a live map value.
    let open = unsafe {
        (*entry).generation == request.generation
            && u64::from_ne_bytes((*entry).context.span_id) == request.span_id
            && is_unanswered(entry)
    };
    if open { Some(entry) } else { None }
}

#[inline(always)]
pub(crate) fn is_same(one: &RequestReference, other: &RequestReference) -> bool {
    one.sock == other.sock && one.generation == other.generation && one.span_id == other.span_id
}

/// Whether nothing but its first run was written to a client's connection: then it is for what the process connected for.
///
/// # Safety
/// `entry` is a live map value.
#[inline(always)]
pub(crate) unsafe fn is_connected_for(entry: *const Connection) -> bool {
    // SAFETY: as promised.
    unsafe { (*entry).flags & flag::FROM_START != 0 && (*entry).directions[OUTBOUND as usize].runs <= 1 }
}
