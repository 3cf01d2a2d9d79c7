//! Who is captured.
//!
//! The daemon decides and keeps it in a map; a child inherits its parent's at fork, and it ends with the last thread
//! (`life::process`).

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap},
};
use observer_abi::{
    connection::{Connection, flag},
    control::ControlBlock,
    loss::Counter,
    process::Policy,
};

use crate::{core::output::count, kernel::globals::settings, work::table};

/// BPF_ANY of `bpf_map_update_elem`.
const ANY: u64 = 0;

/// Daemon, and the kernel at fork: which processes are captured.
#[map]
pub(crate) static POLICY: HashMap<u32, Policy> = HashMap::with_max_entries(16384, 0);
/// Kernel: 1 once the policy of a process that was forked could not be kept: as
/// [`ControlBlock::unknown_denied`](observer_abi::control::ControlBlock).
#[map]
static REFUSED: Array<u32> = Array::with_max_entries(1, 0);
/// Daemon: switches.
#[map]
pub(crate) static CONTROL_BLOCK: Array<ControlBlock> = Array::with_max_entries(1, 0);

/// Whether the process may be captured, and the connection is worth it. Cheap for the common case: the process that
/// was asked about before.
///
/// # Safety
/// `entry` is a live map value.
#[inline(always)]
pub(crate) unsafe fn admitted(entry: *mut Connection, tgid: u32) -> bool {
    let Some(control) = CONTROL_BLOCK.get_ptr(0) else { return false };
    // SAFETY: live map values.
    unsafe {
        if (*control).enabled == 0 {
            return false;
        }
        let epoch = (*control).policy_epoch;
        if (*entry).tgid == tgid && (*entry).policy_epoch == epoch {
            return (*entry).flags & flag::DENIED == 0;
        }
        let allowed = may_be_captured(&*control, tgid);
        (*entry).tgid = tgid;
        (*entry).policy_epoch = epoch;
        if allowed {
            let (runtime, strict) = table::runtime_of(tgid);
            (*entry).runtime = runtime;
            (*entry).strict = strict as u16;
            (*entry).flags &= !flag::DENIED;
        } else {
            (*entry).flags |= flag::DENIED;
        }
        allowed
    }
}

/// Whether the process was refused on this connection before, and nothing was said since.
///
/// # Safety
/// `entry` is a live map value.
#[inline(always)]
pub(crate) unsafe fn is_denied(entry: *const Connection, tgid: u32) -> bool {
    // SAFETY: live map values.
    unsafe {
        (*entry).flags & flag::DENIED != 0
            && (*entry).tgid == tgid
            && CONTROL_BLOCK.get_ptr(0).is_some_and(|control| (*control).policy_epoch == (*entry).policy_epoch)
    }
}

/// What the policy says of a process.
#[inline(always)]
fn may_be_captured(control: &ControlBlock, tgid: u32) -> bool {
    match POLICY.get_ptr(tgid) {
        // SAFETY: a live map value.
        Some(policy) => unsafe { (*policy).capture != 0 },
        None => settings().selected_only() == 0 && !is_unknown_denied(control),
    }
}

/// Whether there was no room once to say of a process that it is not captured, so that nothing said is no consent.
#[inline(always)]
fn is_unknown_denied(control: &ControlBlock) -> bool {
    // SAFETY: a live map value.
    control.unknown_denied != 0 || unsafe { REFUSED.get_ptr(0).is_none_or(|refused| *refused != 0) }
}

/// What is said of the parent is said of the child, and nothing of an earlier process with its id.
#[inline(always)]
pub(crate) fn inherit(parent: u32, child: u32) {
    let Some(policy) = POLICY.get_ptr(parent) else {
        let _ = POLICY.remove(child);
        return;
    };
    // SAFETY: a live map value.
    let inherited = unsafe { *policy };
    if POLICY.insert(child, &inherited, ANY).is_err() {
        count(Counter::ProcessTableFull, 1);
        if let Some(refused) = REFUSED.get_ptr_mut(0) {
            // SAFETY: a live map value.
            unsafe { *refused = 1 };
        }
    }
}

/// Whether the process is captured now.
#[inline(always)]
pub(crate) fn is_selected(tgid: u32) -> bool {
    let Some(control) = CONTROL_BLOCK.get_ptr(0) else { return false };
    // SAFETY: a live map value.
    unsafe { (*control).enabled != 0 && may_be_captured(&*control, tgid) }
}
