//! What observer's own process may do and see.

use super::{Finding, State};
use crate::cli::privileges::Lacking;

pub(super) fn privileges(lacking: &Lacking) -> Finding {
    Finding::lacking(
        "privileges",
        State::Missing,
        lacking.sentence(),
        lacking.remedy(),
    )
}

pub(super) fn namespace(findings: &mut Vec<Finding>) {
    findings.push(match crate::process::is_own_pid_namespace_private() {
        Ok(false) => Finding::ok("pid namespace", "the host's"),
        Ok(true) => Finding::lacking(
            "pid namespace",
            State::Degraded,
            "observer's own: it cannot tell itself apart and starts only with a selector",
            "share the host's pid namespace (hostPID: true, --pid=host)",
        ),
        Err(error) => Finding::lacking(
            "pid namespace",
            State::Degraded,
            format!("cannot be told: {error}"),
            "mount /proc",
        ),
    });
}

/// Container ids come from `/proc/PID/cgroup`; whether and where control groups are mounted does not matter.
pub(super) fn containers(findings: &mut Vec<Finding>) {
    findings.push(match std::fs::read_to_string("/proc/self/cgroup") {
        Ok(_) => Finding::ok("container ids", "from each process's control groups"),
        Err(error) => Finding::lacking(
            "container ids",
            State::Degraded,
            format!("not known: {error}"),
            "a kernel built with CONFIG_CGROUPS=y tells them",
        ),
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::privileges::Capability;

    #[test]
    fn missing_capabilities_are_one_sentence_and_a_remedy() {
        let missing = vec![Capability::Bpf, Capability::SysPtrace];
        let finding = privileges(&Lacking::Capabilities(missing));
        assert_eq!(
            finding.detail,
            "CAP_BPF (load BPF programs and make maps), \
             CAP_SYS_PTRACE (read other processes' environment and sockets in /proc)"
        );
        assert!(
            finding
                .remedy
                .is_some_and(|remedy| remedy.contains("setcap cap_bpf,cap_sys_ptrace+ep"))
        );
    }
}
