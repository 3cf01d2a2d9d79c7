//! Loading and attaching single programs, by aya or past it.

use std::{
    collections::{BTreeMap, HashSet},
    os::fd::OwnedFd,
};

use anyhow::{Context as _, Result, anyhow, bail};
use aya::{
    Btf, Ebpf,
    programs::{BtfTracePoint, FEntry, FExit, KProbe, Program},
};

use super::{hook::Hook, parallel, programs::Loaded};

/// Loads a tier's programs, on all CPUs: the verifier takes most of the time to get ready.
pub(super) fn load_all(ebpf: &mut Ebpf, wanted: &[(&'static str, Hook)], btf: &Btf) -> Result<()> {
    let mut programs: BTreeMap<String, &mut Program> = ebpf
        .programs_mut()
        .map(|(name, program)| (name.to_owned(), program))
        .collect();
    // One on several functions is loaded once.
    let mut begun = HashSet::new();
    let jobs: Vec<_> = wanted
        .iter()
        .filter(|(name, _)| begun.insert(*name))
        .map(|(name, hook)| (*name, *hook, programs.remove(*name)))
        .collect();
    parallel::each(jobs, |(name, hook, program)| {
        load(program, hook, btf).with_context(|| format!("{name} on {}", hook.name()))
    })?;
    Ok(())
}

fn load(program: Option<&mut Program>, hook: Hook, btf: &Btf) -> Result<()> {
    let program = program.ok_or_else(|| anyhow!("not in the object"))?;
    match hook {
        Hook::Tracepoint(function) | Hook::TracepointIfThere(function) => {
            <&mut BtfTracePoint>::try_from(program)?.load(function, btf)?
        }
        Hook::Enter(function) | Hook::EnterIf(function, _) => {
            <&mut FEntry>::try_from(program)?.load(function, btf)?
        }
        Hook::Exit(function) | Hook::ExitIf(function, _) => {
            <&mut FExit>::try_from(program)?.load(function, btf)?
        }
        _ => <&mut KProbe>::try_from(program)?.load()?,
    }
    Ok(())
}

/// Attaches programs that aya does not hold, in the order of their plan.
pub(super) fn attach_loaded(
    loaded: &[(&'static str, Loaded)],
    plan: &[(&'static str, Hook)],
) -> Result<Vec<OwnedFd>> {
    let attach = |((_, program), (name, hook)): (&(_, Loaded), &(&str, Hook))| {
        let link = program.attach();
        link.with_context(|| format!("{name} on {}", hook.name()))
    };
    loaded.iter().zip(plan).map(attach).collect()
}

/// Loads a kprobe's program, which needs no types.
pub(super) fn load_probe(ebpf: &mut Ebpf, name: &str) -> Result<()> {
    let program = ebpf
        .program_mut(name)
        .ok_or_else(|| anyhow!("not in the object"))?;
    <&mut KProbe>::try_from(program)?.load()?;
    Ok(())
}

/// Attaches a program that aya loaded.
pub(super) fn attach(ebpf: &mut Ebpf, name: &str, hook: Hook) -> Result<()> {
    match ebpf
        .program_mut(name)
        .ok_or_else(|| anyhow!("not in the object"))?
    {
        Program::BtfTracePoint(program) => program.attach().map(|_| ())?,
        Program::FEntry(program) => program.attach().map(|_| ())?,
        Program::FExit(program) => program.attach().map(|_| ())?,
        Program::KProbe(program) => program.attach(hook.name(), 0).map(|_| ())?,
        _ => bail!("a program of an unexpected type"),
    }
    Ok(())
}
