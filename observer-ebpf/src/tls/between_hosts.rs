//! Claims between hosts, in the TCP option: the same as for a request in the open, on the segment that begins a client's
//! run. That it is no longer good goes on any segment.

use observer_abi::{
    loss::Counter,
    option::{phase, waiting},
};

use crate::{
    carry::tcp_option::{OPTION_CONNECTIONS, copy, leave},
    core::{connection, output::count, scratch},
};

/// A client on an opaque connection writes for the request in its entry's context, from this position on.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn leave_for(slot: u32, from: u64) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return 0 };
    // SAFETY: live map values.
    unsafe {
        let sock = (*scratch).call.sock;
        let Some(connection) = connection::of(&(*scratch).call) else { return 0 };
        let Some(entry) = OPTION_CONNECTIONS.get_ptr_mut(sock) else { return 0 };
        if (*entry).phase == phase::CLIENT {
            let context = &raw const (*connection).context;
            let sequence = (*connection).outbound_base.wrapping_add(from as u32);
            leave(entry, sequence, (&raw const (*context).trace_id).cast(), (&raw const (*context).span_id).cast());
        }
    }
    0
}

/// The client goes on for nobody that is known: the next segment with room says so.
#[inline(always)]
pub(crate) fn withdraw(sock: u64) {
    if let Some(entry) = OPTION_CONNECTIONS.get_ptr_mut(sock) {
        // SAFETY: a live map value.
        unsafe {
            if (*entry).phase == phase::CLIENT {
                (&raw mut (*entry).waiting).write_volatile(waiting::WITHDRAWAL);
            }
        }
    }
}

/// What [`opaque_arrived`] says.
pub(crate) mod arrived {
    /// The other end does not tell.
    pub(crate) const NEVER: u32 = 0;
    /// Nobody's bytes.
    pub(crate) const NOTHING: u32 = 1;
    /// Those of a context that is in the connection's entry now.
    pub(crate) const NOW: u32 = 2;
    /// More for the open one.
    pub(crate) const SAME: u32 = 3;
    /// Those of another one.
    pub(crate) const SECOND: u32 = 4;
}

/// What came with the bytes of a TLS connection that a server has read, where `open` is what came with those before; `first` is the
/// position of the first that is application data. Where that is new ids, they lie in the scratch's context.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn opaque_arrived(slot: u32, first: u64, open: u64) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return arrived::NEVER };
    // SAFETY: live map values.
    unsafe {
        let call = &(*scratch).call;
        let Some(connection) = connection::of(call) else { return arrived::NEVER };
        let Some(entry) = OPTION_CONNECTIONS.get_ptr_mut(call.sock) else { return arrived::NEVER };
        if (*entry).phase != phase::SERVER {
            return arrived::NEVER;
        }
        let found = (&raw const (*entry).waiting).read_volatile();
        if found == waiting::WITHDRAWAL {
            (*entry).waiting = waiting::NOTHING;
            return arrived::NOTHING;
        }
        let sequence = (&raw const (*entry).sequence).read_volatile();
        let ahead = sequence.wrapping_sub((*connection).inbound_base.wrapping_add(first as u32)) as i32;
        if found == waiting::NOTHING || i64::from(ahead) >= call.end.wrapping_sub(first) as i64 {
            return arrived::SAME;
        }
        let context = &raw mut (*scratch).opened.context;
        copy::<4>((&raw mut (*context).trace_id).cast(), (&raw const (*entry).trace_id).cast());
        copy::<2>((&raw mut (*context).span_id).cast(), (&raw const (*entry).span_id).cast());
        // The next segment may have come meanwhile.
        let still = (&raw const (*entry).waiting).read_volatile() == waiting::CONTEXT
            && (&raw const (*entry).sequence).read_volatile() == sequence;
        (*entry).waiting = waiting::NOTHING;
        if !still {
            return arrived::NOTHING;
        }
        if open != 0 {
            let own = u64::from_ne_bytes((*context).span_id);
            return if ahead < 0 || open == own { arrived::SAME } else { arrived::SECOND };
        }
        if ahead == 0 {
            count(Counter::OptionFound, 1);
            return arrived::NOW;
        }
    }
    arrived::NOTHING
}
