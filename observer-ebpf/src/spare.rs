//! Spare programs, for kernels whose code can be preempted.
//!
//! The kernel leaves a program out where the CPU is in the middle of it already (`bpf_prog_inc_misses_counter`). Where
//! kernel code can be preempted (`preempt=lazy` or `full`: the only choices on x86 from 7.0 on), a task that loses its
//! CPU in there makes the program miss everybody else's calls until it is back. So there the hooks have a second program
//! each, which works where the first one was at it, and looks at one word where it was not. What first programs missed and
//! no spare took over is lost, and counted: `observer_lost_total{reason="program_missed"}`. (Switching preemption off inside does not help: it then
//! happens where it is switched on again, which is inside, too.)
//!
//! Cost of a spare: about 10 ns a call. Whether there are spares is a setting, so other kernels pay nothing.

use observer_abi::loss::Counter;

use crate::{
    globals::settings,
    maps::{RUNNING, slot},
    output::count,
};

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
    /// How many there are.
    pub(crate) const COUNT: u32 = 15;
}

/// Does a program's work: the first program's always, its spare's (`IS_SPARE`) where the first one could not run.
#[inline(always)]
pub(crate) fn turn<const IS_SPARE: bool>(program: u32, work: impl FnOnce()) {
    if IS_SPARE {
        if !is_running(program) {
            return;
        }
        count(Counter::SpareRan, 1);
    } else {
        set_running(program, 1);
    }
    // One call, so that it is not one of a function but the work itself.
    work();
    if !IS_SPARE {
        set_running(program, 0);
    }
}

/// Whether the first program is interrupted on this CPU.
#[inline(always)]
fn is_running(program: u32) -> bool {
    match RUNNING.get_ptr(program) {
        // SAFETY: a live map value.
        Some(running) => unsafe { running.read_volatile() != 0 },
        None => false,
    }
}

#[inline(always)]
fn set_running(program: u32, value: u32) {
    if settings().spares() != 0 {
        if let Some(running) = RUNNING.get_ptr_mut(program) {
            // SAFETY: a live map value of this CPU, which no program leaves before its end.
            unsafe { running.write_volatile(value) };
        }
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
        pub(crate) fn $name($ctx: $context) -> i32 {
            let $is_spare = false;
            $crate::spare::turn::<false>($crate::spare::program::$number, || $work);
            0
        }

        #[$hook]
        pub(crate) fn $spare($ctx: $context) -> i32 {
            let $is_spare = true;
            $crate::spare::turn::<true>($crate::spare::program::$number, || $work);
            0
        }
    };
}
pub(crate) use spared;
