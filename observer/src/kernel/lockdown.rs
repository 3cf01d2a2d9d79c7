//! Loading under `lockdown=confidentiality`, past aya.
//!
//! There the kernel refuses `bpf_probe_read_kernel`. aya (0.14) takes that for a kernel from before 5.5 and rewrites
//! every call of `bpf_probe_read_user`, which is allowed, to `bpf_probe_read`, which is not. So here the programs are
//! loaded from the object as it is; maps, and everything on other kernels, stay aya's.

use std::{
    collections::{HashMap, HashSet},
    ffi::CString,
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
};

use anyhow::{Context as _, Result, anyhow, bail};
use aya_obj::{
    Function, Map, Object,
    btf::{Btf, BtfKind},
    generated::{bpf_attach_type, bpf_attr, bpf_cmd, bpf_prog_type},
};

use super::tier::Hook;

/// The object's programs, with their maps and calls in place.
pub(super) struct Programs {
    object: Object,
    types: Option<OwnedFd>,
}

/// A loaded program; attached it stays while the link lives.
pub(super) struct Loaded(OwnedFd);

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
        let (kind, attach, target) = match hook {
            Hook::Tracepoint(of) => (
                BtfKind::Typedef,
                bpf_attach_type::BPF_TRACE_RAW_TP,
                format!("btf_trace_{of}"),
            ),
            Hook::Enter(of) => (
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
        let target = kernel
            .id_by_type_name_kind(&target, kind)
            .with_context(|| format!("this kernel has no {target}"))?;
        self.load_function(function, &program.license, attach, target)
    }

    fn load_function(
        &self,
        function: &Function,
        license: &CString,
        attach: bpf_attach_type,
        target: u32,
    ) -> Result<Loaded> {
        let functions = function.func_info.func_info_bytes();
        // SAFETY: bpf_attr is integers only.
        let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
        // SAFETY: the union's member for BPF_PROG_LOAD.
        let load = unsafe { &mut attr.__bindgen_anon_3 };
        load.prog_type = bpf_prog_type::BPF_PROG_TYPE_TRACING as u32;
        load.insns = function.instructions.as_ptr() as u64;
        load.insn_cnt = u32::try_from(function.instructions.len())?;
        load.license = license.as_ptr() as u64;
        load.expected_attach_type = attach as u32;
        load.attach_btf_id = target;
        if let Some(types) = &self.types {
            load.prog_btf_fd = types.as_raw_fd() as u32;
            load.func_info = functions.as_ptr() as u64;
            load.func_info_cnt = u32::try_from(function.func_info.len())?;
            load.func_info_rec_size = u32::try_from(function.func_info_rec_size)?;
        }
        bpf(bpf_cmd::BPF_PROG_LOAD, &mut attr)
            .map(Loaded)
            .context("the BPF_PROG_LOAD syscall failed")
    }
}

impl Loaded {
    /// Attaches it; the link ends when it is dropped.
    pub(super) fn attach(&self) -> Result<OwnedFd> {
        // SAFETY: bpf_attr is integers only.
        let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
        attr.raw_tracepoint.prog_fd = self.0.as_raw_fd() as u32;
        bpf(bpf_cmd::BPF_RAW_TRACEPOINT_OPEN, &mut attr)
            .context("the BPF_RAW_TRACEPOINT_OPEN syscall failed")
    }
}

fn load_types(bytes: &[u8]) -> Result<OwnedFd> {
    // SAFETY: bpf_attr is integers only.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    // SAFETY: the union's member for BPF_BTF_LOAD.
    let load = unsafe { &mut attr.__bindgen_anon_7 };
    load.btf = bytes.as_ptr() as u64;
    load.btf_size = u32::try_from(bytes.len())?;
    Ok(bpf(bpf_cmd::BPF_BTF_LOAD, &mut attr)?)
}

fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<OwnedFd> {
    // SAFETY: the attributes point at memory that outlives the call; these commands return a new descriptor.
    unsafe {
        let result = libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attr),
            size_of::<bpf_attr>(),
        );
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(result as RawFd))
    }
}
