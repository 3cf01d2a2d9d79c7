//! The object, its programs and what keeps them attached.
//!
//! In: programs that are loaded. Out: what they counted. Owns: every program, link and map; dropping it detaches
//! everything.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
};

use anyhow::Result;
use aya::Ebpf;
use observer_abi::loss::Counter;

use super::{
    attach::attach_loaded,
    counters,
    hook::Hook,
    maps,
    programs::Loaded,
    statistics::{Calls, ProgramStats, memory_of, taken_over},
};

/// The programs at work.
pub(super) struct Attached {
    pub(super) ebpf: Ebpf,
    /// Programs that aya does not hold.
    pub(super) programs: Vec<(&'static str, Loaded)>,
    /// Their links.
    links: Vec<OwnedFd>,
    /// Calls that are not to be counted: programs were being attached.
    unsettled: Calls,
}

impl Attached {
    pub(super) fn new(
        ebpf: Ebpf,
        programs: Vec<(&'static str, Loaded)>,
        links: Vec<OwnedFd>,
    ) -> Self {
        Self {
            ebpf,
            programs,
            links,
            unsettled: Calls::default(),
        }
    }

    /// Calls are counted as lost from here on.
    pub(super) fn settle(&mut self) -> Result<()> {
        self.unsettled = Calls::of(&self.program_stats(), &self.counters()?);
        Ok(())
    }

    /// Attaches programs with their spares, which serve every call until the programs are there. All of them, or none.
    pub(super) fn attach_while_running(
        &mut self,
        programs: Vec<(&'static str, Loaded)>,
        plan: &[(&'static str, Hook)],
    ) -> Result<()> {
        let before = taken_over(&self.counters()?);
        let links = attach_loaded(&programs, plan)?;
        let after = taken_over(&self.counters()?);
        self.unsettled.taken_over += after.saturating_sub(before);
        self.links.extend(links);
        self.programs.extend(programs);
        Ok(())
    }

    /// The counters, summed over the CPUs.
    pub(super) fn counters(&self) -> Result<Vec<(Counter, &'static str, u64)>> {
        counters::sums(&self.ebpf)
    }

    /// Kernel memory of each map that is still held here, bytes.
    pub(super) fn map_bytes(&self) -> BTreeMap<String, u64> {
        self.ebpf
            .maps()
            .filter_map(|(name, map)| {
                let bytes = memory_of(maps::descriptor(map)?.as_raw_fd())?;
                Some((name.to_owned(), bytes))
            })
            .collect()
    }

    /// What the kernel tells of each loaded program.
    pub(super) fn program_stats(&self) -> Vec<ProgramStats> {
        let mut stats = Vec::new();
        for (name, program) in self.ebpf.programs() {
            let Ok(info) = program.info() else { continue };
            let Ok(descriptor) = info.fd() else { continue };
            stats.extend(ProgramStats::of(name, descriptor.as_fd().as_raw_fd()));
        }
        for (name, program) in &self.programs {
            stats.extend(ProgramStats::of(name, program.as_raw_fd()));
        }
        stats
    }

    /// Calls that no program dealt with, from what the programs and then the counters said.
    pub(super) fn lost_calls(
        &self,
        stats: &[ProgramStats],
        counters: &[(Counter, &'static str, u64)],
    ) -> u64 {
        Calls::of(stats, counters).lost_since(self.unsettled)
    }
}
