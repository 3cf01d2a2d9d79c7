//! Rings and counters.

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::generated::{bpf_get_prandom_u32, bpf_ringbuf_output, bpf_ringbuf_query},
    macros::map,
    maps::{Array, PerCpuArray, RingBuf},
};
use observer_abi::{
    control::MAX_RINGS,
    loss::{self, Counter},
    record::{MAX_PAYLOAD, RunData, RunOpened},
};

use crate::{
    core::{buffer::barrier, scratch},
    kernel::globals::settings,
};

/// The largest record's bytes.
const LARGEST: u64 = (size_of::<RunOpened>() + MAX_PAYLOAD) as u64;

/// Daemon: 1 where the reader of this ring sleeps until it is woken.
#[map]
pub(crate) static SLEEPING: Array<u32> = Array::with_max_entries(MAX_RINGS as u32, 0);

/// Kernel: all counters in one value per CPU, in the order of `loss::Counter`.
#[map]
pub(crate) static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(1, 0);

/// See [`COUNTERS`].
type Counters = [u64; loss::COUNTER_ROOM];

/// Records, one ring a shard.
#[map]
pub(crate) static RECORDS_0: RingBuf = RingBuf::with_byte_size(8 << 20, 0);

#[map]
pub(crate) static RECORDS_1: RingBuf = RingBuf::with_byte_size(4096, 0);

#[map]
pub(crate) static RECORDS_2: RingBuf = RingBuf::with_byte_size(4096, 0);

#[map]
pub(crate) static RECORDS_3: RingBuf = RingBuf::with_byte_size(4096, 0);

/// Adds to a counter of this CPU.
#[inline(always)]
pub(crate) fn count(counter: Counter, by: u64) {
    if let Some(counters) = COUNTERS.get_ptr_mut(0) {
        // Which one may be known at run time only: the verifier wants a bound.
        let index = barrier(u64::from(counter as u32)) & (loss::COUNTER_ROOM as u64 - 1);
        // SAFETY: a live map value, which has so many.
        unsafe { add(counters.cast::<u64>().add(index as usize), by) };
    }
}

/// Where a counter of this CPU lies.
#[inline(always)]
unsafe fn at(counters: *mut Counters, counter: Counter) -> *mut u64 {
    // SAFETY: as the callers promise, a live map value, which has them all.
    unsafe { counters.cast::<u64>().add(counter as usize) }
}

/// Adds in one instruction: an interrupt, or another task of the same CPU, between a load and a store would lose what it
/// added.
///
/// # Safety
/// `value` lies in a map value.
#[inline(always)]
pub(crate) unsafe fn add(value: *mut u64, by: u64) {
    // SAFETY: as promised. The atomic add without a result is in every version of the instruction set.
    unsafe { ::core::arch::asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) value, in(reg) by, options(nostack)) };
}

/// The ring of the connection with this generation. (The verifier allows no arithmetic on its sock's address; the ns are as
/// good as random.)
#[inline(always)]
pub(crate) fn ring_of(generation: u64) -> u32 {
    ((generation >> 3) ^ (generation >> 13)) as u32 & settings().ring_mask()
}

/// Sends `length` bytes at `data` to the ring of the connection with this generation. Returns whether they fitted.
///
/// # Safety
/// `data` points at `length` readable bytes in a map value.
#[inline(always)]
pub(crate) unsafe fn send(generation: u64, data: *const u8, length: u64) -> bool {
    // SAFETY: passed on.
    unsafe {
        let Some(counters) = COUNTERS.get_ptr_mut(0) else { return false };
        send_looking(counters, generation, data, length, true)
    }
}

/// Which of the records of a run lies in a scratch.
pub(crate) mod piece {
    /// Its first.
    pub(crate) const OPENED: u32 = 0;
    /// A later one, right before the payload.
    pub(crate) const DATA: u32 = 1;
}

/// Sends the record that lies in the scratch of `slot`, one of [`piece`], with `copied` bytes of payload, to the ring of its
/// connection. A function of its own, which the verifier looks at once a program.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn send_run(slot: u32, which: u32, copied: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return 0 };
    // SAFETY: a map value, which has room for the record and more payload than the limit.
    unsafe {
        let (record, head): (*const u8, usize) = if which == piece::OPENED {
            ((&raw const (*scratch).opened).cast(), size_of::<RunOpened>())
        } else {
            let payload: *const u8 = (&raw const (*scratch).payload).cast();
            (payload.sub(size_of::<RunData>()), size_of::<RunData>())
        };
        let length = head as u64 + u64::from(copied);
        let generation = (*record.cast::<RunData>()).header.generation;
        let Some(counters) = COUNTERS.get_ptr_mut(0) else { return 0 };
        let records = at(counters, Counter::Records).read_volatile();
        let looks = settings().wake_bytes() < SMALL || length >= LARGE || records % EVERY == 0;
        u32::from(send_looking(counters, generation, record, length, looks))
    }
}

/// # Safety
/// As for [`send`]; `counters` are those of this CPU.
#[inline(always)]
unsafe fn send_looking(
    counters: *mut Counters,
    generation: u64,
    data: *const u8,
    length: u64,
    looks: bool,
) -> bool {
    let shard = ring_of(generation);
    // SAFETY: a helper without arguments; passed on.
    let sent = unsafe {
        let one_in = settings().lose_one_in();
        let lost = one_in != 0 && (bpf_get_prandom_u32() as u32) % one_in == 0;
        match shard {
            _ if lost => false,
            0 => send_to(&RECORDS_0, 0, data, length, looks),
            1 => send_to(&RECORDS_1, 1, data, length, looks),
            2 => send_to(&RECORDS_2, 2, data, length, looks),
            _ => send_to(&RECORDS_3, 3, data, length, looks),
        }
    };
    // SAFETY: a live map value.
    unsafe {
        if sent {
            add(at(counters, Counter::Records), 1);
            add(at(counters, Counter::RecordBytes), length);
        } else {
            add(at(counters, Counter::RingFull), 1);
        }
    }
    sent
}

/// 1 where the ring is so full that its reader is behind.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn ring_fills(shard: u32) -> u32 {
    let ring = match shard {
        0 => &RECORDS_0,
        1 => &RECORDS_1,
        2 => &RECORDS_2,
        _ => &RECORDS_3,
    };
    // SAFETY: a map of the ring type.
    let used = unsafe { bpf_ringbuf_query(core::ptr::from_ref(ring).cast_mut().cast(), BPF_RB_AVAIL_DATA as u64) };
    u32::from(used > u64::from(settings().wake_bytes()))
}

/// How full the ring is, which is not free to ask, is asked with each piece of a run of so many bytes,
const LARGE: u64 = 2048;
/// and with one in so many of each CPU: what comes in between fits well into the half that is free when a reader is woken,
const EVERY: u64 = 8;
/// but for a ring that wakes its reader with less than this in it.
const SMALL: u32 = 256 << 10;

/// No wake-up: the reader polls. Only one that found nothing for a while sleeps until it is woken, and a ring that fills
/// faster than it is polled wakes it, too, where `looks` says to look for that.
///
/// # Safety
/// As for [`send`].
#[inline(always)]
unsafe fn send_to(ring: &RingBuf, shard: u32, data: *const u8, length: u64, looks: bool) -> bool {
    let map = core::ptr::from_ref(ring).cast_mut().cast();
    // SAFETY: a map of the ring type, and as above.
    unsafe {
        let filling = looks && bpf_ringbuf_query(map, BPF_RB_AVAIL_DATA as u64) > u64::from(settings().wake_bytes());
        let flags = if filling || SLEEPING.get_ptr(shard).is_some_and(|sleeps| *sleeps != 0) { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP };
        // Here, since before 5.16 the verifier forgets the bounds of what lay on the stack meanwhile.
        let length = barrier(length);
        let length = if length > LARGEST { LARGEST } else { length };
        bpf_ringbuf_output(map, data.cast_mut().cast(), length, flags as u64) == 0
    }
}

/// Copies a value by words. (A plain assignment of a large struct, or of bytes that may overlap, becomes a call to a byte-wise
/// function, which also takes 32 bytes of the stack.)
///
/// # Safety
/// `to` and `from` are valid for `T`, a struct of whole 8-byte words without padding, and do not overlap.
#[inline(always)]
pub(crate) unsafe fn copy_words<T>(to: *mut T, from: *const T) {
    let mut index = 0;
    while index < size_of::<T>() / 8 {
        // SAFETY: as promised.
        unsafe { to.cast::<u64>().add(index).write_volatile(from.cast::<u64>().add(index).read_volatile()) };
        index += 1;
    }
}

/// Writes zeros by words, for the same reason.
///
/// # Safety
/// `to` is valid for `T`, a struct of whole 8-byte words for which zeros are a value.
#[inline(always)]
pub(crate) unsafe fn zero_words<T>(to: *mut T) {
    let mut index = 0;
    while index < size_of::<T>() / 8 {
        // SAFETY: as promised.
        unsafe { to.cast::<u64>().add(index).write_volatile(0) };
        index += 1;
    }
}
