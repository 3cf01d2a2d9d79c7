//! Processes begin, change and end.
//!
//! | hook | prototype | since |
//! |---|---|---|
//! | tp_btf `sched_process_exec` | `(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)` | 3.4 |
//! | tp_btf `sched_process_fork` | `(struct task_struct *parent, struct task_struct *child)` | 3.4 |
//! | tp_btf `sched_process_exit` | `(struct task_struct *p, …)` | 3.4 |

use aya_ebpf::{
    helpers::generated::bpf_ktime_get_ns,
    macros::{btf_tracepoint, map},
    maps::RingBuf,
    programs::BtfTracePointContext,
};
use observer_abi::{
    loss::Counter,
    process::{ProcessEvent, event},
};

use crate::{
    core::{
        output::count,
        policy::{self, POLICY},
    },
    kernel::{
        globals::offset,
        read::{Direct, KernelRead},
    },
    tier::spare::spared,
    work::table::{self, RUNTIMES, THREADS},
};

/// Process events.
#[map]
pub(crate) static PROCESS_EVENTS: RingBuf = RingBuf::with_byte_size(256 << 10, 0);

spared! {
    #[btf_tracepoint(function = "sched_process_exec")]
    process_exec, process_exec_spare, BtfTracePointContext, EXEC,
    // SAFETY: a typed argument.
    |ctx, _spare| unsafe { exec(ctx.arg(0)) }
}

/// # Safety
/// `task` is a typed `struct task_struct *`.
#[inline(always)]
unsafe fn exec(task: *const u8) {
    // SAFETY: as promised.
    unsafe {
        // Another program: the daemon looks at it anew.
        let _ = RUNTIMES.remove(Direct::read::<u32>(task, offset!(task_tgid)));
        tell(event::EXEC, task, None);
    }
}

spared! {
    #[btf_tracepoint(function = "sched_process_fork")]
    process_fork, process_fork_spare, BtfTracePointContext, FORK,
    // SAFETY: typed arguments.
    |ctx, _spare| unsafe { fork(ctx.arg(0), ctx.arg(1)) }
}

/// # Safety
/// Both are typed `struct task_struct *`.
#[inline(always)]
unsafe fn fork(parent: *const u8, child: *const u8) {
    // SAFETY: as promised.
    unsafe {
        let tgid: u32 = Direct::read(child, offset!(task_tgid));
        if Direct::read::<u32>(child, offset!(task_pid)) != tgid {
            return;
        }
        let parent_tgid: u32 = Direct::read(parent, offset!(task_tgid));
        // Before the child runs, so that its first byte finds the policy.
        policy::inherit(parent_tgid, tgid);
        table::inherit_runtime(parent_tgid, tgid);
        tell(event::FORK, child, Some(parent_tgid));
    }
}

spared! {
    #[btf_tracepoint(function = "sched_process_exit")]
    process_exit, process_exit_spare, BtfTracePointContext, EXIT,
    // SAFETY: a typed argument.
    |ctx, _spare| unsafe { exit(ctx.arg(0)) }
}

/// # Safety
/// `task` is a typed `struct task_struct *`.
#[inline(always)]
unsafe fn exit(task: *const u8) {
    // SAFETY: as promised.
    unsafe {
        let pid: u32 = Direct::read(task, offset!(task_pid));
        let _ = THREADS.remove(pid);
        // The first thread may end long before the others. Each counts itself out before it comes here; of two that end at
        // once both may find nobody left.
        let signal: *const u8 = Direct::read(task, offset!(task_signal));
        if Direct::read::<i32>(signal, offset!(signal_live)) == 0 {
            let tgid: u32 = Direct::read(task, offset!(task_tgid));
            let _ = POLICY.remove(tgid);
            let _ = RUNTIMES.remove(tgid);
            tell(event::EXIT, task, None);
        }
    }
}

/// # Safety
/// `task` is a typed `struct task_struct *`.
#[inline(always)]
unsafe fn tell(kind: u32, task: *const u8, parent_tgid: Option<u32>) {
    let Some(mut entry) = PROCESS_EVENTS.reserve::<ProcessEvent>(0) else {
        count(Counter::ProcessRingFull, 1);
        return;
    };
    // SAFETY: as promised; the reservation has the event's size.
    unsafe {
        let told = entry.as_mut_ptr();
        let leader: *const u8 = Direct::read(task, offset!(task_group_leader));
        let parent: *const u8 = Direct::read(task, offset!(task_real_parent));
        (*told).time_ns = bpf_ktime_get_ns();
        (*told).start_ns = Direct::read(leader, offset!(task_start_boottime));
        (*told).kind = kind;
        (*told).tgid = Direct::read(task, offset!(task_tgid));
        (*told).parent_tgid = match parent_tgid {
            Some(tgid) => tgid,
            None => Direct::read(parent, offset!(task_tgid)),
        };
        (*told).reserved = 0;
        let mut index = 0;
        while index < 16 {
            (*told).comm[index] = Direct::read(task, offset!(task_comm) + index);
            index += 1;
        }
    }
    entry.submit(0);
}
