//! From a tier's name to programs at work.
//!
//! In: what the kernel is and allows, what was asked for. Out: a [`Kernel`], or why there is none, tier by tier.
//! Owns: the object, and the order in which things happen: probe, make the maps, load, attach.

mod candidate;
mod detection;
pub(super) mod object;
mod open;
mod options;
mod settings;
mod sizes;
#[cfg(test)]
mod stack_tests;

use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, bail};

use self::{candidate::Candidate, object::OBJECT, open::open_with_option};
pub use self::{detection::ProtocolRows, open::try_tcp_option, options::LoadOptions};
use super::{
    attach::{attach_all, load_all},
    attached::Attached,
    features::Features,
    hook::Hook,
    ktls::TlsHooks,
    maps,
    programs::{self, Programs},
    refusal::brief,
    running::Kernel,
    tier::{Tier, with_spares},
    types::KernelTypes,
    uring,
};

impl Kernel {
    /// Loads and attaches the best tier that really works, or the one that was asked for. Capture stays off until
    /// [`PolicyMaps::enable`](super::PolicyMaps::enable).
    ///
    /// # Errors
    /// Why each tier does not work here, and what to do.
    pub fn load(types: &KernelTypes, features: &Features, options: &LoadOptions) -> Result<Self> {
        let begin = Instant::now();
        let mut refused = Vec::new();
        let candidates: Vec<Tier> = match options.tier {
            Some(tier) => vec![tier],
            None => Tier::AUTOMATIC.to_vec(),
        };
        for tier in candidates {
            let loaded = Candidate::new(tier, types, features)
                .and_then(|candidate| load_tier(&candidate, options));
            match loaded {
                Ok(mut kernel) => {
                    kernel.refused = refused;
                    kernel.load_time = begin.elapsed();
                    return Ok(kernel);
                }
                Err(error) => {
                    tracing::debug!(%tier, error = format!("{error:#}"), "tier refused");
                    refused.push((tier, brief(&error)));
                }
            }
        }
        Err(none_works(features, options.tier, &refused))
    }

    /// Loads and attaches one tier.
    ///
    /// # Errors
    /// Why it does not work here.
    pub fn try_tier(
        tier: Tier,
        types: &KernelTypes,
        features: &Features,
        options: &LoadOptions,
    ) -> Result<Self> {
        load_tier(&Candidate::new(tier, types, features)?, options)
    }
}

fn none_works(
    features: &Features,
    asked_for: Option<Tier>,
    refused: &[(Tier, String)],
) -> anyhow::Error {
    let reasons: Vec<String> = refused
        .iter()
        .map(|(tier, reason)| format!("  {tier}: {reason}"))
        .collect();
    let (subject, remedy) = match asked_for {
        Some(tier) => (
            format!("tier {tier} does not work"),
            "leave the tier to observer (--tier auto); `observer doctor` shows which work",
        ),
        None => (
            "no capture tier works".to_owned(),
            "see `observer doctor`; --log-level debug shows all that the kernel said",
        ),
    };
    anyhow!(
        "{subject} on this kernel ({}):\n{}\nWhat to do: {remedy}",
        features.release,
        reasons.join("\n")
    )
}

fn load_tier(candidate: &Candidate<'_>, options: &LoadOptions) -> Result<Kernel> {
    let begin = Instant::now();
    let (tier, features) = (candidate.tier, candidate.features);
    if tier == Tier::Fentry {
        // Before all the maps are made.
        let function = "tcp_sendmsg";
        programs::try_entry(function, candidate.types)
            .with_context(|| format!("a program on {function}"))?;
    }
    let plan = plan(candidate, options)?;
    if !features.may_probe_read() && plan.iter().any(|(_, hook)| hook.is_probe()) {
        bail!("kernel lockdown refuses kprobes");
    }
    let (mut ebpf, tcp_option) = open_with_option(candidate, options)?;
    let entries = maps::entries(&ebpf)?;
    tracing::debug!(%tier, "maps are made");
    let programs = Programs::new(OBJECT, |name| maps::number_of(&ebpf, name))?;
    let loaded = load_all(&mut ebpf, &programs, &plan, candidate.types)?;
    tracing::debug!(programs = loaded.len(), "programs are loaded");
    let links = attach_all(&mut ebpf, &loaded, &plan)?;
    let tls = TlsHooks::of(tier, features.preemptible, &ebpf)?;
    let mut kernel = Kernel {
        attached: Attached::new(ebpf, loaded, links),
        entries,
        not_loaded: Some(programs),
        tls,
        tier,
        refused: Vec::new(),
        tcp_option,
        load_time: begin.elapsed(),
        has_many_uprobes: features.many_uprobes,
    };
    kernel.tls.begin(&mut kernel.attached, candidate.types);
    kernel.attached.settle()?;
    tracing::debug!("programs are attached");
    Ok(kernel)
}

/// Every program of a tier on this kernel, in the order in which they are attached.
fn plan(candidate: &Candidate<'_>, options: &LoadOptions) -> Result<Vec<(&'static str, Hook)>> {
    let mut plan = candidate.tier.plan(candidate.types, options.dns)?;
    if candidate.followed.setting() != 0 {
        plan.extend(uring::PROGRAMS);
    }
    Ok(if candidate.features.preemptible {
        with_spares(plan)
    } else {
        plan
    })
}
