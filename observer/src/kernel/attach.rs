//! Loading and attaching single programs, by aya or past it.

use std::{
    collections::{BTreeMap, HashSet},
    os::fd::OwnedFd,
};

use anyhow::{Context as _, Result, anyhow, bail};
use aya::{
    Ebpf,
    programs::{KProbe, Program},
};

use super::{
    hook::Hook,
    parallel,
    programs::{Loaded, Programs},
    types::KernelTypes,
};

/// Loads a tier's programs, on all CPUs: the verifier takes most of the time to get ready. Returns those that aya does not
/// hold: all but kprobes.
pub(super) fn load_all(
    ebpf: &mut Ebpf,
    programs: &Programs,
    wanted: &[(&'static str, Hook)],
    types: &KernelTypes,
) -> Result<Vec<(&'static str, Loaded)>> {
    let mut probes: BTreeMap<String, &mut Program> = ebpf
        .programs_mut()
        .map(|(name, program)| (name.to_owned(), program))
        .collect();
    // One on several functions is loaded once.
    let mut begun = HashSet::new();
    let jobs: Vec<_> = wanted
        .iter()
        .filter(|(name, _)| begun.insert(*name))
        .map(|(name, hook)| (*name, *hook, probes.remove(*name)))
        .collect();
    let loaded = parallel::each(jobs, |(name, hook, probe)| {
        let loaded = if hook.is_probe() {
            load(probe).map(|()| None)
        } else {
            programs.load(name, hook, types).map(Some)
        };
        let loaded = loaded.with_context(|| format!("{name} on {}", hook.name()))?;
        Ok(loaded.map(|loaded| (name, loaded)))
    })?;
    Ok(loaded.into_iter().flatten().collect())
}

fn load(probe: Option<&mut Program>) -> Result<()> {
    let probe = probe.ok_or_else(|| anyhow!("not in the object"))?;
    <&mut KProbe>::try_from(probe)?.load()?;
    Ok(())
}

/// Attaches a tier's programs in the order of its plan. Returns the links of those that aya does not hold.
pub(super) fn attach_all(
    ebpf: &mut Ebpf,
    loaded: &[(&'static str, Loaded)],
    plan: &[(&'static str, Hook)],
) -> Result<Vec<OwnedFd>> {
    let mut links = Vec::new();
    for (name, hook) in plan {
        let past = loaded.iter().find(|(known, _)| known == name);
        let link = match past {
            Some((_, program)) => program.attach().map(Some),
            None => attach(ebpf, name, *hook).map(|()| None),
        };
        links.extend(link.with_context(|| format!("{name} on {}", hook.name()))?);
    }
    Ok(links)
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
    load(ebpf.program_mut(name))
}

/// Attaches a kprobe's program.
pub(super) fn attach(ebpf: &mut Ebpf, name: &str, hook: Hook) -> Result<()> {
    match ebpf
        .program_mut(name)
        .ok_or_else(|| anyhow!("not in the object"))?
    {
        Program::KProbe(program) => program.attach(hook.name(), 0).map(|_| ())?,
        _ => bail!("a program of an unexpected type"),
    }
    Ok(())
}
