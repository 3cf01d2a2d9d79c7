//! Spare programs, for kernels whose code can be preempted.
//!
//! The kernel leaves a program out where the CPU is in the middle of it already (`bpf_prog_inc_misses_counter`). Where
//! kernel code can be preempted (`preempt=lazy` or `full`: the only choices on x86 from 7.0 on), a task that loses its
//! CPU in there makes the program miss everybody else's calls until it is back. So there the hooks have a second program
//! each, which works where the first one was left out. What first programs missed and no spare took over is lost, and
//! counted: `observer_lost_total{reason="program_missed"}`. (Switching preemption off inside does not help: it then
//! happens where it is switched on again, which is inside, too.)
//!
//! A first program leaves a mark behind when it is through; its spare, which must be the next on the hook, takes the mark
//! away, or finds none and works. The mark is the thread's, not the CPU's: between the two the thread may lose its CPU,
//! and go on on another one.
//!
//! Cost of a spare: about 10 ns a call. Whether there are spares is a setting, so other kernels pay nothing.

use aya_ebpf::{helpers::generated::bpf_get_smp_processor_id, macros::map, maps::Array};
use observer_abi::loss::Counter;

use crate::{
    core::{output::count, scratch::slot},
    kernel::{globals::settings, task},
};

/// Kernel: whom a first program has served and its spare has not looked at since, by `spare::program` and the low bits of
/// `spare::owner`.
#[map]
pub(crate) static SERVED: Array<u32> = Array::with_max_entries(program::COUNT * PLACES, 0);

/// A first program's number. Programs on one hook of which only one is loaded share it.
pub(crate) mod program {
    pub(crate) const SENDING: u32 = 0;
    pub(crate) const SENT: u32 = 1;
    pub(crate) const RECEIVED: u32 = 2;
    pub(crate) const UNIX_SENT: u32 = 3;
    pub(crate) const UNIX_RECEIVED: u32 = 4;
    pub(crate) const STATE_CHANGED: u32 = 5;
    pub(crate) const STATE_DESTROYED: u32 = 6;
    pub(crate) const EXEC: u32 = 7;
    pub(crate) const FORK: u32 = 8;
    pub(crate) const EXIT: u32 = 9;
    pub(crate) const SYSCALL_ENTERED: u32 = 10;
    pub(crate) const SYSCALL_LEFT: u32 = 11;
    pub(crate) const TLS_SENDING: u32 = 12;
    pub(crate) const TLS_SENT: u32 = 13;
    pub(crate) const TLS_RECEIVED: u32 = 14;
    pub(crate) const UDP_SENT: u32 = 15;
    pub(crate) const UDP6_SENT: u32 = 16;
    pub(crate) const UDP_RECEIVED: u32 = 17;
    pub(crate) const UDP6_RECEIVED: u32 = 18;
    pub(crate) const RING_SUBMITTED: u32 = 19;
    pub(crate) const RING_WOKEN: u32 = 20;
    pub(crate) const RING_COMPLETED: u32 = 21;
    /// How many there are.
    pub(crate) const COUNT: u32 = 22;
}

/// A first program is through with its work.
#[inline(always)]
pub(crate) fn served(program: u32) {
    if settings().spares() != 0 {
        leave_mark(program);
    }
}

/// Whether a spare has work to do: the first program could not run.
#[inline(always)]
pub(crate) fn is_wanted(program: u32) -> bool {
    if take_mark(program) {
        return false;
    }
    count(Counter::SpareRan, 1);
    true
}

/// Places of marks, by the low bits of who leaves them: a power of two. Where two threads share a place, and both have
/// lost their CPU between program and spare, a spare works beside its first program.
pub(crate) const PLACES: u32 = 1024;

/// The thread; the CPU where it is idle and an interrupt works: idle threads have one number, 0.
#[inline(always)]
fn owner() -> u32 {
    match task::pid_tgid() as u32 {
        // SAFETY: a helper without arguments.
        0 => 1 << 31 | unsafe { bpf_get_smp_processor_id() },
        tid => tid,
    }
}

#[inline(always)]
fn place(program: u32, owner: u32) -> Option<*mut u32> {
    SERVED.get_ptr_mut(program * PLACES + (owner & (PLACES - 1)))
}

#[inline(always)]
fn leave_mark(program: u32) {
    let owner = owner();
    if let Some(mark) = place(program, owner) {
        // SAFETY: a live map value.
        unsafe { mark.write_volatile(owner) };
    }
}

/// Whether the first program left a mark.
#[inline(always)]
fn take_mark(program: u32) -> bool {
    let owner = owner();
    let Some(mark) = place(program, owner) else { return true };
    // SAFETY: a live map value.
    unsafe {
        let left = mark.read_volatile() == owner;
        if left {
            mark.write_volatile(0);
        }
        left
    }
}

/// The scratch slot of a program, or of its spare.
#[inline(always)]
pub(crate) const fn slot_of(slot: u32, is_spare: bool) -> u32 {
    if is_spare { slot + slot::COUNT } else { slot }
}

/// Declares a program and its spare: hook, names, context, number and work, which is given the context and whether it is
/// the spare.
macro_rules! spared {
    (#[$hook:meta] $name:ident, $spare:ident, $context:ty, $number:ident, |$ctx:ident, $is_spare:ident| $work:expr) => {
        #[$hook]
        // One function with what the hook's macro makes around it, for the sake of the stack.
        #[inline(always)]
        pub(crate) fn $name($ctx: $context) -> i32 {
            let $is_spare = false;
            // Not a closure: one that is not taken into the program has a stack of its own, and there is no room for that.
            $work;
            $crate::tier::spare::served($crate::tier::spare::program::$number);
            0
        }

        #[$hook]
        #[inline(always)]
        pub(crate) fn $spare($ctx: $context) -> i32 {
            let $is_spare = true;
            if $crate::tier::spare::is_wanted($crate::tier::spare::program::$number) {
                $work;
            }
            0
        }
    };
}
pub(crate) use spared;
