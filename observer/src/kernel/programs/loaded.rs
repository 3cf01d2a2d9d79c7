//! A loaded program, and the ways to attach it.

use std::{
    ffi::CString,
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use anyhow::{Context as _, Result};
use aya_obj::generated::{bpf_attach_type, bpf_attr, bpf_cmd};

use crate::kernel::system_call::bpf_descriptor;

/// A loaded program; attached it stays while the link lives.
pub(in crate::kernel) struct Loaded(OwnedFd);

/// In whose memory a breakpoint is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// In that of every process that runs the file.
    Everyone,
    /// In that of this process alone, which has mapped the file and runs nothing of it.
    Ourselves,
}

impl Loaded {
    /// The program behind a descriptor.
    pub(super) fn of(program: OwnedFd) -> Self {
        Self(program)
    }

    /// Attaches it; the link ends when it is dropped.
    pub(in crate::kernel) fn attach(&self) -> Result<OwnedFd> {
        // SAFETY: bpf_attr is integers only.
        let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
        attr.raw_tracepoint.prog_fd = self.0.as_raw_fd() as u32;
        bpf_descriptor(bpf_cmd::BPF_RAW_TRACEPOINT_OPEN, &mut attr)
            .context("the BPF_RAW_TRACEPOINT_OPEN syscall failed")
    }

    /// Attaches it to places in a file; all of them end when the link is dropped.
    pub(in crate::kernel) fn attach_at(
        &self,
        file: &Path,
        offsets: &[u64],
        reach: Reach,
    ) -> Result<OwnedFd> {
        let path = CString::new(file.as_os_str().as_bytes())?;
        // SAFETY: bpf_attr is integers only.
        let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
        // SAFETY: the union's members for BPF_LINK_CREATE and this type of link.
        unsafe {
            attr.link_create.__bindgen_anon_1.prog_fd = self.0.as_raw_fd() as u32;
            attr.link_create.attach_type = bpf_attach_type::BPF_TRACE_UPROBE_MULTI as u32;
            let places = &mut attr.link_create.__bindgen_anon_3.uprobe_multi;
            places.path = path.as_ptr() as u64;
            places.offsets = offsets.as_ptr() as u64;
            places.cnt = u32::try_from(offsets.len())?;
            places.pid = match reach {
                Reach::Everyone => 0,
                Reach::Ourselves => std::process::id(),
            };
        }
        bpf_descriptor(bpf_cmd::BPF_LINK_CREATE, &mut attr)
            .context("the BPF_LINK_CREATE syscall failed")
    }
}

impl AsRawFd for Loaded {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
