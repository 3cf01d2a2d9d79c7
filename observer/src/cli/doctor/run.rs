//! Probes, then says what was found.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Context as _;

use super::{Finding, Report, State, TierReport, rings, tax};
use crate::{
    cli::{
        exit,
        palette::Palette,
        privileges::{Lacking, Privileges},
    },
    kernel::{
        Features, Kernel, KernelTls, KernelTypes, LoadOptions, Tier, brief,
        inject::{self, Injection, Test},
        offsets, tcp_option, try_tcp_option, uprobes,
    },
};

/// Runs `observer doctor`.
pub fn run(json: bool) -> anyhow::Result<ExitCode> {
    say(&probe()?, json)
}

/// What this machine allows: every tier is really loaded and attached, then taken away again.
fn probe() -> anyhow::Result<Report> {
    let read = Privileges::read().context("cannot read this process's capabilities")?;
    if let Some(lacking) = read.lacking() {
        return Ok(unusable(vec![privileges(&lacking)]));
    }
    let mut findings = vec![Finding::ok("privileges", "everything that is needed")];
    let types = match KernelTypes::of_running_kernel() {
        Ok(types) => types,
        Err(error) => {
            findings.push(Finding::lacking(
                "kernel type information",
                State::Missing,
                error.to_string(),
                "run a kernel built with CONFIG_DEBUG_INFO_BTF=y",
            ));
            return Ok(unusable(findings));
        }
    };
    match offsets(&types) {
        Ok(_) => findings.push(Finding::ok(
            "kernel type information",
            "every field that the programs need was found",
        )),
        Err(error) => {
            findings.push(Finding::lacking(
                "kernel type information",
                State::Missing,
                error.to_string(),
                "report this kernel to the project",
            ));
            return Ok(unusable(findings));
        }
    }
    let features = Features::probe(&types);
    // The same in every tier.
    let mut breakpoints = None;
    let mut encrypted = Vec::new();
    let tiers: Vec<TierReport> = Tier::ALL
        .into_iter()
        .map(|tier| {
            let options = LoadOptions {
                tier: Some(tier),
                connections: 64,
                ring_bytes: 64 << 10,
                ..LoadOptions::default()
            };
            let tried = Kernel::try_tier(tier, &types, &features, &options);
            let refused = match tried {
                Ok(mut kernel) => {
                    breakpoints.get_or_insert_with(|| kernel.load_uprobes(uprobes::PROGRAMS));
                    encrypted.push((tier.as_str(), kernel.kernel_tls().clone()));
                    None
                }
                Err(error) => Some(error),
            };
            TierReport {
                name: tier.as_str(),
                usable: refused.is_none(),
                why_not: refused.map(|error| brief(&error)),
            }
        })
        .collect();
    let chosen = Tier::AUTOMATIC
        .into_iter()
        .map(Tier::as_str)
        .find(|name| tiers.iter().any(|tier| tier.name == *name && tier.usable));
    lockdown(&features, &mut findings);
    syscall(&tiers, &types, &features, &mut findings);
    send_hook(chosen, &features, &mut findings);
    findings.extend(rings::finding(chosen, &types, &features));
    hand_over(&types, &features, &mut findings);
    preemption(&features, &mut findings);
    let of_chosen = encrypted
        .into_iter()
        .find(|(tier, _)| chosen == Some(*tier));
    findings.extend(of_chosen.map(|(_, state)| kernel_tls(state)));
    if let Some(loaded) = breakpoints {
        findings.push(parents(loaded, &features));
    }
    injection(chosen, &types, &features, &mut findings);
    namespace(&mut findings);
    containers(&mut findings);
    Ok(Report {
        kernel: features.release,
        chosen,
        tiers,
        findings,
    })
}

fn privileges(lacking: &Lacking) -> Finding {
    Finding::lacking(
        "privileges",
        State::Missing,
        lacking.sentence(),
        lacking.remedy(),
    )
}

fn unusable(findings: Vec<Finding>) -> Report {
    Report {
        kernel: rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned(),
        chosen: None,
        tiers: Vec::new(),
        findings,
    }
}

fn lockdown(features: &Features, findings: &mut Vec<Finding>) {
    findings.push(match features.lockdown.as_deref() {
        Some(mode @ "confidentiality") => Finding::lacking(
            "kernel lockdown",
            State::Degraded,
            format!(
                "{mode}: programs may not read kernel memory by address; typed reads still work"
            ),
            "nothing, unless a tier that you need is missing above",
        ),
        Some(mode) => Finding::ok("kernel lockdown", mode),
        None => Finding::ok("kernel lockdown", "not told by this kernel"),
    });
}

/// What the tier costs that is taken only when it is asked for.
fn syscall(
    tiers: &[TierReport],
    types: &KernelTypes,
    features: &Features,
    findings: &mut Vec<Finding>,
) {
    let name = Tier::Syscall.as_str();
    if !tiers.iter().any(|tier| tier.name == name && tier.usable) {
        return;
    }
    let options = LoadOptions {
        connections: 64,
        ring_bytes: 64 << 10,
        ..LoadOptions::default()
    };
    let detail = match tax::measure(Tier::Syscall, types, features, &options) {
        Ok(tax) => format!(
            "makes every process slower: measured now, a small file read took {:.1} times as long \
             ({} ns, bare {} ns); io_uring is not seen; sends are seen when they are over",
            tax.factor(),
            tax.taxed.as_nanos(),
            tax.bare.as_nanos()
        ),
        Err(error) => format!("makes every process slower (not measured: {error:#})"),
    };
    findings.push(Finding::lacking(
        "tier syscall",
        State::Degraded,
        detail,
        "nothing, unless you ask for it: only --tier syscall takes it",
    ));
}

fn send_hook(chosen: Option<&str>, features: &Features, findings: &mut Vec<Finding>) {
    if chosen != Some(Tier::Socket.as_str()) {
        return;
    }
    findings.push(if features.send_start_tracepoint {
        Finding::ok(
            "sends",
            "seen before their bytes leave (tcp_sendmsg_locked)",
        )
    } else {
        Finding::lacking(
            "sends",
            State::Degraded,
            "seen when they are over: about 1 in 700 same-host calls loses its parent",
            "a kernel from 6.16 has the tracepoint tcp_sendmsg_locked",
        )
    });
}

/// Tries what `--inject-headers auto` does.
fn injection(
    chosen: Option<&str>,
    types: &KernelTypes,
    features: &Features,
    findings: &mut Vec<Finding>,
) {
    let Some(tier) = Tier::AUTOMATIC
        .into_iter()
        .find(|tier| chosen == Some(tier.as_str()))
    else {
        return;
    };
    let options = LoadOptions {
        tier: Some(tier),
        connections: 64,
        ring_bytes: 64 << 10,
        observer_tgid: std::process::id(),
        inject: true,
        ..LoadOptions::default()
    };
    let tried = inject::precondition(features).and_then(|()| {
        let mut kernel = Kernel::load(types, features, &options).map_err(|error| brief(&error))?;
        match inject::begin(&mut kernel, Test::First) {
            Injection::Off(reason) => Err(reason),
            _ => Ok(()),
        }
    });
    findings.push(match tried {
        Ok(()) => Finding::ok(
            "header injection",
            "works (--inject-headers auto turns it on; it is off unless asked for)",
        ),
        Err(reason) => Finding::lacking(
            "header injection",
            State::Degraded,
            format!("off, also with --inject-headers auto: {reason}"),
            "nothing: traces join on one host without it",
        ),
    });
}

/// Off unless somebody names networks. Tries it with a network that nobody has.
fn hand_over(types: &KernelTypes, features: &Features, findings: &mut Vec<Finding>) {
    let name = "TCP option";
    // RFC 5737: an example's network.
    let tried = "192.0.2.0/24"
        .parse()
        .map_err(anyhow::Error::from)
        .and_then(|network| try_tcp_option(types, features, &[network]));
    findings.push(match tried {
        Err(error) => Finding::lacking(
            name,
            State::Degraded,
            format!("cannot be used: {}", brief(&error)),
            "nothing, unless traces are to go on between hosts without a header (--tcp-option-peers)",
        ),
        Ok(()) if tcp_option::can_adopt(types) => Finding::ok(
            name,
            "can hand trace context to other hosts; off unless --tcp-option-peers names them",
        ),
        Ok(()) => Finding::ok(
            name,
            "can hand trace context to other hosts; off unless --tcp-option-peers names them; servers that listen before \
             observer starts take none (6.12 and later let them)",
        ),
    });
}

fn preemption(features: &Features, findings: &mut Vec<Finding>) {
    findings.push(if features.preemptible {
        Finding::ok(
            "preemption",
            "this kernel preempts itself: each program has a spare (observer_lost_total{reason=\"program_missed\"})",
        )
    } else {
        Finding::ok("preemption", "this kernel lets programs run to their end")
    });
}

/// Whether the plaintext of connections that the kernel encrypts is seen.
fn kernel_tls(state: KernelTls) -> Finding {
    let name = "kernel TLS";
    match state {
        KernelTls::Included => Finding::ok(name, "seen where both directions use it"),
        KernelTls::Attached => Finding::ok(name, "seen where both directions use it (module tls)"),
        KernelTls::Awaited => Finding::ok(
            name,
            "nobody uses it: the module tls is not loaded; its hooks follow within a second when it is",
        ),
        KernelTls::Refused(reason) => Finding::lacking(
            name,
            State::Degraded,
            format!("connections that use it show no exchanges: {reason}"),
            "the module's type information (CONFIG_DEBUG_INFO_BTF_MODULES=y, 5.11) and CAP_SYS_ADMIN, or another tier",
        ),
    }
}

/// Whether the parents of calls can be asked of the runtimes that make them.
fn parents(loaded: anyhow::Result<()>, features: &Features) -> Finding {
    match loaded {
        Ok(()) => {
            let how = match features.many_uprobes {
                true => "one link a program",
                false => "one by one before 6.6: the end may take seconds",
            };
            Finding::ok(
                "parents of calls",
                format!(
                    "of threads, nginx, Node, Go, asyncio, puma and tokio (breakpoints, {how})"
                ),
            )
        }
        Err(error) => Finding::lacking(
            "parents of calls",
            State::Degraded,
            format!("of threads only, no breakpoints: {}", brief(&error)),
            "a kernel with CONFIG_UPROBES=y that allows them",
        ),
    }
}

fn namespace(findings: &mut Vec<Finding>) {
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
fn containers(findings: &mut Vec<Finding>) {
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

/// Writes the report to standard output; the exit code is 1 where nothing can be traced.
fn say(report: &Report, json: bool) -> anyhow::Result<ExitCode> {
    let text = if json {
        report.json() + "\n"
    } else {
        report.text(Palette::of(&io::stdout()))
    };
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error.into()),
        _ => {}
    }
    Ok(ExitCode::from(if report.can_trace() {
        exit::OK
    } else {
        exit::CANNOT_TRACE
    }))
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
