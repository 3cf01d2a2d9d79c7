//! How a call finds the request that it is made for: breakpoints, the TCP option, injected headers.

use super::{Finding, State};
use crate::{
    kernel::{
        Features, Kernel, KernelTypes, LoadOptions, NEEDS_ADMIN, Tier, brief,
        inject::{self, Injection, Test},
        tcp_option, try_tcp_option,
    },
    protocol,
};

/// Whether the parents of calls can be asked of the runtimes that make them.
pub(super) fn parents(
    loaded: anyhow::Result<()>,
    features: &Features,
    is_administrator: bool,
) -> Finding {
    match loaded {
        Ok(()) if !features.many_uprobes && !is_administrator => Finding::lacking(
            "parents of calls",
            State::Degraded,
            format!("perhaps of threads only: {NEEDS_ADMIN}, which this process lacks"),
            "Linux 6.6 or later; observer's log says of each program whether it has breakpoints",
        ),
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

/// Off unless somebody names networks. Tries it with a network that nobody has.
pub(super) fn hand_over(types: &KernelTypes, features: &Features, findings: &mut Vec<Finding>) {
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

/// Tries what `--inject-headers auto` does.
pub(super) fn injection(
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
        detection: protocol::rows(),
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
