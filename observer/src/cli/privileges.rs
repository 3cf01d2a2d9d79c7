//! May this process trace at all?

use std::{fmt, fs, io};

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
        }
    }

    /// Bit in `CapEff` (include/uapi/linux/capability.h).
    const fn bit(self) -> u32 {
        match self {
            Self::DacReadSearch => 2,
            Self::SysPtrace => 19,
            Self::SysAdmin => 21,
            Self::Perfmon => 38,
            Self::Bpf => 39,
        }
    }
}

/// What this process may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Privileges {
    /// `CapEff`, a bit a capability.
    effective: u64,
    /// The highest capability that the kernel knows (`/proc/sys/kernel/cap_last_cap`).
    last: u32,
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
    /// `/proc` is not mounted or says something else than Linux does.
    pub fn read() -> io::Result<Self> {
        Self::parse(
            &fs::read_to_string("/proc/self/status")?,
            &fs::read_to_string("/proc/sys/kernel/cap_last_cap")?,
            &fs::read_to_string("/proc/self/uid_map")?,
        )
    }

    fn parse(status: &str, last: &str, uid_map: &str) -> io::Result<Self> {
        let unreadable = |what: &str| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("cannot read capabilities: {what}"),
            )
        };
        let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        let effective = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
        Ok(Self {
            effective: effective.ok_or_else(|| unreadable("no CapEff in /proc/self/status"))?,
            last: last
                .trim()
                .parse()
                .map_err(|_| unreadable("/proc/sys/kernel/cap_last_cap is not a number"))?,
            initial_user_namespace: uid_map.split_whitespace().eq(["0", "0", "4294967295"]),
        })
    }

    /// What tracing lacks, `None` when it may go ahead. CAP_SYS_ADMIN stands in for CAP_BPF and CAP_PERFMON, as the
    /// kernel has it.
    pub fn lacking(&self) -> Option<Lacking> {
        use Capability::{Bpf, DacReadSearch, Perfmon, SysAdmin, SysPtrace};
        let has = |capability: Capability| self.effective >> capability.bit() & 1 == 1;
        let known = self.last >= Bpf.bit();
        let load: &[Capability] = match (has(SysAdmin), known) {
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

    fn privileges(effective: u64, last: u32, uid_map: &str) -> Privileges {
        let status =
            format!("Name:\tobserver\nCapInh:\t0000000000000000\nCapEff:\t{effective:016x}\n");
        Privileges::parse(&status, &format!("{last}\n"), uid_map).unwrap()
    }

    const INITIAL: &str = "         0          0 4294967295\n";

    #[test]
    fn root_lacks_nothing() {
        assert_eq!(privileges(0x1ff_ffff_ffff, 40, INITIAL).lacking(), None);
    }

    #[test]
    fn the_four_capabilities_are_enough() {
        assert_eq!(
            privileges(1 << 39 | 1 << 38 | 1 << 19 | 1 << 2, 40, INITIAL).lacking(),
            None
        );
        assert_eq!(
            privileges(1 << 21 | 1 << 19 | 1 << 2, 40, INITIAL).lacking(),
            None
        );
    }

    #[test]
    fn exactly_what_is_missing_is_named() {
        let lacking = privileges(1 << 39 | 1 << 19, 40, INITIAL)
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
        let lacking = privileges(1 << 19 | 1 << 2, 37, INITIAL).lacking();
        assert_eq!(
            lacking,
            Some(Lacking::Capabilities(vec![Capability::SysAdmin]))
        );
    }

    #[test]
    fn capabilities_of_a_user_namespace_do_not_count() {
        let lacking = privileges(0x1ff_ffff_ffff, 40, "0 100000 65536\n").lacking();
        assert_eq!(lacking, Some(Lacking::UserNamespace));
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        assert!(Privileges::parse("CapEff:\tzz\n", "40", INITIAL).is_err());
        assert!(Privileges::parse("Name: x\n", "40", INITIAL).is_err());
        assert!(Privileges::parse("CapEff:\t0\n", "", INITIAL).is_err());
        Privileges::read().unwrap();
    }
}
