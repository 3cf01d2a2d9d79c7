//! The walker of framed streams: where each frame begins, how long it is, and of which type, in both directions of a
//! connection. What a header looks like is a row of numbers, which the daemon hands over; the arithmetic is in
//! `observer_abi::frames`.
//!
//! Cost: a lookup a call, and a read of sixteen bytes a frame.

use aya_ebpf::{macros::map, maps::LruHashMap};
use observer_abi::{
    connection::OUTBOUND,
    frames::{Framed, Layout, Layouts, MAX_HEADER, MAX_LAYOUTS, Step, Walk, walk},
    loss::Counter,
};

use crate::core::{
    buffer::{self, barrier},
    call::Call,
    connection,
    output::count,
    scratch::{self, Scratch},
};

/// Set by the daemon before load.
#[unsafe(no_mangle)]
static LAYOUTS: Layouts = NO_LAYOUTS;

// SAFETY: integers only.
const NO_LAYOUTS: Layouts = unsafe { core::mem::zeroed() };

/// Kernel: how far the frames of a connection have been followed, by sock address.
#[map]
static FRAMED: LruHashMap<u64, Framed> = LruHashMap::with_max_entries(4096, 0);

/// BPF_ANY of `bpf_map_update_elem`.
const ANY: u64 = 0;

/// Frames of a call that are followed. Past them the way is lost, until a call begins with a frame.
const MAX_FRAMES: u32 = 24;

/// What [`frames_begin`] and [`frames_step`] say besides where in the call they want to see a header.
mod said {
    /// The place.
    pub(super) const PLACE: u64 = 0xffff_ffff;
    /// Where the type of the frame that begins there is.
    pub(super) const KIND: u32 = 32;
    /// A frame begins there.
    pub(super) const FRAME: u64 = 1 << 61;
    /// Nothing more begins in the call.
    pub(super) const DONE: u64 = 1 << 62;
    /// It is not known where frames begin.
    pub(super) const LOST: u64 = 1 << 63;
}

/// Follows the frames of the call in the scratch of `slot`, and has `each` look at those whose headers end in it: where in the
/// call they begin (0 where that was before), and type. Returns whether it is known where the next one begins. The first
/// bytes of the scratch's payload are overwritten.
///
/// The parts are functions called one after the other, since a chain of them has 512 bytes of stack.
#[inline(always)]
pub(crate) fn follow(slot: u32, layout: u32, mut each: impl FnMut(u64, u8)) -> bool {
    let mut said = frames_begin(slot);
    let mut frames = 0;
    while frames < MAX_FRAMES {
        if said & (said::DONE | said::LOST) != 0 {
            return said & said::LOST == 0;
        }
        let place = said & said::PLACE;
        let there = buffer::copy_payload(slot, place, u64::from(MAX_HEADER));
        said = frames_step(slot, layout, there as u32);
        if said & said::FRAME != 0 {
            each(place, (said >> said::KIND) as u8);
        }
        frames += 1;
    }
    if said & (said::DONE | said::LOST) == 0 {
        frames_lose(slot);
        return false;
    }
    said & said::LOST == 0
}

/// The call in the scratch moves bytes of a framed stream: where its first header is.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn frames_begin(slot: u32) -> u64 {
    let Some(scratch) = scratch::at(slot) else { return said::LOST };
    // SAFETY: live map values.
    unsafe {
        let call = &raw const (*scratch).call;
        let Some(entry) = connection::of(&*call) else { return said::LOST };
        let Some(framed) = framed((*call).sock, (*entry).generation, scratch) else { return said::LOST };
        let walk = &mut *walk_of(framed, call);
        let gaps = walk.gaps;
        walk.begin((*call).start);
        if walk.wants() < (*call).end && !buffer::is_known(scratch) {
            walk.lose();
        }
        if walk.gaps != gaps {
            count(Counter::FrameGap, 1);
        }
        if walk.state == walk::LOST && !buffer::is_known(scratch) { said::LOST } else { place(walk, call, 0) }
    }
}

/// Goes on by one frame, of whose header `there` bytes lie in the scratch's payload.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn frames_step(slot: u32, layout: u32, there: u32) -> u64 {
    let Some(scratch) = scratch::at(slot) else { return said::LOST };
    // SAFETY: live map values; the payload's room is larger than what is looked at. A static.
    unsafe {
        let call = &raw const (*scratch).call;
        let Some(framed) = FRAMED.get_ptr_mut((*call).sock) else { return said::LOST };
        let walk = &mut *walk_of(framed, call);
        // So that the compiler does not take the row for the zeros that it was compiled with.
        let layout = &raw const LAYOUTS.rows[layout as usize & (MAX_LAYOUTS - 1)];
        let layout = &*(barrier(layout as u64) as *const Layout);
        let words = (&raw const (*scratch).payload).cast::<u64>();
        let bytes = [u64::from_be(words.read_volatile()), u64::from_be(words.add(1).read_volatile())];
        let gaps = walk.gaps;
        let memory = &raw mut (*scratch).found[0];
        let settle = |word: u64| {
            memory.write_volatile(word);
            memory.read_volatile()
        };
        let step = walk.step(layout, (*call).end, bytes, there, settle);
        if walk.gaps != gaps {
            count(Counter::FrameGap, 1);
        }
        match step {
            Step::Frame { kind, .. } => {
                let outbound = (*call).direction == u32::from(OUTBOUND);
                count(if outbound { Counter::FramesSent } else { Counter::FramesReceived }, 1);
                place(walk, call, said::FRAME | u64::from(kind) << said::KIND)
            }
            Step::Done => said::DONE,
            Step::Lost => said::LOST,
        }
    }
}

/// More frames begin in the call than are followed.
#[inline(always)]
fn frames_lose(slot: u32) {
    let Some(scratch) = scratch::at(slot) else { return };
    // SAFETY: live map values.
    unsafe {
        let call = &raw const (*scratch).call;
        if let Some(framed) = FRAMED.get_ptr_mut((*call).sock) {
            (*walk_of(framed, call)).lose();
            count(Counter::FrameGap, 1);
        }
    }
}

/// Where in the call the next header is wanted.
#[inline(always)]
unsafe fn place(walk: &Walk, call: *const Call, with: u64) -> u64 {
    let wants = walk.wants();
    // SAFETY: a map value.
    let (start, end) = unsafe { ((*call).start, (*call).end) };
    if wants >= end { with | said::DONE } else { with | (wants.wrapping_sub(start) & said::PLACE) }
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

/// How far the frames of this connection have been followed; from its beginning where nothing is known.
#[inline(always)]
unsafe fn framed(sock: u64, generation: u64, scratch: *mut Scratch) -> Option<*mut Framed> {
    // SAFETY: map values.
    unsafe {
        if let Some(known) = FRAMED.get_ptr_mut(sock) {
            if (*known).generation == generation {
                return Some(known);
            }
        }
        // In the scratch, where a record would be: there is little room on the stack.
        let new: *mut Framed = (&raw mut (*scratch).opened).cast();
        let words = new.cast::<u64>();
        let mut index = 0;
        while index < size_of::<Framed>() / 8 {
            words.add(index).write_volatile(0);
            index += 1;
        }
        (*new).generation = generation;
        FRAMED.insert(sock, &*new, ANY).ok()?;
        FRAMED.get_ptr_mut(sock)
    }
}

/// The connection ended.
#[inline(always)]
pub(crate) fn ended(sock: u64) {
    let _ = FRAMED.remove(sock);
}
