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

/// The calls that tracing needs and that are refused before the kernel looks at what they ask for: by a seccomp profile or a
/// security module. It tells that only to who has CAP_BPF and CAP_PERFMON, since without them the kernel refuses as well.
pub fn refused_calls() -> Vec<&'static str> {
    // No such command and no such flag, so that the kernel itself says EINVAL and does nothing.
    // SAFETY: no memory is handed over.
    let bpf = unsafe { libc::syscall(libc::SYS_bpf, -1_i64, std::ptr::null::<u8>(), 0_i64) };
    let bpf = (bpf, io::Error::last_os_error());
    // SAFETY: no memory is handed over.
    let event = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            std::ptr::null::<u8>(),
            -1_i64,
            -1_i64,
            -1_i64,
            -1_i64,
        )
    };
    let event = (event, io::Error::last_os_error());
    let is_refused = |(result, error): &(i64, io::Error)| {
        let refusals = [libc::EPERM, libc::EACCES, libc::ENOSYS].map(Some);
        *result < 0 && refusals.contains(&error.raw_os_error())
    };
    let calls = [("bpf", bpf), ("perf_event_open", event)];
    let refused = calls.into_iter().filter(|(_, told)| is_refused(told));
    refused.map(|(name, _)| name).collect()
}
