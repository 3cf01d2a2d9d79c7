//! The calling task: its start times, its process, the system call it is in.
//!
//! | helper | since | without it |
//! |---|---|---|
//! | `bpf_get_current_task_btf` | 5.11 | the task is read by address, where the kernel allows that |
//! | `bpf_task_pt_regs` | 5.15 | no saved registers |

use aya_ebpf::helpers::generated::{
    bpf_get_current_pid_tgid, bpf_get_current_task, bpf_get_current_task_btf, bpf_task_pt_regs,
};

use crate::kernel::{
    arch::registers::{IN_PROGRESS, call, register},
    globals::{offset, offsets, settings},
    read::{Direct, KernelRead, Probe},
};

/// `PF_KTHREAD` (include/linux/sched.h).
const PF_KTHREAD: u32 = 0x0020_0000;
/// `PF_IO_WORKER`: io_uring's own threads of a process.
const PF_IO_WORKER: u32 = 0x10;
/// Threads whose saved registers are not a system call's.
const PF_NO_SYSCALL: u32 = PF_KTHREAD | PF_IO_WORKER;

/// Start times of the process's leader and of the thread, ns since boot; zero where this kernel does not let them be
/// read.
#[inline(always)]
pub(crate) fn start_times() -> (u64, u64) {
    // SAFETY: helpers without arguments; typed pointers are read directly, others by address.
    unsafe {
        if settings().typed_task() != 0 {
            let task = bpf_get_current_task_btf().cast::<u8>().cast_const();
            let leader: *const u8 = Direct::read(task, offset!(task_group_leader));
            let leader_start = Direct::read(leader, offset!(task_start_boottime));
            return (leader_start, Direct::read(task, offset!(task_start_boottime)));
        }
        if settings().may_probe_read() != 0 {
            let task = bpf_get_current_task() as *const u8;
            let leader: *const u8 = Probe::read(task, offset!(task_group_leader));
            let leader_start = Probe::read(leader, offset!(task_start_boottime));
            return (leader_start, Probe::read(task, offset!(task_start_boottime)));
        }
    }
    (0, 0)
}

/// What the runtime keeps its thread's data by (x86-64: FS base); `None` where this kernel does not let it be read.
#[inline(always)]
pub(crate) fn thread_pointer() -> Option<u64> {
    // SAFETY: helpers without arguments; a typed pointer is read directly, another by address.
    unsafe {
        if settings().typed_task() != 0 {
            let task = bpf_get_current_task_btf().cast::<u8>().cast_const();
            return Some(Direct::read(task, offset!(task_thread_pointer)));
        }
        if settings().may_probe_read() != 0 {
            return Some(Probe::read(bpf_get_current_task() as *const u8, offset!(task_thread_pointer)));
        }
    }
    None
}

/// `tgid << 32 | tid` of the task that moves the data. A kernel thread that works for a process (io_uring before 5.12)
/// counts as that process's.
#[inline(always)]
pub(crate) fn pid_tgid() -> u64 {
    // SAFETY: a helper without arguments.
    let own = unsafe { bpf_get_current_pid_tgid() };
    if settings().kernel_workers() == 0 || settings().may_probe_read() == 0 || offsets().mm_owner() == u32::MAX {
        return own;
    }
    // SAFETY: read by address; a null gives zero.
    unsafe {
        let task = bpf_get_current_task() as *const u8;
        if Probe::read::<u32>(task, offset!(task_flags)) & PF_KTHREAD == 0 {
            return own;
        }
        let memory: *const u8 = Probe::read(task, offset!(task_mm));
        let owner: *const u8 = Probe::read(memory, offset!(mm_owner));
        let tgid: u32 = Probe::read(owner, offset!(task_tgid));
        if tgid == 0 { own } else { (u64::from(tgid) << 32) | (own & 0xffff_ffff) }
    }
}

/// The saved registers (`struct pt_regs`, typed), where the task is in a system call of its own.
#[inline(always)]
pub(crate) fn registers() -> Option<*const u8> {
    if settings().typed_task() == 0 || settings().task_registers() == 0 {
        return None;
    }
    // SAFETY: a typed pointer from a helper, read directly.
    unsafe {
        let task = bpf_get_current_task_btf();
        if Direct::read::<u32>(task.cast::<u8>().cast_const(), offset!(task_flags)) & PF_NO_SYSCALL != 0 {
            return None;
        }
        Some(bpf_task_pt_regs(task) as *const u8)
    }
}

/// Whether the task is at work for a ring now: the address of the request where it is the ring's worker and has that one
/// only, 0 where it may be any. In a system call only `io_uring_enter` is; on the way back from one, whichever it was,
/// the kernel lets the task go on with requests that waited.
#[inline(always)]
pub(crate) fn ring_work() -> Option<u64> {
    if settings().typed_task() == 0 || settings().task_registers() == 0 || settings().at_call_end() != 0 {
        return None;
    }
    // SAFETY: typed pointers are read directly, others by address.
    unsafe {
        let task = bpf_get_current_task_btf();
        let typed = task.cast::<u8>().cast_const();
        let flags: u32 = Direct::read(typed, offset!(task_flags));
        if flags & PF_KTHREAD != 0 {
            return None;
        }
        if flags & PF_IO_WORKER != 0 {
            let known = offsets().task_worker() != u32::MAX && offsets().worker_work() != u32::MAX;
            if !known || settings().may_probe_read() == 0 {
                return Some(0);
            }
            let worker: *const u8 = Direct::read(typed, offset!(task_worker));
            if worker.is_null() {
                // The thread that polls a ring's submissions.
                return Some(0);
            }
            let work: u64 = Probe::read(worker, offset!(worker_work));
            return if work == 0 { None } else { Some(work.wrapping_sub(offset!(request_work) as u64)) };
        }
        let registers = bpf_task_pt_regs(task) as *const u8;
        let returning = Direct::read::<u64>(registers, register::RAX) != IN_PROGRESS;
        let number: u64 = Direct::read(registers, register::ORIG_RAX);
        if returning || number == call::IO_URING_ENTER { Some(0) } else { None }
    }
}

/// The calling task, with the start times that make its ids unique.
#[derive(Clone, Copy)]
pub(crate) struct Caller {
    pub(crate) tgid: u32,
    pub(crate) tid: u32,
    /// Start of the process's leader, ns since boot.
    pub(crate) process_start: u64,
    /// Start of the thread, ns since boot.
    pub(crate) thread_start: u64,
}

/// # Safety
/// Called in the context of the task that moves the data.
#[inline(always)]
pub(crate) unsafe fn caller(pid_tgid: u64) -> Caller {
    let (process_start, thread_start) = start_times();
    Caller { tgid: (pid_tgid >> 32) as u32, tid: pid_tgid as u32, process_start, thread_start }
}
