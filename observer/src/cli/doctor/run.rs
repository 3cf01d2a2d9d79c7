//! Probes, then says what was found.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Context as _;

use super::{
    Finding, Report, State, TierReport,
    capture::{kernel_tls, lockdown, preemption, send_hook, syscall},
    context::{hand_over, injection, parents},
    key_points, kubernetes,
    process::{containers, namespace, privileges},
    rings, tls,
};
use crate::{
    cli::{args::DoctorArguments, exit, palette::Palette, privileges::Privileges},
    kernel::{Features, Kernel, KernelTypes, LoadOptions, Tier, brief, offsets, uprobes},
    protocol,
};

/// Runs `observer doctor`.
pub fn run(arguments: &DoctorArguments) -> anyhow::Result<ExitCode> {
    match &arguments.tls {
        Some(what) => tls::run(what, arguments.json),
        None => {
            let mut report = probe()?;
            if arguments.kubernetes {
                // These are told in the manifest's words.
                let told = ["privileges", "pid namespace"];
                report
                    .findings
                    .retain(|it| !told.contains(&it.name.as_str()));
                report.findings.extend(kubernetes::findings());
            }
            say(&report, arguments.json)
        }
    }
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
    let (mut breakpoints, mut key_point) = (None, None);
    let mut encrypted = Vec::new();
    let tiers: Vec<TierReport> = Tier::ALL
        .into_iter()
        .map(|tier| {
            let options = LoadOptions {
                tier: Some(tier),
                connections: 64,
                ring_bytes: 64 << 10,
                detection: protocol::rows(),
                ..LoadOptions::default()
            };
            let tried = Kernel::try_tier(tier, &types, &features, &options);
            let refused = match tried {
                Ok(mut kernel) => {
                    encrypted.push((tier.as_str(), kernel.kernel_tls().clone()));
                    breakpoints.get_or_insert_with(|| kernel.load_uprobes(uprobes::PROGRAMS));
                    key_point.get_or_insert_with(|| key_points::arm(&mut kernel));
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
        findings.push(parents(loaded, &features, read.is_administrator()));
    }
    findings.extend(key_point.map(|armed| key_points::finding(armed, &features)));
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
