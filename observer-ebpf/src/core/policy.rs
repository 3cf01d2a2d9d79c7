//! Who is captured.
//!
//! The daemon decides and keeps it in a map; a child inherits its parent's at fork (`life::process`).

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap},
};
use observer_abi::{
    connection::{Connection, flag},
    control::ControlBlock,
    process::Policy,
};

use crate::{kernel::globals::settings, work::unit};

/// Daemon, and the kernel at fork: which processes are captured.
#[map]
pub(crate) static POLICY: HashMap<u32, Policy> = HashMap::with_max_entries(16384, 0);
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
        let allowed = may_be_captured(tgid);
        (*entry).tgid = tgid;
        (*entry).policy_epoch = epoch;
        if allowed {
            let (runtime, strict) = unit::runtime_of(tgid);
            (*entry).runtime = runtime;
            (*entry).strict = strict as u16;
            (*entry).flags &= !flag::DENIED;
        } else {
            (*entry).flags |= flag::DENIED;
        }
        allowed
    }
}

/// What the policy says of a process.
#[inline(always)]
fn may_be_captured(tgid: u32) -> bool {
    match POLICY.get_ptr(tgid) {
        // SAFETY: a live map value.
        Some(policy) => unsafe { (*policy).capture != 0 },
        None => settings().selected_only() == 0,
    }
}

/// Whether the process is captured now.
#[inline(always)]
pub(crate) fn is_selected(tgid: u32) -> bool {
    let Some(control) = CONTROL_BLOCK.get_ptr(0) else { return false };
    // SAFETY: a live map value.
    unsafe { (*control).enabled != 0 && may_be_captured(tgid) }
}
