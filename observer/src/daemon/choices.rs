//! From what a person decided to what the stages need.

use anyhow::{Context as _, Result};

use crate::{
    config::{self, Settings},
    export::otlp::{OtlpConfig, OtlpOverrides},
    kernel::Tier,
    metrics,
    process::Selectors,
};

/// One shard serves some 300,000 exchanges a second: more only on large hosts.
pub(super) fn rings() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    match cores {
        0..=8 => 1,
        9..=32 => 2,
        _ => observer_abi::control::MAX_RINGS,
    }
}

pub(super) fn tier(wanted: config::Tier) -> Option<Tier> {
    match wanted {
        config::Tier::Auto => None,
        config::Tier::Fentry => Some(Tier::Fentry),
        config::Tier::Socket => Some(Tier::Socket),
        config::Tier::Kprobe => Some(Tier::Kprobe),
        config::Tier::Syscall => Some(Tier::Syscall),
    }
}

pub(super) fn limits(settings: &Settings) -> metrics::Limits {
    metrics::Limits {
        series: settings.metrics.max_series.0,
        ..metrics::Limits::default()
    }
}

pub(super) fn selectors(settings: &Settings) -> Result<Selectors> {
    let chosen = &settings.selection;
    let globs = |globs: &[config::Glob]| {
        globs
            .iter()
            .map(|glob| glob.as_str().to_owned())
            .collect::<Vec<_>>()
    };
    Selectors::new(
        chosen.pids.iter().map(|pid| pid.0).collect(),
        &globs(&chosen.exe),
        chosen
            .ports
            .iter()
            .map(|range| range.first..=range.last)
            .collect(),
        &globs(&chosen.exclude_exe),
    )
    .context("a selector cannot be used")
}

pub(super) fn otlp(settings: &Settings) -> Result<Option<OtlpConfig>> {
    if !settings.otlp.enabled {
        return Ok(None);
    }
    let overrides = OtlpOverrides {
        endpoint: settings.otlp.endpoint.clone(),
        protocol: settings.otlp.protocol.map(|protocol| protocol.to_string()),
        queue_bytes: Some(settings.limits.queue_bytes.0),
        ..OtlpOverrides::default()
    };
    OtlpConfig::from_env_and(overrides, |name| settings.otlp.variable(name)).map_err(Into::into)
}
