//! Loading past aya (0.14): all programs but kprobes, socket programs and iterators; maps, and everything else, stay its
//! own. What it does not know, or does at a price:
//!
//! - It unpacks the kernel's types to find the function of a program: 40 MB and a tenth of a second.
//! - Under `lockdown=confidentiality` the kernel refuses `bpf_probe_read_kernel`. aya takes that for a kernel from before
//!   5.5 and rewrites every call of `bpf_probe_read_user`, which is allowed, to `bpf_probe_read`, which is not allowed.
//! - Uprobes at many places in one link (`BPF_TRACE_UPROBE_MULTI`, 6.6). One by one each waits, when it goes, for all
//!   programs that may still be at work, and all wait for each other: seconds on a busy machine.
//! - Functions of modules (`attach_btf_obj_fd`, 5.11).

mod loaded;
mod loading;

use std::{
    collections::{HashMap, HashSet},
    ffi::CString,
    os::fd::{AsRawFd as _, OwnedFd, RawFd},
};

use anyhow::{Context as _, Result, anyhow, bail};
use aya_obj::{
    Function, Map, Object,
    generated::{bpf_attach_type, bpf_prog_type},
};

pub(crate) use self::loaded::Reach;
use self::loading::{load, load_attributes, load_types};
pub(super) use self::{
    loaded::Loaded,
    loading::{Target, try_entry},
};
use super::{hook::Hook, types::KernelTypes};

/// The object's programs, with their maps and calls in place.
pub(in crate::kernel) struct Programs {
    object: Object,
    types: Option<OwnedFd>,
}

impl Programs {
    /// Parses the object and points it at the maps that aya made of it.
    pub(in crate::kernel) fn new(
        bytes: &[u8],
        descriptor: impl Fn(&str) -> Option<RawFd>,
    ) -> Result<Self> {
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
    pub(in crate::kernel) fn load(
        &self,
        name: &str,
        hook: Hook,
        kernel: &KernelTypes,
    ) -> Result<Loaded> {
        self.load_at(name, hook, Target::of_hook(kernel, hook)?)
    }

    /// Loads one program for its hook in a type that is known, of a module's perhaps.
    pub(in crate::kernel) fn load_at(
        &self,
        name: &str,
        hook: Hook,
        target: Target,
    ) -> Result<Loaded> {
        let (function, license) = self.find(name)?;
        let attach = match hook {
            Hook::Tracepoint(_) | Hook::TracepointIfThere(_) => bpf_attach_type::BPF_TRACE_RAW_TP,
            Hook::Enter(_) | Hook::EnterIf(..) => bpf_attach_type::BPF_TRACE_FENTRY,
            Hook::Exit(_) | Hook::ExitIf(..) => bpf_attach_type::BPF_TRACE_FEXIT,
            _ => bail!("a probe on {} is of another type", hook.name()),
        };
        let tracing = bpf_prog_type::BPF_PROG_TYPE_TRACING;
        self.load_function(function, license, tracing, attach, target)
    }

    /// Loads one program for [`attach_at`](Loaded::attach_at).
    pub(in crate::kernel) fn load_for_executables(&self, name: &str) -> Result<Loaded> {
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
