//! Rings and counters.

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::generated::{bpf_ringbuf_output, bpf_ringbuf_query},
    maps::RingBuf,
};
use observer_abi::loss::Counter;

use crate::{
    globals::settings,
    maps::{COUNTERS, RECORDS_0, RECORDS_1, RECORDS_2, RECORDS_3, SLEEPING},
};

/// Adds to a counter of this CPU.
#[inline(always)]
pub(crate) fn count(counter: Counter, by: u64) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: a per-CPU value; an interrupt may at worst lose one increment.
        unsafe { *value = (*value).wrapping_add(by) };
    }
}

/// Sends `length` bytes at `data` to the ring of the connection with this generation. Returns whether they fitted.
///
/// # Safety
/// `data` points at `length` readable bytes in a map value.
#[inline(always)]
pub(crate) unsafe fn send(generation: u64, data: *const u8, length: u64) -> bool {
    // By generation, not by sock address: the verifier allows no arithmetic on that. Its ns are as good as random.
    let shard = ((generation >> 3) ^ (generation >> 13)) as u32 & settings().ring_mask();
    // SAFETY: passed on.
    let sent = unsafe {
        match shard {
            0 => send_to(&RECORDS_0, 0, data, length),
            1 => send_to(&RECORDS_1, 1, data, length),
            2 => send_to(&RECORDS_2, 2, data, length),
            _ => send_to(&RECORDS_3, 3, data, length),
        }
    };
    if sent {
        count(Counter::Records, 1);
        count(Counter::RecordBytes, length);
    } else {
        count(Counter::RingFull, 1);
    }
    sent
}

/// No wake-up: the reader polls. Only one that found nothing for a while sleeps until it is woken, and a ring that fills
/// faster than it is polled wakes it, too.
///
/// # Safety
/// As for [`send`].
#[inline(always)]
unsafe fn send_to(ring: &RingBuf, shard: u32, data: *const u8, length: u64) -> bool {
    let map = core::ptr::from_ref(ring).cast_mut().cast();
    // SAFETY: a map of the ring type, and as above.
    unsafe {
        let waiting = bpf_ringbuf_query(map, BPF_RB_AVAIL_DATA as u64);
        let sleeps = match SLEEPING.get_ptr(shard) {
            Some(sleeps) => *sleeps != 0,
            None => false,
        };
        let wake = sleeps || waiting > settings().wake_bytes() as u64;
        let flags = if wake { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP };
        bpf_ringbuf_output(map, data.cast_mut().cast(), length, flags as u64) == 0
    }
}

/// Copies a value by words. (A plain assignment of a large struct becomes a call to a byte-wise `memcpy`.)
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
