//! Room for one record and the call that it is about: programs have no other place for either.
//!
//! Each program has a scratch of its own on each CPU, and each spare. That holds without any instruction: the kernel leaves a
//! program out where it is in the middle of it already (`bpf_prog_inc_misses_counter`), programs do not change their CPU while
//! they run, and what interrupts them on it is another program. Scratches out of one pool would have to be taken and given back in
//! each call (4 ns for the two additions), and where many tasks lose their CPU inside of programs, the next would find none and
//! its call be lost. What a pool would save is room: 17 KiB a program and CPU.
//!
//! Where several programs share one, or one may be entered again (uprobes, `sk_msg`), it is [taken](take).

use aya_ebpf::{macros::map, maps::PerCpuArray};
use observer_abi::record::{LinkFound, RunOpened};

use crate::core::{call::Call, output::add};

/// Room for one record, and what is known of the call that it is about. The payload part is twice its limit, so that
/// `offset + length` of any two bounded numbers stays inside and the verifier can see it.
#[repr(C)]
pub(crate) struct Scratch {
    pub(crate) opened: RunOpened,
    pub(crate) payload: [u8; 2 * observer_abi::record::MAX_PAYLOAD],
    /// The call.
    pub(crate) call: Call,
    /// Its buffer, see `buffer::Source`.
    pub(crate) source: [u64; 4],
    /// How far bytes were copied from an array of buffers: so many of the call's, up to a buffer, and up to a byte of that.
    pub(crate) reached: [u64; 3],
    /// Bytes of the call that were told, and those behind them that are still to be.
    pub(crate) told: u64,
    pub(crate) rest: u64,
    /// How far into the call the record reaches that is being made of a piece (`frames`): behind that comes the next.
    pub(crate) until: u64,
    /// 1 where what lies between the last record and this one was counted, not lost.
    pub(crate) sure: u64,
    /// Bytes of the run that were shipped before the piece.
    pub(crate) shipped: u64,
    /// TLS: bytes of the run that are to be, whatever its records are.
    pub(crate) budget: u64,
    /// What `capture_data` returns besides the number of bytes.
    pub(crate) more: u64,
    /// An address and a length, on their way through memory.
    pub(crate) found: [u64; 2],
    /// What a call may have been made for.
    pub(crate) link: LinkFound,
}

/// Scratches, one a program: another task's or softirq work may interrupt a program, and the kernel only keeps the same
/// program from running twice on a CPU. Those of spares lie behind (`spare::slot_of`).
pub(crate) mod slot {
    pub(crate) const SENDING: u32 = 0;
    pub(crate) const SENT: u32 = 1;
    pub(crate) const RECEIVED: u32 = 2;
    pub(crate) const UNIX_SENT: u32 = 3;
    pub(crate) const UNIX_RECEIVED: u32 = 4;
    pub(crate) const TLS_SENDING: u32 = 5;
    pub(crate) const TLS_RECEIVED: u32 = 6;
    /// Of all programs on datagrams and their spares: whose it is they settle among themselves (`dns`).
    pub(crate) const DATAGRAM: u32 = 7;
    /// How many there are.
    pub(crate) const COUNT: u32 = observer_abi::control::SCRATCHES;
    /// Behind the spares', the first of the injecting program's: any task may interrupt it, so it takes what is free.
    pub(crate) const MESSAGE: u32 = 2 * COUNT;
    /// How many those are.
    pub(crate) const MESSAGES: u32 = observer_abi::control::SCRATCHES_TO_INJECT - MESSAGE;
}

#[map]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(slot::COUNT, 0);

/// The scratch of a program; see [`slot`].
#[inline(always)]
pub(crate) fn at(slot: u32) -> Option<*mut Scratch> {
    SCRATCH.get_ptr_mut(slot)
}

/// Takes what this counter, of this CPU, stands for. False where somebody has it, or is about to.
///
/// All contenders are on this CPU: tasks that lost it in the middle, and interrupts. An addition is not torn. Who finds 1 behind
/// its own is alone: everybody else's is either taken back, or comes later and finds 2. Of two that come at once each may find 2
/// and leave it; never have both. A test and a write (`if taken == 0 { taken = 1 }`) would let both in where one is preempted in
/// between.
///
/// # Safety
/// `counter` is a live per-CPU map value.
#[inline(always)]
pub(crate) unsafe fn take(counter: *mut u64) -> bool {
    // SAFETY: as promised.
    unsafe {
        add(counter, 1);
        if counter.read_volatile() == 1 {
            return true;
        }
        add(counter, u64::MAX);
    }
    false
}

/// Gives it back.
///
/// # Safety
/// It was [taken](take).
#[inline(always)]
pub(crate) unsafe fn give(counter: *mut u64) {
    // SAFETY: as promised.
    unsafe { add(counter, u64::MAX) };
}
