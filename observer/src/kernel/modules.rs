//! Types of the kernel's modules, for programs that attach to a module's functions.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use anyhow::{Context as _, Result, bail};
use aya_obj::generated::{bpf_attr, bpf_btf_info, bpf_cmd};

use super::system_call::{bpf, bpf_descriptor};

/// Room for a module's name (`MODULE_NAME_LEN`).
const NAME: usize = 64;

/// The type information of a loaded module, as `attach_btf_obj_fd` wants it (5.11). Needs CAP_SYS_ADMIN.
pub(super) fn types_of(module: &str) -> Result<OwnedFd> {
    let mut id = 0;
    loop {
        id = match next(id) {
            Ok(id) => id,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                bail!("the kernel keeps no type information of its module {module}")
            }
            Err(error) => return Err(error).context("the BPF_BTF_GET_NEXT_ID syscall failed"),
        };
        let types = match open(id) {
            Ok(types) => types,
            // Gone meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => continue,
            Err(error) => return Err(error).context("the BPF_BTF_GET_FD_BY_ID syscall failed"),
        };
        let (name, is_kernels) =
            info(&types).context("the BPF_OBJ_GET_INFO_BY_FD syscall failed")?;
        if is_kernels && name == module.as_bytes() {
            return Ok(types);
        }
    }
}

/// The id after this one.
fn next(id: u32) -> io::Result<u32> {
    // SAFETY: bpf_attr is integers only.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    attr.__bindgen_anon_6.__bindgen_anon_1.start_id = id;
    bpf(bpf_cmd::BPF_BTF_GET_NEXT_ID, &mut attr)?;
    // SAFETY: the kernel wrote this member.
    Ok(unsafe { attr.__bindgen_anon_6.next_id })
}

fn open(id: u32) -> io::Result<OwnedFd> {
    // SAFETY: bpf_attr is integers only.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    attr.__bindgen_anon_6.__bindgen_anon_1.btf_id = id;
    bpf_descriptor(bpf_cmd::BPF_BTF_GET_FD_BY_ID, &mut attr)
}

/// Its name, and whether it is the kernel's or a module's, not a program's.
fn info(types: &OwnedFd) -> io::Result<(Vec<u8>, bool)> {
    let mut name = [0u8; NAME];
    // SAFETY: integers only.
    let mut info: bpf_btf_info = unsafe { std::mem::zeroed() };
    info.name = name.as_mut_ptr() as u64;
    info.name_len = NAME as u32;
    // SAFETY: bpf_attr is integers only.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    attr.info.bpf_fd = types.as_raw_fd() as u32;
    attr.info.info_len = size_of::<bpf_btf_info>() as u32;
    attr.info.info = (&raw mut info) as u64;
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok((name.to_owned(), info.kernel_btf != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_own_types_are_found_and_others_are_not() {
        // As an ordinary user nothing may be asked.
        if next(0).is_err_and(|error| error.raw_os_error() == Some(libc::EPERM)) {
            return;
        }
        types_of("vmlinux").expect("the kernel's");
        let error = types_of("no_such_module").expect_err("no such module");
        assert!(error.to_string().contains("no_such_module"), "{error}");
    }
}
