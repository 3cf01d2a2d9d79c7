//! The goroutine, or the Python context, that the calling thread runs.
//!
//! Cost: two reads of user memory, three for Python.

use observer_abi::{
    context::{UnitKey, unit},
    process::runtime,
};

use crate::{
    kernel::{read::user, task},
    work::table::{RUNTIMES, key_of},
};

/// The goroutine or entered Python context that the calling thread runs.
#[inline(always)]
pub(crate) fn current(tgid: u32) -> Option<UnitKey> {
    let found = RUNTIMES.get_ptr(tgid)?;
    // SAFETY: a live map value.
    let found = unsafe { &*found };
    let holder = thread_word(tgid)?;
    if holder == 0 {
        return None;
    }
    let id = user(holder.wrapping_add(u64::from(found.unit_offset)))?;
    if id == 0 {
        return None;
    }
    if found.kind == runtime::GO {
        return Some(key_of(found, id, tgid, unit::GOROUTINE));
    }
    // A context that nobody entered is the thread's own: everything that runs on it shares it.
    let entered = user(id.wrapping_add(u64::from(found.second_offset)))?;
    if entered as u32 == 1 { Some(key_of(found, id, tgid, unit::PYTHON_CONTEXT)) } else { None }
}

/// The address that the runtime keeps for each thread: of its goroutine, or of its thread state.
#[inline(always)]
pub(crate) fn thread_word(tgid: u32) -> Option<u64> {
    let found = RUNTIMES.get_ptr(tgid)?;
    let pointer = task::thread_pointer()?;
    // SAFETY: a live map value.
    user(pointer.wrapping_add(unsafe { (*found).thread_pointer_offset } as u64))
}
