//! `BPF_PROG_LOAD` and `BPF_BTF_LOAD`.

use std::{
    ffi::CStr,
    os::fd::{OwnedFd, RawFd},
};

use anyhow::{Context as _, Result, anyhow};
use aya_obj::generated::{bpf_attach_type, bpf_attr, bpf_cmd, bpf_insn, bpf_prog_type};

use super::Loaded;
use crate::kernel::{hook::Hook, system_call::bpf_descriptor, types::KernelTypes};

/// Bytes of a verifier's log that an error shows: its end.
const LOG_SHOWN: usize = 4096;

/// What a tracing program is loaded for.
#[derive(Clone, Copy, Default)]
pub(in crate::kernel) struct Target {
    /// Number of the function's type, or of the tracepoint's.
    pub(in crate::kernel) function: u32,
    /// The module's types, where it is a module's.
    pub(in crate::kernel) object: Option<RawFd>,
}

impl Target {
    /// A function of the kernel's own.
    fn function(kernel: &KernelTypes, name: &str) -> Result<Self> {
        Self::of(kernel.function_id(name), name)
    }

    /// What a hook names in the kernel's own types.
    pub(super) fn of_hook(kernel: &KernelTypes, hook: Hook) -> Result<Self> {
        match hook {
            Hook::Tracepoint(name) | Hook::TracepointIfThere(name) => {
                Self::of(kernel.tracepoint_id(name), name)
            }
            _ => Self::function(kernel, hook.name()),
        }
    }

    fn of(id: Option<u32>, name: &str) -> Result<Self> {
        Ok(Self {
            function: id.with_context(|| format!("this kernel has no {name}"))?,
            object: None,
        })
    }
}

/// Loads a program that does nothing for a function's entry.
///
/// # Errors
/// Why the kernel refuses it. Some kernels refuse every program of this kind; this finds out quickly.
pub(in crate::kernel) fn try_entry(function: &str, kernel: &KernelTypes) -> Result<()> {
    // r0 = 0; exit
    let instruction = |code| bpf_insn {
        code,
        _bitfield_align_1: [],
        _bitfield_1: bpf_insn::new_bitfield_1(0, 0),
        off: 0,
        imm: 0,
    };
    let target = Target::function(kernel, function)?;
    let instructions = [instruction(0xb7), instruction(0x95)];
    let mut attr = load_attributes(
        &instructions,
        c"Dual MIT/GPL",
        bpf_prog_type::BPF_PROG_TYPE_TRACING,
        bpf_attach_type::BPF_TRACE_FENTRY,
        target,
    )?;
    load(&mut attr)?;
    Ok(())
}

/// For `BPF_PROG_LOAD`; points at the instructions and the license, which must outlive it.
pub(super) fn load_attributes(
    instructions: &[bpf_insn],
    license: &CStr,
    kind: bpf_prog_type,
    attach: bpf_attach_type,
    target: Target,
) -> Result<bpf_attr> {
    // SAFETY: bpf_attr is integers only.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    // SAFETY: the union's member for BPF_PROG_LOAD.
    let load = unsafe { &mut attr.__bindgen_anon_3 };
    load.prog_type = kind as u32;
    load.insns = instructions.as_ptr() as u64;
    load.insn_cnt = u32::try_from(instructions.len())?;
    load.license = license.as_ptr() as u64;
    load.expected_attach_type = attach as u32;
    load.attach_btf_id = target.function;
    if let Some(object) = target.object {
        load.__bindgen_anon_1.attach_btf_obj_fd = object as u32;
    }
    Ok(attr)
}

/// Loads it; where it is refused, with the end of the verifier's log.
pub(super) fn load(attr: &mut bpf_attr) -> Result<Loaded> {
    bpf_descriptor(bpf_cmd::BPF_PROG_LOAD, attr)
        .map(Loaded::of)
        .map_err(|error| {
            let said = verifier_said(attr);
            anyhow!("the BPF_PROG_LOAD syscall failed: {error}. Verifier output: {said}")
        })
}

/// Loads what was refused again, for the end of the verifier's log.
fn verifier_said(attr: &mut bpf_attr) -> String {
    let mut log = vec![0u8; 1 << 20];
    // SAFETY: the union's member for BPF_PROG_LOAD, which the caller filled in.
    let load = unsafe { &mut attr.__bindgen_anon_3 };
    load.log_level = 1;
    load.log_buf = log.as_mut_ptr() as u64;
    load.log_size = log.len() as u32;
    // Where the log does not fit its end is kept from 6.4 on, before that its beginning.
    let _ = bpf_descriptor(bpf_cmd::BPF_PROG_LOAD, attr);
    let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
    let from = end.saturating_sub(LOG_SHOWN);
    String::from_utf8_lossy(&log[from..end]).into_owned()
}

/// Loads the programs' type information.
pub(super) fn load_types(bytes: &[u8]) -> Result<OwnedFd> {
    // SAFETY: bpf_attr is integers only.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    // SAFETY: the union's member for BPF_BTF_LOAD.
    let load = unsafe { &mut attr.__bindgen_anon_7 };
    load.btf = bytes.as_ptr() as u64;
    load.btf_size = u32::try_from(bytes.len())?;
    Ok(bpf_descriptor(bpf_cmd::BPF_BTF_LOAD, &mut attr)?)
}
