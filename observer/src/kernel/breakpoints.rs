//! Kernel programs at places in executables.

use std::{os::fd::OwnedFd, path::Path};

use anyhow::{Context as _, Result, anyhow};
use aya::programs::{
    UProbe,
    uprobe::{UProbeLink, UProbeScope},
};

pub(crate) use super::programs::Reach;
use super::{parallel, running::Kernel};

/// Places in one executable where one program runs, until this is dropped.
#[expect(dead_code, reason = "dropping it removes the breakpoints")]
pub(crate) enum Breakpoints {
    /// In one link.
    Together(OwnedFd),
    /// A link each (before 6.6).
    Each(Vec<UProbeLink>),
}

impl Kernel {
    /// Loads the programs for executables, before any map is taken.
    ///
    /// # Errors
    /// When the kernel refuses one.
    pub fn load_uprobes(&mut self, names: &[&'static str]) -> Result<()> {
        let attached = &mut self.attached;
        if self.has_many_uprobes {
            let programs = self.not_loaded.as_ref();
            let programs = programs.ok_or_else(|| anyhow!("they are loaded at start, or never"))?;
            let loaded = parallel::each(names.to_vec(), |name| {
                let loaded = programs.load_for_executables(name);
                Ok((name, loaded.with_context(|| name.to_owned())?))
            })?;
            attached.programs.extend(loaded);
            return Ok(());
        }
        for name in names {
            let program: &mut UProbe = attached
                .ebpf
                .program_mut(name)
                .ok_or_else(|| anyhow!("the object has no program {name}"))?
                .try_into()?;
            program.load().with_context(|| (*name).to_owned())?;
        }
        Ok(())
    }

    /// Attaches one of these at places in a file.
    ///
    /// # Errors
    /// When the program was not loaded, or the kernel refuses a place.
    pub(crate) fn attach_uprobes(
        &mut self,
        name: &str,
        file: &Path,
        offsets: &[u64],
        reach: Reach,
    ) -> Result<Breakpoints> {
        if let Some((_, loaded)) = self
            .attached
            .programs
            .iter()
            .find(|(known, _)| *known == name)
        {
            let link = loaded.attach_at(file, offsets, reach);
            return Ok(Breakpoints::Together(link.context(name.to_owned())?));
        }
        let program: &mut UProbe = self
            .attached
            .ebpf
            .program_mut(name)
            .ok_or_else(|| anyhow!("the object has no program {name}"))?
            .try_into()?;
        let scope = || match reach {
            Reach::Everyone => UProbeScope::AllProcesses,
            Reach::Ourselves => UProbeScope::CallingProcess,
        };
        let mut links = Vec::new();
        for offset in offsets {
            let link = program.attach(*offset, file, scope());
            let link = link.map_err(|error| {
                let error = anyhow::Error::from(error);
                let place = format!("{name} at {offset:#x}");
                match is_for_administrators(&error) {
                    true => error.context(format!("{place} ({NEEDS_ADMIN})")),
                    false => error.context(place),
                }
            })?;
            links.push(program.take_link(link)?);
        }
        Ok(Breakpoints::Each(links))
    }
}

/// `perf_uprobe_event_init` of kernels with the fix of CVE-2025-38466 wants CAP_SYS_ADMIN, where CAP_PERFMON was enough.
/// Links for many places (6.6) do not come by there.
pub(crate) const NEEDS_ADMIN: &str = "before Linux 6.6 kernels with the fix of CVE-2025-38466 set breakpoints for CAP_SYS_ADMIN only";

fn is_for_administrators(error: &anyhow::Error) -> bool {
    let number = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<std::io::Error>()?.raw_os_error()
    };
    error.chain().find_map(number) == Some(libc::EACCES)
}

#[cfg(test)]
mod tests {
    use std::io;

    use aya::{programs::ProgramError, sys::SyscallError};

    use super::*;

    fn refused(number: i32) -> anyhow::Error {
        let io_error = io::Error::from_raw_os_error(number);
        let call = "perf_event_open";
        ProgramError::SyscallError(SyscallError { call, io_error }).into()
    }

    #[test]
    fn a_kernel_that_wants_an_administrator_is_told_from_others() {
        assert!(is_for_administrators(&refused(libc::EACCES)));
        assert!(!is_for_administrators(&refused(libc::EPERM)));
        assert!(!is_for_administrators(&anyhow!("no such program")));
    }
}
