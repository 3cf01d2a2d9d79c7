//! How the kernel is asked for bytes, and what limits that.

use super::{Finding, State, TierReport, tax};
use crate::{
    kernel::{Features, KernelTls, KernelTypes, LoadOptions, Tier},
    protocol,
};

pub(super) fn lockdown(features: &Features, findings: &mut Vec<Finding>) {
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
pub(super) fn syscall(
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
        detection: protocol::rows(),
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

pub(super) fn send_hook(chosen: Option<&str>, features: &Features, findings: &mut Vec<Finding>) {
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

pub(super) fn preemption(features: &Features, findings: &mut Vec<Finding>) {
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
pub(super) fn kernel_tls(state: KernelTls) -> Finding {
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
