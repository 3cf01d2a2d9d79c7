//! Header injection: the programs that insert `traceparent` into HTTP/1 requests, and whether they may.
//!
//! In: the programs of the loaded object, the root control group. Out: attached programs, or the reason why not.
//! Owns: the self-test, and the list of connections that have to leave the socket map.

mod self_test;

use std::fmt;

use anyhow::{Context as _, Result, anyhow};
use aya::{
    maps::{Array, MapData, RingBuf, SockHash},
    programs::{CgroupAttachMode, Program, SkMsg, SockOps},
};
use observer_abi::control::{InjectionControl, injection};
use rustix::thread::{CapabilitySet, capabilities};

use super::{Features, Kernel, control_group, maps, refusal::brief};

/// Whether headers are injected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Injection {
    /// They are, into requests of captured processes.
    On,
    /// They are not, for this reason.
    Off(String),
}

impl fmt::Display for Injection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::On => formatter.write_str("on"),
            Self::Off(reason) => write!(formatter, "off: {reason}"),
        }
    }
}

/// Whether injection is tried on connections of observer's own before it touches any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    /// It is, and does not begin where that fails.
    First,
    /// It is not.
    No,
}

/// Whether it can work here at all, before anything is loaded.
///
/// # Errors
/// Why not.
pub fn precondition(features: &Features) -> Result<(), String> {
    if !features.may_probe_read() {
        return Err(
            "the kernel is locked down (confidentiality): its programs may not read messages"
                .to_owned(),
        );
    }
    let may = capabilities(None).is_ok_and(|own| own.effective.contains(CapabilitySet::NET_ADMIN));
    if !may {
        return Err(
            "CAP_NET_ADMIN is missing: without it the kernel makes no socket map".to_owned(),
        );
    }
    control_group::root()
        .map(drop)
        .map_err(|error| format!("{error:#}"))
}

/// Attaches the programs of a kernel that was loaded with [`super::LoadOptions::inject`], tries them, and leaves them on
/// where they work.
pub fn begin(kernel: &mut Kernel, test: Test) -> Injection {
    match attempt(kernel, test) {
        Ok(()) => Injection::On,
        Err(error) => {
            tracing::debug!(error = format!("{error:#}"), "header injection refused");
            detach(kernel);
            Injection::Off(brief(&error))
        }
    }
}

fn attempt(kernel: &mut Kernel, test: Test) -> Result<()> {
    attach(kernel)?;
    if test == Test::First {
        set(kernel, injection::SELF_TEST)?;
        let tested = self_test::run();
        set(kernel, injection::OFF)?;
        tested.map_err(|failure| anyhow!("the self-test on loopback failed: {failure}"))?;
    }
    set(kernel, injection::ON)
}

/// Loads both programs and attaches them. They take no connection yet.
fn attach(kernel: &mut Kernel) -> Result<()> {
    let group = control_group::root()?;
    let map: SockHash<_, u64> = SockHash::try_from(
        kernel
            .attached
            .ebpf
            .map("INJECTED")
            .ok_or_else(|| anyhow!("the object has no map INJECTED"))?,
    )?;
    let descriptor = map.fd().try_clone()?;
    let message: &mut SkMsg = program(kernel, "inject_message")?.try_into()?;
    message.load().context("inject_message")?;
    message.attach(&descriptor).context("inject_message")?;
    let established: &mut SockOps = program(kernel, "inject_established")?.try_into()?;
    established.load().context("inject_established")?;
    established
        .attach(&group, CgroupAttachMode::Single)
        .context("inject_established")?;
    Ok(())
}

fn detach(kernel: &mut Kernel) {
    for name in ["inject_established", "inject_message"] {
        let unloaded = match program(kernel, name) {
            Ok(Program::SkMsg(program)) => program.unload(),
            Ok(Program::SockOps(program)) => program.unload(),
            _ => continue,
        };
        if let Err(error) = unloaded {
            tracing::debug!(%error, name, "not unloaded");
        }
    }
}

fn program<'a>(kernel: &'a mut Kernel, name: &str) -> Result<&'a mut Program> {
    kernel
        .attached
        .ebpf
        .program_mut(name)
        .ok_or_else(|| anyhow!("the object has no program {name}"))
}

fn set(kernel: &mut Kernel, mode: u32) -> Result<()> {
    let map = kernel
        .attached
        .ebpf
        .map_mut("INJECTION_CONTROL")
        .ok_or_else(|| anyhow!("the object has no map INJECTION_CONTROL"))?;
    Array::try_from(map)?
        .set(0, InjectionControl { mode, reserved: 0 }, 0)
        .context("cannot switch header injection")
}

/// Takes connections out of the socket map once nothing more is injected into them.
pub struct Leaving {
    named: RingBuf<MapData>,
    sockets: SockHash<MapData, u64>,
}

impl Leaving {
    /// Of a kernel where injection is on.
    ///
    /// # Errors
    /// When the object is not as expected.
    pub fn of(kernel: &mut Kernel) -> Result<Self> {
        let ebpf = &mut kernel.attached.ebpf;
        Ok(Self {
            named: RingBuf::try_from(maps::take(ebpf, "LEAVING")?)?,
            sockets: SockHash::try_from(maps::take(ebpf, "INJECTED")?)?,
        })
    }

    /// Removes the connections that the programs named since the last call. One that closed meanwhile is gone already.
    pub fn drain(&mut self) {
        while let Some(key) = self.named.next() {
            if let Ok(bytes) = <[u8; 8]>::try_from(&key[..]) {
                let _ = self.sockets.remove(&u64::from_ne_bytes(bytes));
            }
        }
    }
}
