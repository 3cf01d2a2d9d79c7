//! The hooks of kernel TLS lie in the module `tls`, which the kernel loads when somebody first asks for it: before the
//! daemon or while it runs.
//!
//! Only the `fentry` and `kprobe` tiers need them. aya (0.14) cannot name a module's functions for fentry, so those
//! programs are loaded past it.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::fd::{AsRawFd as _, OwnedFd},
    path::Path,
};

use anyhow::{Context as _, Result, bail};

use super::{
    attach::{attach, load_probe},
    attached::Attached,
    hook::Hook,
    load::object::OBJECT,
    maps, modules,
    programs::{Programs, Target},
    refusal::brief,
    tier::{Tier, with_spares},
    types::KernelTypes,
};

const MODULE: &str = "tls";
/// There once the module is loaded, or built in and has parameters.
const LOADED: &str = "/sys/module/tls";

/// What became of the hooks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KernelTls {
    /// The tier sees kernel TLS by its own hooks.
    Included,
    /// The module is not loaded, so nobody uses it.
    Awaited,
    /// At work.
    Attached,
    /// Not possible here: why.
    Refused(String),
}

/// State of the hooks, and what attaching them later takes.
pub(super) struct TlsHooks {
    state: KernelTls,
    tier: Tier,
    preemptible: bool,
    maps: HashMap<String, OwnedFd>,
}

impl TlsHooks {
    /// Keeps the maps, which may be taken from `kernel` before the module comes.
    pub(super) fn of(tier: Tier, preemptible: bool, ebpf: &aya::Ebpf) -> Result<Self> {
        let mut kept = HashMap::new();
        if tier == Tier::Fentry {
            for (name, map) in ebpf.maps() {
                if let Some(descriptor) = maps::descriptor(map) {
                    kept.insert(name.to_owned(), descriptor.try_clone_to_owned()?);
                }
            }
        }
        let state = if tier.tls_programs().is_empty() {
            KernelTls::Included
        } else {
            KernelTls::Awaited
        };
        Ok(Self {
            state,
            tier,
            preemptible,
            maps: kept,
        })
    }
}

/// Makes a connection, so that the programs learn TCP's own calls (`above::learn` in `observer-ebpf`): where kernel TLS
/// is on, others are in their place.
fn connect_to_itself() -> std::io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    TcpStream::connect(listener.local_addr()?)?;
    Ok(())
}

impl TlsHooks {
    /// Whether kernel TLS is seen.
    pub(super) fn state(&self) -> &KernelTls {
        &self.state
    }

    /// Attaches the hooks if they are awaited and can be had by now. Asking costs next to nothing.
    pub(super) fn look(&mut self, attached: &mut Attached) {
        if self.state != KernelTls::Awaited || !Path::new(LOADED).exists() {
            return;
        }
        let types = KernelTypes::of_running_kernel().map_err(anyhow::Error::from);
        match types.and_then(|types| self.attach(attached, &types)) {
            Ok(()) => tracing::info!("kernel TLS: attached"),
            Err(error) => tracing::info!(error = format!("{error:#}"), "no kernel TLS"),
        }
    }

    /// The same while the daemon starts, with the kernel's types at hand.
    pub(super) fn begin(&mut self, attached: &mut Attached, types: &KernelTypes) {
        if let Err(error) = connect_to_itself() {
            tracing::debug!(%error, "no connection on loopback; the next one shows TCP's own calls");
        }
        let is_there = types.has_function("tls_sw_sendmsg") || Path::new(LOADED).exists();
        if self.state == KernelTls::Awaited
            && is_there
            && let Err(error) = self.attach(attached, types)
        {
            tracing::info!(error = format!("{error:#}"), "no kernel TLS");
        }
    }

    fn attach(&mut self, attached: &mut Attached, types: &KernelTypes) -> Result<()> {
        let done = match self.tier {
            Tier::Fentry => self.attach_entries(attached, types),
            _ => self.attach_probes(attached, types),
        };
        self.maps.clear();
        self.state = match &done {
            Ok(()) => KernelTls::Attached,
            Err(error) => KernelTls::Refused(brief(error)),
        };
        done
    }

    fn attach_entries(&self, attached: &mut Attached, kernel: &KernelTypes) -> Result<()> {
        let is_module = !kernel.has_function("tls_sw_sendmsg");
        let (module, object) = if is_module {
            let types = kernel.of_module(MODULE)?;
            (Some(types), Some(modules::types_of(MODULE)?))
        } else {
            (None, None)
        };
        let types = module.as_ref().unwrap_or(kernel);
        if types.arguments("tls_sw_recvmsg") != kernel.arguments("tcp_recvmsg") {
            bail!("tls_sw_recvmsg has other arguments than tcp_recvmsg");
        }
        let mut plan = self.plan(types);
        if self.preemptible {
            plan = with_spares(plan);
        }
        let descriptor = |name: &str| Some(self.maps.get(name)?.as_raw_fd());
        let programs = Programs::new(OBJECT, descriptor)?;
        let mut loaded = Vec::new();
        for (name, hook) in &plan {
            let target = Target {
                function: types
                    .function_id(hook.name())
                    .with_context(|| format!("this kernel has no {}", hook.name()))?,
                object: object.as_ref().map(|types| types.as_raw_fd()),
            };
            let program = programs.load_at(name, *hook, target);
            loaded.push((
                *name,
                program.with_context(|| format!("{name} on {}", hook.name()))?,
            ));
        }
        attached.attach_while_running(loaded, &plan)
    }

    fn attach_probes(&self, attached: &mut Attached, kernel: &KernelTypes) -> Result<()> {
        let plan = self.plan(kernel);
        for (name, hook) in &plan {
            load_probe(&mut attached.ebpf, name)
                .with_context(|| format!("{name} on {}", hook.name()))?;
        }
        for (name, hook) in &plan {
            attach(&mut attached.ebpf, name, *hook)
                .with_context(|| format!("{name} on {}", hook.name()))?;
        }
        Ok(())
    }

    fn plan(&self, types: &KernelTypes) -> Vec<(&'static str, Hook)> {
        let programs = self.tier.tls_programs().iter().copied();
        programs
            .filter(|(_, hook)| !hook.is_left_out(types))
            .collect()
    }
}
