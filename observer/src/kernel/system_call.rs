//! `bpf(2)`, for what aya (0.14) does not offer.

use std::{
    io,
    os::fd::{FromRawFd, OwnedFd},
};

use aya_obj::generated::{bpf_attr, bpf_cmd};

/// Calls it and returns what it returned.
pub(super) fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<i32> {
    // SAFETY: the attributes point at memory that outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attr),
            size_of::<bpf_attr>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result as i32)
}

/// The same with a command that returns a new descriptor.
pub(super) fn bpf_descriptor(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<OwnedFd> {
    let descriptor = bpf(command, attr)?;
    // SAFETY: new, as the callers promise by the command: nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
