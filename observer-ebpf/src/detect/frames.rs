//! The walker of framed streams: where each frame begins, how long it is, and of which type, in both directions of a
//! connection; and which of its bytes are shipped. What a header looks like is a row of numbers, which the daemon hands over; the
//! arithmetic is in `observer_abi::frames`.
//!
//! Bytes that are shipped and lie side by side are one piece, and one record: short frames together, of a long one its first
//! bytes, and its last with what follows. A call that only goes on with a frame of which nothing more is shipped is looked up, and
//! neither read nor told.
//!
//! Cost: a lookup a call and a frame, a read of sixteen bytes a frame.

use aya_ebpf::{macros::map, maps::LruHashMap};
use observer_abi::{
    connection::{Connection, INBOUND, OUTBOUND, role},
    context::Context,
    control::shape,
    frames::{Framed, Layout, Layouts, MAX_HEADER, MAX_LAYOUTS, Step, Walk, walk},
    loss::Counter,
    record::MAX_PAYLOAD,
};

use crate::{
    core::{
        buffer::{self, barrier},
        call::{Call, retry},
        connection,
        output::{copy_words, count},
        scratch::{self, Scratch},
    },
    detect::table,
    work::reference,
};

/// Set by the daemon before load.
#[unsafe(no_mangle)]
static LAYOUTS: Layouts = NO_LAYOUTS;

// SAFETY: integers only.
const NO_LAYOUTS: Layouts = unsafe { core::mem::zeroed() };

/// Kernel: how far the frames of a connection have been followed, by sock address.
#[map]
static FRAMED: LruHashMap<u64, Framed> = LruHashMap::with_max_entries(4096, 0);

/// [`Framed::protocol`] of TLS records.
const TLS: u32 = 0;

/// BPF_ANY of `bpf_map_update_elem`.
const ANY: u64 = 0;

/// Frames that are followed at a time: of a TLS connection in a call, past which the way is lost until a call begins with a
/// frame; else in a piece, behind which the next one goes on.
const MAX_FRAMES: u32 = 24;

/// Bytes of a run's beginning that are shipped where no frame begins there, so that it can be told what else does.
const STRAY: u64 = 64;

/// What [`frames_begin`] and [`frames_step`] say besides where in the call they want to see a header.
mod said {
    /// The place.
    pub(super) const PLACE: u64 = 0xffff_ffff;
    /// Where the type of the frame that begins there is.
    pub(super) const KIND: u32 = 32;
    /// Where it is said how many bytes there may be of it, and that number's bits. (What lies behind the call's bytes is not to be
    /// read: it may be in a page that nobody has touched.)
    pub(super) const BYTES: u32 = 40;
    pub(super) const BYTES_MASK: u64 = 31;
    /// A frame was followed of a connection whose requests come in turn. Its type is told, too.
    pub(super) const TURNS: u64 = 1 << 59;
    /// Not now: the bytes can be read when the send is over.
    pub(super) const LATER: u64 = 1 << 60;
    /// A frame begins there.
    pub(super) const FRAME: u64 = 1 << 61;
    /// Nothing more begins in the call, or in the piece.
    pub(super) const DONE: u64 = 1 << 62;
    /// It is not known where frames begin.
    pub(super) const LOST: u64 = 1 << 63;
}

/// What [`frames_step`] is to do with a frame.
pub(crate) mod step {
    /// Say where it is.
    pub(crate) const TELLS: u32 = 0;
    /// See whether the piece goes on with it.
    pub(crate) const SHIPS: u32 = 1;
    /// Say where it is, before it is followed for good: it is counted then.
    pub(crate) const AHEAD: u32 = 2;
}

/// What [`frames_look`] returns.
pub(crate) mod look {
    /// The piece's bytes.
    pub(crate) const BYTES: u32 = 0xffff;
    /// There is nothing more to ship in the call.
    pub(crate) const LAST: u32 = 1 << 31;
}

/// Follows the frames of the call in the scratch of `slot`, and has `each` look at those whose headers end in it: where in the
/// call they begin (0 where that was before), and type. Returns whether it is known where the next one begins. The first
/// bytes of the scratch's payload are overwritten. `how` is [`step::TELLS`], or [`step::AHEAD`], behind which [`frames_return`] has
/// to follow.
///
/// The parts are functions called one after the other, since a chain of them has 512 bytes of stack.
#[inline(always)]
pub(crate) fn follow(slot: u32, how: u32, mut each: impl FnMut(u64, u8)) -> bool {
    let mut said = frames_begin(slot, how);
    let mut frames = 0;
    while frames < MAX_FRAMES {
        if said & (said::DONE | said::LOST) != 0 {
            return said & said::LOST == 0;
        }
        let place = said & said::PLACE;
        let there = buffer::copy_payload(slot, place, said >> said::BYTES & said::BYTES_MASK);
        said = frames_step(slot, there as u32, how);
        if said & said::FRAME != 0 {
            each(place, (said >> said::KIND) as u8);
        }
        frames += 1;
    }
    if said & (said::DONE | said::LOST) == 0 {
        if how != step::AHEAD {
            frames_missed(slot, 1);
        }
        return false;
    }
    said & said::LOST == 0
}

/// Where a walk is kept that goes [`AHEAD`](step::AHEAD), until it is back: in the scratch, where no record is made by then.
#[inline(always)]
unsafe fn kept(scratch: *mut Scratch) -> *mut Walk {
    const _: () = assert!(size_of::<Walk>() == size_of::<Context>());
    // SAFETY: a map value.
    unsafe { (&raw mut (*scratch).opened.context).cast() }
}

/// Back to where the walk was when it went [`AHEAD`](step::AHEAD).
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn frames_return(slot: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return 0 };
    // SAFETY: live map values.
    unsafe {
        let call = &raw const (*scratch).call;
        if let Some(framed) = FRAMED.get_ptr_mut((*call).sock) {
            copy_words(walk_of(framed, call), kept(scratch));
        }
    }
    0
}

/// The call in the scratch moves bytes of a framed stream: where its first header is. `how` is one of [`step`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn frames_begin(slot: u32, how: u32) -> u64 {
    let Some(scratch) = scratch::at(slot) else { return said::LOST };
    // SAFETY: live map values.
    unsafe {
        let call = &raw const (*scratch).call;
        let Some(entry) = connection::of(&*call) else { return said::LOST };
        let Some(framed) = framed((*call).sock, entry, scratch) else { return said::LOST };
        let walk = walk_of(framed, call);
        if how == step::AHEAD {
            copy_words(kept(scratch), walk);
        }
        let walk = &mut *walk;
        begin(walk, call, scratch, how);
        if walk.state == walk::LOST && !buffer::is_known(scratch) { said::LOST } else { place(walk, call, 0) }
    }
}

/// The walk comes to the call in the scratch.
#[inline(always)]
unsafe fn begin(walk: &mut Walk, call: *const Call, scratch: *const Scratch, how: u32) {
    // SAFETY: as the callers promise.
    unsafe {
        let gaps = walk.gaps;
        walk.begin((*call).start, (*call).end);
        if walk.wants() < (*call).end && !buffer::is_known(scratch) {
            walk.lose();
        }
        if walk.gaps != gaps && how != step::AHEAD {
            count(Counter::FrameGap, 1);
        }
    }
}

/// Goes on by one frame, of whose header `there` bytes lie in the scratch's payload. `how` is one of [`step`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn frames_step(slot: u32, there: u32, how: u32) -> u64 {
    let Some(scratch) = scratch::at(slot) else { return said::LOST };
    // SAFETY: live map values; the payload's room is larger than what is looked at. A static.
    unsafe {
        let call = &raw const (*scratch).call;
        let Some(framed) = FRAMED.get_ptr_mut((*call).sock) else { return said::LOST };
        let walk = &mut *walk_of(framed, call);
        let ships = how == step::SHIPS;
        if ships && there == 0 && (*call).retry != retry::NO && walk.wants() == (*call).start {
            return said::LATER;
        }
        let layout = layout_of(framed);
        let words = (&raw const (*scratch).payload).cast::<u64>();
        let bytes = [u64::from_be(words.read_volatile()), u64::from_be(words.add(1).read_volatile())];
        let gaps = walk.gaps;
        let memory = &raw mut (*scratch).found[0];
        let settle = |word: u64| {
            memory.write_volatile(word);
            memory.read_volatile()
        };
        let run = if (*framed).protocol == TLS { (*scratch).budget } else { u64::from(layout.run) };
        let left = run.saturating_sub((*scratch).shipped);
        let step = walk.step(layout, (*call).end, bytes, there, left, settle);
        if walk.gaps != gaps && how != step::AHEAD {
            count(Counter::FrameGap, 1);
        }
        match step {
            Step::Frame { kind, .. } => {
                let outbound = (*call).direction == u32::from(OUTBOUND);
                if how != step::AHEAD {
                    count(if outbound { Counter::FramesSent } else { Counter::FramesReceived }, 1);
                }
                if ships {
                    let turns = if layout.opens == 0 { 0 } else { said::TURNS | u64::from(kind) << said::KIND };
                    onwards(walk, call, (*scratch).told) | turns
                } else {
                    place(walk, call, said::FRAME | u64::from(kind) << said::KIND)
                }
            }
            Step::Done => said::DONE,
            Step::Lost => said::LOST,
        }
    }
}

/// TLS begins with the call in the scratch, in the connection's middle: its records are followed from there, and those of the
/// other direction from where that is.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn frames_upgraded(slot: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return 0 };
    // SAFETY: live map values.
    unsafe {
        let call = &raw const (*scratch).call;
        let Some(entry) = connection::of(&*call) else { return 0 };
        let inbound = (*call).direction == u32::from(INBOUND);
        let that = &raw const (*entry).directions[usize::from(inbound)];
        let other = if (*that).announced > (*that).end { (*that).announced } else { (*that).end };
        let Some(framed) = framed((*call).sock, entry, scratch) else { return 0 };
        (*framed).walks[INBOUND as usize] = Walk::from(if inbound { (*call).start } else { other });
        (*framed).walks[OUTBOUND as usize] = Walk::from(if inbound { other } else { (*call).start });
    }
    0
}

/// A run of the call in the scratch opened on a connection whose frames are shipped, with what was `found` (see
/// [`table::run_begins`]): has its frames followed from here on, where that is not done yet. Where it is not known how they lie,
/// all is shipped.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn frames_adopt(slot: u32, found: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return 0 };
    // SAFETY: live map values.
    unsafe {
        let call = &raw const (*scratch).call;
        let Some(entry) = connection::of(&*call) else { return 0 };
        let begun = found & table::begins::PROTOCOL == u32::from((*entry).protocol);
        let preface = if begun { u64::from(table::preface(found)) } else { 0 };
        let Some(framed) = framed((*call).sock, entry, scratch) else {
            (*entry).shape = shape::FULL;
            return 0;
        };
        let walk = &mut *walk_of(framed, call);
        if preface != 0 {
            // Shipped like a frame.
            let first = (*call).start.wrapping_add(preface);
            *walk = Walk::from(first);
            walk.seen = (*call).start;
        }
    }
    0
}

/// Finds the next piece of the call in the scratch, behind its `told` bytes: [`look`]. Leaves its bytes and where the next one
/// begins in the scratch. `opens` is 1 where a run begins with it. The first bytes of the scratch's payload are overwritten.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn frames_look(slot: u32, opens: u32) -> u32 {
    let mut said = frames_resume(slot);
    let mut frames = 0;
    while frames < MAX_FRAMES {
        if said & (said::DONE | said::LOST | said::LATER) != 0 {
            break;
        }
        let there = buffer::copy_payload(slot, said & said::PLACE, said >> said::BYTES & said::BYTES_MASK);
        said = frames_step(slot, there as u32, step::SHIPS);
        if said & said::TURNS != 0 {
            frames_turned(slot, (said >> said::KIND) as u32 & 0xff);
        }
        frames += 1;
    }
    frames_piece(slot, opens, (said >> 60) as u32)
}

/// Where behind what was told of the call a header is wanted, if any.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn frames_resume(slot: u32) -> u64 {
    let Some(scratch) = scratch::at(slot) else { return said::LOST };
    // SAFETY: live map values.
    unsafe {
        let call = &raw const (*scratch).call;
        let Some(entry) = connection::of(&*call) else { return said::LOST };
        let Some(framed) = framed((*call).sock, entry, scratch) else { return said::LOST };
        let walk = &mut *walk_of(framed, call);
        let told = (*scratch).told;
        if told == 0 {
            begin(walk, call, scratch, step::SHIPS);
            (*scratch).sure = u64::from(walk.broken == 0);
        } else {
            (*scratch).sure = 1;
        }
        if walk.state == walk::LOST && (told != 0 || !buffer::is_known(scratch)) {
            return said::LOST;
        }
        onwards(walk, call, told)
    }
}

/// Whether a run begins with the call in the scratch though the other direction has not moved: 0 or 1. That is so for a server whose
/// requests come in turn, where a frame begins with the call and no request is open. (php-fpm leaves the end of a request's body, and
/// reads that with the next request on a connection that is kept.)
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn frames_turn(slot: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return 0 };
    // SAFETY: live map values; a static.
    unsafe {
        let call = &raw const (*scratch).call;
        let Some(entry) = connection::of(&*call) else { return 0 };
        let inbound = (*call).direction == u32::from(INBOUND);
        if (*entry).shape != shape::FRAMES || !inbound || (*entry).role != role::SERVER {
            return 0;
        }
        let Some(framed) = FRAMED.get_ptr_mut((*call).sock) else { return 0 };
        let walk = &*walk_of(framed, call);
        let is_its = (*framed).generation == (*call).generation && layout_of(framed).opens != 0;
        u32::from(is_its && (*framed).requests == 0 && walk.next == (*call).start && walk.held_bytes == 0)
    }
}

/// How the connection's frames lie.
#[inline(always)]
unsafe fn layout_of(framed: *const Framed) -> &'static Layout {
    // SAFETY: a map value; a static.
    unsafe {
        // So that the compiler does not take the row for the zeros that it was compiled with.
        let layout = &raw const LAYOUTS.rows[(*framed).layout as usize & (MAX_LAYOUTS - 1)];
        &*(barrier(layout as u64) as *const Layout)
    }
}

/// A frame of this type was followed in the call in the scratch. Where it begins a request while another one is open, whose a call is
/// that is made then cannot be told.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn frames_turned(slot: u32, kind: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return 0 };
    // SAFETY: live map values; a static.
    unsafe {
        let call = &raw const (*scratch).call;
        let Some(framed) = FRAMED.get_ptr_mut((*call).sock) else { return 0 };
        if layout_of(framed).turn(&mut (*framed).requests, kind as u8) {
            if let Some(entry) = connection::of(&*call) {
                if (*entry).role == role::SERVER {
                    reference::close(entry);
                }
            }
        }
    }
    0
}

/// What of the call is the next piece, once frames were followed for it. `said` are the highest bits of what was [`said`] last.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn frames_piece(slot: u32, opens: u32, said: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return look::LAST };
    // SAFETY: live map values.
    unsafe {
        let call = &raw const (*scratch).call;
        (*scratch).until = (*call).end.wrapping_sub((*call).start);
        let Some(framed) = FRAMED.get_ptr_mut((*call).sock) else { return look::LAST };
        let walk = &mut *walk_of(framed, call);
        if said & (said::LATER >> 60) as u32 != 0 {
            (*scratch).call.retry = retry::WANTED;
            return look::LAST;
        }
        let lost = said & (said::LOST >> 60) as u32 != 0;
        let (start, end) = ((*call).start, (*call).end);
        let at = start.wrapping_add((*scratch).told);
        let piece = walk.piece(at, end, MAX_PAYLOAD as u64);
        let mut bytes = piece.bytes;
        let mut until = piece.until;
        if lost && bytes == 0 && opens != 0 {
            bytes = end.wrapping_sub(at).min(STRAY);
        }
        if lost {
            until = at.wrapping_add(bytes);
        }
        if bytes != 0 || opens != 0 {
            walk.broken = u32::from(lost);
        } else if lost {
            walk.broken = 1;
        }
        (*scratch).until = until.wrapping_sub(start);
        let last = lost || until >= end;
        buffer::bounded(bytes) | if last { look::LAST } else { 0 }
    }
}

/// How long each frame of the other direction than the call's in the scratch was since this was last to `forget`: see [`Walk::alike`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn frames_alike(slot: u32, forget: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return 0 };
    // SAFETY: live map values.
    unsafe {
        let call = &raw const (*scratch).call;
        let Some(framed) = FRAMED.get_ptr_mut((*call).sock) else { return 0 };
        let inbound = (*call).direction == u32::from(INBOUND);
        let alike = &raw mut (*framed).walks[usize::from(inbound)].alike;
        let found = alike.read_volatile();
        if forget != 0 {
            alike.write_volatile(0);
        }
        u32::from(found)
    }
}

/// A record of the call in the scratch did not reach its ring, or there are more pieces in it than are told.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn frames_missed(slot: u32, is_lost: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return 0 };
    // SAFETY: live map values.
    unsafe {
        let call = &raw const (*scratch).call;
        if let Some(framed) = FRAMED.get_ptr_mut((*call).sock) {
            let walk = &mut *walk_of(framed, call);
            walk.missed();
            if is_lost != 0 {
                walk.lose();
                count(Counter::FrameGap, 1);
            }
        }
    }
    0
}

/// Where in the call the next header is wanted.
#[inline(always)]
unsafe fn place(walk: &Walk, call: *const Call, with: u64) -> u64 {
    let wants = walk.wants();
    // SAFETY: a map value.
    let (start, end) = unsafe { ((*call).start, (*call).end) };
    if wants >= end {
        return with | said::DONE;
    }
    let bytes = end.wrapping_sub(wants).min(u64::from(MAX_HEADER));
    with | (wants.wrapping_sub(start) & said::PLACE) | bytes << said::BYTES
}

/// The same, where the piece that begins behind `told` bytes of the call goes on there.
#[inline(always)]
unsafe fn onwards(walk: &Walk, call: *const Call, told: u64) -> u64 {
    // SAFETY: a map value.
    let at = unsafe { (*call).start }.wrapping_add(told);
    if !walk.continues(at) || walk.wants().wrapping_sub(at) >= MAX_PAYLOAD as u64 {
        return said::DONE;
    }
    // SAFETY: passed on.
    unsafe { place(walk, call, 0) }
}

/// The walk of the call's direction.
#[inline(always)]
unsafe fn walk_of(framed: *mut Framed, call: *const Call) -> *mut Walk {
    // SAFETY: map values.
    unsafe {
        let outbound = (*call).direction == u32::from(OUTBOUND);
        &raw mut (*framed).walks[usize::from(outbound)]
    }
}

/// How far the frames of this connection have been followed. Where nothing is known they begin with each direction's first call
/// from here on; those of TLS with the connection.
#[inline(always)]
unsafe fn framed(sock: u64, entry: *const Connection, scratch: *mut Scratch) -> Option<*mut Framed> {
    // SAFETY: map values; a static.
    unsafe {
        let is_tls = matches!((*entry).shape, shape::OPAQUE | shape::RECORDS);
        let protocol = if is_tls { TLS } else { u32::from((*entry).protocol) };
        if let Some(known) = FRAMED.get_ptr_mut(sock) {
            if (*known).generation == (*entry).generation && (*known).protocol == protocol {
                return Some(known);
            }
        }
        let row = (&raw const LAYOUTS.of).cast::<u8>().add(protocol as usize & 255).read_volatile();
        if row == 0 && !is_tls {
            return None;
        }
        // In the scratch, where no record is: there is little room on the stack.
        let new: *mut Framed = (&raw mut (*scratch).payload).cast::<u8>().add(MAX_PAYLOAD).cast();
        let words = new.cast::<u64>();
        let mut index = 0;
        while index < size_of::<Framed>() / 8 {
            words.add(index).write_volatile(0);
            index += 1;
        }
        (*new).generation = (*entry).generation;
        (*new).protocol = protocol;
        if !is_tls {
            (*new).layout = u32::from(row) - 1;
            (*new).walks[INBOUND as usize].state = walk::LOST;
            (*new).walks[OUTBOUND as usize].state = walk::LOST;
        }
        FRAMED.insert(sock, &*new, ANY).ok()?;
        FRAMED.get_ptr_mut(sock)
    }
}

/// The connection ended.
#[inline(always)]
pub(crate) fn ended(sock: u64) {
    let _ = FRAMED.remove(sock);
}
