//! May this process trace at all?

use std::{fmt, fs, io};

use rustix::thread::{CapabilitySet, capabilities, capability_is_in_bounding_set};

/// A Linux capability that tracing needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Capability {
    /// Read any file: the executables of other users' processes.
    DacReadSearch,
    /// Read other processes' environment, file descriptors and executables in `/proc`.
    SysPtrace,
    /// Load BPF programs on kernels before 5.8, which know neither of the next two.
    SysAdmin,
    /// Attach BPF programs to tracing hooks, and read kernel and user memory in them.
    Perfmon,
    /// Load BPF programs and make maps.
    Bpf,
    /// Attach BPF programs to control groups, for trace context in TCP options and headers.
    NetAdmin,
}

impl Capability {
    /// Name, as in capabilities(7).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DacReadSearch => "CAP_DAC_READ_SEARCH",
            Self::SysPtrace => "CAP_SYS_PTRACE",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::Perfmon => "CAP_PERFMON",
            Self::Bpf => "CAP_BPF",
            Self::NetAdmin => "CAP_NET_ADMIN",
        }
    }

    /// What it is needed for.
    pub const fn purpose(self) -> &'static str {
        match self {
            Self::DacReadSearch => "read the executables of other users' processes",
            Self::SysPtrace => "read other processes' environment and sockets in /proc",
            Self::SysAdmin => "load and attach BPF programs on a kernel before 5.8",
            Self::Perfmon => "attach BPF programs to tracing hooks",
            Self::Bpf => "load BPF programs and make maps",
            Self::NetAdmin => "attach BPF programs to control groups and sockets",
        }
    }

    const fn flag(self) -> CapabilitySet {
        match self {
            Self::DacReadSearch => CapabilitySet::DAC_READ_SEARCH,
            Self::SysPtrace => CapabilitySet::SYS_PTRACE,
            Self::SysAdmin => CapabilitySet::SYS_ADMIN,
            Self::Perfmon => CapabilitySet::PERFMON,
            Self::Bpf => CapabilitySet::BPF,
            Self::NetAdmin => CapabilitySet::NET_ADMIN,
        }
    }
}

/// What this process may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Privileges {
    effective: CapabilitySet,
    /// The kernel knows CAP_BPF and CAP_PERFMON (5.8).
    has_bpf: bool,
    /// In the initial user namespace: the only one whose capabilities count for BPF.
    initial_user_namespace: bool,
}

/// Why this process may not trace. Its text names what is missing and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lacking {
    /// Capabilities are missing; never empty.
    Capabilities(Vec<Capability>),
    /// Capabilities do not count here.
    UserNamespace,
}

impl Privileges {
    /// Reads this process's own.
    ///
    /// # Errors
    /// `/proc` is not mounted.
    pub fn read() -> io::Result<Self> {
        let uid_map = fs::read_to_string("/proc/self/uid_map")?;
        Ok(Self {
            effective: capabilities(None)?.effective,
            // The kernel refuses to speak of one that it does not know.
            has_bpf: capability_is_in_bounding_set(CapabilitySet::BPF).is_ok(),
            initial_user_namespace: is_initial(&uid_map),
        })
    }

    /// It has CAP_SYS_ADMIN, which nothing needs on newer kernels.
    pub fn is_administrator(&self) -> bool {
        self.effective.contains(CapabilitySet::SYS_ADMIN)
    }

    /// It has this one.
    pub fn has(&self, capability: Capability) -> bool {
        self.effective.contains(capability.flag())
    }

    /// What tracing lacks, `None` when it may go ahead. CAP_SYS_ADMIN stands in for CAP_BPF and CAP_PERFMON, as the
    /// kernel has it.
    pub fn lacking(&self) -> Option<Lacking> {
        use Capability::{Bpf, DacReadSearch, Perfmon, SysAdmin, SysPtrace};
        let has = |capability| self.has(capability);
        let load: &[Capability] = match (has(SysAdmin), self.has_bpf) {
            (true, _) => &[],
            (false, true) => &[Bpf, Perfmon],
            (false, false) => &[SysAdmin],
        };
        let needed = load.iter().copied().chain([SysPtrace, DacReadSearch]);
        let missing: Vec<Capability> = needed.filter(|capability| !has(*capability)).collect();
        match (missing.is_empty(), self.initial_user_namespace) {
            (false, _) => Some(Lacking::Capabilities(missing)),
            (true, false) => Some(Lacking::UserNamespace),
            (true, true) => None,
        }
    }
}

/// Of the initial user namespace, every user id maps to itself.
fn is_initial(uid_map: &str) -> bool {
    uid_map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// Goes ahead only where this process may trace.
///
/// # Errors
/// Names exactly what is missing, what for, and what to do; the command ends with exit code 1.
pub fn require() -> anyhow::Result<()> {
    match Privileges::read()?.lacking() {
        None => Ok(()),
        Some(lacking) => Err(anyhow::anyhow!("{lacking}")),
    }
}

impl Lacking {
    /// What is missing, on one line.
    pub fn sentence(&self) -> String {
        match self {
            Self::Capabilities(missing) => {
                let each = missing.iter().map(|capability| {
                    format!("{} ({})", capability.as_str(), capability.purpose())
                });
                each.collect::<Vec<_>>().join(", ")
            }
            Self::UserNamespace => {
                "this process is in a user namespace, where capabilities do not count for BPF"
                    .to_owned()
            }
        }
    }

    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::Capabilities(missing) => {
                let names: Vec<String> = missing
                    .iter()
                    .map(|capability| capability.as_str().to_ascii_lowercase())
                    .collect();
                let flags: Vec<String> = missing
                    .iter()
                    .map(|capability| {
                        format!(
                            "--cap-add {}",
                            capability.as_str().trim_start_matches("CAP_")
                        )
                    })
                    .collect();
                format!(
                    "run it as root (sudo observer …), or grant them: setcap {}+ep observer (a file), AmbientCapabilities= (systemd), {} (a container)",
                    names.join(","),
                    flags.join(" ")
                )
            }
            Self::UserNamespace => {
                "run it outside of the rootless container or user namespace".to_owned()
            }
        }
    }
}

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Capabilities(missing) => {
                f.write_str("cannot trace: this process lacks")?;
                for capability in missing {
                    write!(
                        f,
                        "\n  {:<20} {}",
                        capability.as_str(),
                        capability.purpose()
                    )?;
                }
                f.write_str("\n")?;
            }
            Self::UserNamespace => writeln!(f, "cannot trace: {}", self.sentence())?,
        }
        write!(f, "What to do: {}", self.remedy())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn privileges(effective: CapabilitySet, has_bpf: bool) -> Privileges {
        Privileges {
            effective,
            has_bpf,
            initial_user_namespace: true,
        }
    }

    const ALWAYS: CapabilitySet = CapabilitySet::SYS_PTRACE.union(CapabilitySet::DAC_READ_SEARCH);

    #[test]
    fn root_lacks_nothing() {
        let root = CapabilitySet::from_bits_retain(0x1ff_ffff_ffff);
        assert_eq!(privileges(root, true).lacking(), None);
    }

    #[test]
    fn the_four_capabilities_are_enough() {
        for load in [
            CapabilitySet::BPF | CapabilitySet::PERFMON,
            CapabilitySet::SYS_ADMIN,
        ] {
            assert_eq!(privileges(ALWAYS | load, true).lacking(), None);
        }
    }

    #[test]
    fn exactly_what_is_missing_is_named() {
        let lacking = privileges(CapabilitySet::BPF | CapabilitySet::SYS_PTRACE, true)
            .lacking()
            .unwrap();
        assert_eq!(
            lacking,
            Lacking::Capabilities(vec![Capability::Perfmon, Capability::DacReadSearch])
        );
        assert_eq!(
            lacking.to_string(),
            "cannot trace: this process lacks
  CAP_PERFMON          attach BPF programs to tracing hooks
  CAP_DAC_READ_SEARCH  read the executables of other users' processes
What to do: run it as root (sudo observer …), or grant them: setcap cap_perfmon,cap_dac_read_search+ep observer (a file), \
AmbientCapabilities= (systemd), --cap-add PERFMON --cap-add DAC_READ_SEARCH (a container)"
        );
    }

    #[test]
    fn an_old_kernel_wants_sys_admin() {
        let lacking = privileges(ALWAYS, false).lacking();
        assert_eq!(
            lacking,
            Some(Lacking::Capabilities(vec![Capability::SysAdmin]))
        );
    }

    #[test]
    fn capabilities_of_a_user_namespace_do_not_count() {
        assert!(is_initial("         0          0 4294967295\n"));
        assert!(!is_initial("         0     100000      65536\n"));
        assert!(!is_initial(""));
        let rootless = Privileges {
            initial_user_namespace: false,
            ..privileges(CapabilitySet::from_bits_retain(0x1ff_ffff_ffff), true)
        };
        assert_eq!(rootless.lacking(), Some(Lacking::UserNamespace));
    }

    #[test]
    fn this_process_has_what_proc_says() {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        let bits = u64::from_str_radix(line.unwrap().trim(), 16).unwrap();
        let own = Privileges::read().unwrap();
        assert_eq!(own.effective.bits(), bits);
        let last = fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap();
        assert_eq!(own.has_bpf, last.trim().parse::<u32>().unwrap() >= 39);
    }
}
