//! Loading past aya (0.14), which does not know three things; maps, and everything else, stay its own.
//!
//! - Under `lockdown=confidentiality` the kernel refuses `bpf_probe_read_kernel`. aya takes that for a kernel from before
//!   5.5 and rewrites every call of `bpf_probe_read_user`, which is allowed, to `bpf_probe_read`, which is not allowed.
//! - Uprobes at many places in one link (`BPF_TRACE_UPROBE_MULTI`, 6.6). One by one each waits, when it goes, for all
//!   programs that may still be at work, and all wait for each other: seconds on a busy machine.
//! - Functions of modules (`attach_btf_obj_fd`, 5.11).

use std::{
    collections::{HashMap, HashSet},
    ffi::{CStr, CString},
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use anyhow::{Context as _, Result, anyhow, bail};
use aya_obj::{
    Function, Map, Object,
    btf::{Btf, BtfKind},
    generated::{bpf_attach_type, bpf_attr, bpf_cmd, bpf_insn, bpf_prog_type},
};

use super::{breakpoints::Reach, hook::Hook, system_call::bpf_descriptor};

/// The object's programs, with their maps and calls in place.
pub(super) struct Programs {
    object: Object,
    types: Option<OwnedFd>,
}

/// Bytes of a verifier's log that an error shows: its end.
const LOG_SHOWN: usize = 4096;

/// A loaded program; attached it stays while the link lives.
pub(super) struct Loaded(OwnedFd);

/// What a tracing program is loaded for.
#[derive(Clone, Copy, Default)]
pub(super) struct Target {
    /// Number of the function's type, or of the tracepoint's.
    pub(super) function: u32,
    /// The module's types, where it is a module's.
    pub(super) object: Option<RawFd>,
}

impl Target {
    /// The kernel's own type of this name.
    fn of(kernel: &Btf, name: &str, kind: BtfKind) -> Result<Self> {
        let function = kernel.id_by_type_name_kind(name, kind);
        Ok(Self {
            function: function.with_context(|| format!("this kernel has no {name}"))?,
            object: None,
        })
    }
}

impl Programs {
    /// Parses the object and points it at the maps that aya made of it.
    pub(super) fn new(bytes: &[u8], descriptor: impl Fn(&str) -> Option<RawFd>) -> Result<Self> {
        let mut object = Object::parse(bytes)?;
        let types = match aya::features().btf() {
            Some(features) => object
                .fixup_and_sanitize_btf(features)?
                .map(|types| load_types(&types.to_bytes()))
                .transpose()
                .context("the kernel refused the programs' type information")?,
            None => None,
        };
        let sections: HashSet<usize> = object
            .functions
            .keys()
            .map(|(section, _)| *section)
            .collect();
        let maps: HashMap<String, Map> = object.maps.drain().collect();
        let mut placed = Vec::new();
        for (name, map) in &maps {
            let fd = descriptor(name).ok_or_else(|| anyhow!("the object has no map {name}"))?;
            placed.push((name.as_str(), fd, map));
        }
        object.relocate_maps(placed.into_iter(), &sections)?;
        object.relocate_calls(&sections)?;
        Ok(Self { object, types })
    }

    /// Loads one program for its hook.
    pub(super) fn load(&self, name: &str, hook: Hook, kernel: &Btf) -> Result<Loaded> {
        let (function, license) = self.find(name)?;
        let (kind, attach, target) = match hook {
            Hook::Tracepoint(of) | Hook::TracepointIfThere(of) => (
                BtfKind::Typedef,
                bpf_attach_type::BPF_TRACE_RAW_TP,
                format!("btf_trace_{of}"),
            ),
            Hook::Enter(of) | Hook::EnterIf(of, _) => (
                BtfKind::Func,
                bpf_attach_type::BPF_TRACE_FENTRY,
                of.to_owned(),
            ),
            Hook::Exit(of) | Hook::ExitIf(of, _) => (
                BtfKind::Func,
                bpf_attach_type::BPF_TRACE_FEXIT,
                of.to_owned(),
            ),
            _ => bail!("kernel lockdown refuses kprobes"),
        };
        let target = Target::of(kernel, &target, kind)?;
        let tracing = bpf_prog_type::BPF_PROG_TYPE_TRACING;
        self.load_function(function, license, tracing, attach, target)
    }

    /// Loads one program for the entry or the exit of a function, of a module's perhaps.
    pub(super) fn load_at(&self, name: &str, hook: Hook, target: Target) -> Result<Loaded> {
        let (function, license) = self.find(name)?;
        let attach = match hook {
            Hook::Enter(_) | Hook::EnterIf(..) => bpf_attach_type::BPF_TRACE_FENTRY,
            Hook::Exit(_) | Hook::ExitIf(..) => bpf_attach_type::BPF_TRACE_FEXIT,
            _ => bail!("{} is no function to enter", hook.name()),
        };
        let tracing = bpf_prog_type::BPF_PROG_TYPE_TRACING;
        self.load_function(function, license, tracing, attach, target)
    }

    /// Loads one program for [`attach_at`](Loaded::attach_at).
    pub(super) fn load_for_executables(&self, name: &str) -> Result<Loaded> {
        let (function, license) = self.find(name)?;
        self.load_function(
            function,
            license,
            bpf_prog_type::BPF_PROG_TYPE_KPROBE,
            bpf_attach_type::BPF_TRACE_UPROBE_MULTI,
            Target::default(),
        )
    }

    fn find(&self, name: &str) -> Result<(&Function, &CString)> {
        let program = self
            .object
            .programs
            .get(name)
            .ok_or_else(|| anyhow!("not in the object"))?;
        let function = self
            .object
            .functions
            .get(&program.function_key())
            .ok_or_else(|| anyhow!("not in the object"))?;
        Ok((function, &program.license))
    }

    fn load_function(
        &self,
        function: &Function,
        license: &CString,
        kind: bpf_prog_type,
        attach: bpf_attach_type,
        target: Target,
    ) -> Result<Loaded> {
        let functions = function.func_info.func_info_bytes();
        let mut attr = load_attributes(&function.instructions, license, kind, attach, target)?;
        if let Some(types) = &self.types {
            // SAFETY: the union's member for BPF_PROG_LOAD.
            let load = unsafe { &mut attr.__bindgen_anon_3 };
            // What the kernel's tools show; the last byte of its room stays zero.
            let room = load.prog_name.len() - 1;
            for (to, from) in load.prog_name[..room].iter_mut().zip(function.name.bytes()) {
                *to = from as _;
            }
            load.prog_btf_fd = types.as_raw_fd() as u32;
            load.func_info = functions.as_ptr() as u64;
            load.func_info_cnt = u32::try_from(function.func_info.len())?;
            load.func_info_rec_size = u32::try_from(function.func_info_rec_size)?;
        }
        load(&mut attr)
    }
}

/// Loads a program that does nothing for a function's entry.
///
/// # Errors
/// Why the kernel refuses it. Some kernels refuse every program of this kind; this finds out quickly.
pub(super) fn try_entry(function: &str, kernel: &Btf) -> Result<()> {
    // r0 = 0; exit
    let instruction = |code| bpf_insn {
        code,
        _bitfield_align_1: [],
        _bitfield_1: bpf_insn::new_bitfield_1(0, 0),
        off: 0,
        imm: 0,
    };
    let target = Target::of(kernel, function, BtfKind::Func)?;
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
fn load_attributes(
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

fn load(attr: &mut bpf_attr) -> Result<Loaded> {
    bpf_descriptor(bpf_cmd::BPF_PROG_LOAD, attr)
        .map(Loaded)
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

impl Loaded {
    /// Attaches it; the link ends when it is dropped.
    pub(super) fn attach(&self) -> Result<OwnedFd> {
        // SAFETY: bpf_attr is integers only.
        let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
        attr.raw_tracepoint.prog_fd = self.0.as_raw_fd() as u32;
        bpf_descriptor(bpf_cmd::BPF_RAW_TRACEPOINT_OPEN, &mut attr)
            .context("the BPF_RAW_TRACEPOINT_OPEN syscall failed")
    }

    /// Attaches it to places in a file; all of them end when the link is dropped.
    pub(super) fn attach_at(&self, file: &Path, offsets: &[u64], reach: Reach) -> Result<OwnedFd> {
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

fn load_types(bytes: &[u8]) -> Result<OwnedFd> {
    // SAFETY: bpf_attr is integers only.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    // SAFETY: the union's member for BPF_BTF_LOAD.
    let load = unsafe { &mut attr.__bindgen_anon_7 };
    load.btf = bytes.as_ptr() as u64;
    load.btf_size = u32::try_from(bytes.len())?;
    Ok(bpf_descriptor(bpf_cmd::BPF_BTF_LOAD, &mut attr)?)
}
