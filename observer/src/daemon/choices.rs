//! From what a person decided to what the stages need.

use std::ops::RangeInclusive;

use anyhow::{Context as _, Result};
use globset::{GlobBuilder, GlobSetBuilder};

use crate::{
    config::{self, Settings},
    export::otlp::{OtlpConfig, OtlpOverrides},
    kernel::Tier,
    kubernetes::PodSelector,
    metrics::{self, routes::Routes},
    process::Selectors,
};

/// Rings, and shards that read them, for the CPUs that observer may use.
pub(super) fn rings() -> usize {
    rings_for(std::thread::available_parallelism().map_or(1, usize::from))
}

/// One shard serves some 300,000 exchanges a second: more only on large hosts.
const fn rings_for(cpus: usize) -> usize {
    match cpus {
        0..=8 => 1,
        9..=32 => 2,
        _ => observer_abi::control::MAX_RINGS,
    }
}

/// How large the kernel's maps get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MapSizes {
    /// Connections at once.
    pub(super) connections: u32,
    /// Processes at once of which something is said.
    pub(super) processes: u32,
    /// Bytes of each ring.
    pub(super) ring_bytes: u32,
}

/// The least that is kept of processes, and the most: 5 MiB.
const PROCESSES: RangeInclusive<u32> = 4096..=32768;

/// As much as the host can spare, at most what the settings say: 1,024 connections (0.5 MiB), 1 MiB of each ring and 512
/// processes a 256 MiB of memory.
pub(super) fn map_sizes(limits: &config::Limits, memory: u64) -> MapSizes {
    let share = u32::try_from(memory / (256 << 20))
        .unwrap_or(u32::MAX)
        .max(1);
    let down = |size: u32| 1 << size.ilog2();
    MapSizes {
        connections: limits.max_connections.0.min(share.saturating_mul(1024)),
        processes: (share.saturating_mul(512)).clamp(*PROCESSES.start(), *PROCESSES.end()),
        ring_bytes: limits.ring_bytes.0.min(down(share.saturating_mul(1 << 20))),
    }
}

/// Bytes of memory that the host has; plenty where it does not tell.
pub(super) fn host_memory() -> u64 {
    let info = rustix::system::sysinfo();
    match info.totalram.saturating_mul(u64::from(info.mem_unit)) {
        0 => u64::MAX,
        bytes => bytes,
    }
}

/// Bytes in which requests with a trace header are remembered: a 256th of the host's memory, from 4 to 16 MiB. They are
/// taken as they are needed.
pub(super) fn lineage_bytes(memory: u64) -> usize {
    usize::try_from(memory / 256)
        .unwrap_or(usize::MAX)
        .clamp(4 << 20, 16 << 20)
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

/// Routes learned for one service name.
const MOST_ROUTES: usize = 200;

pub(super) fn routes(settings: &Settings) -> Result<Routes> {
    let patterns = settings.metrics.routes.iter();
    let patterns: Vec<_> = patterns.map(config::RoutePattern::as_str).collect();
    Routes::new(&patterns, MOST_ROUTES).context("a route pattern cannot be used")
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
    .and_then(|selectors| Ok(selectors.with_pods(pods(&chosen.pods)?)))
}

fn pods(chosen: &config::PodSelection) -> Result<PodSelector> {
    let globs = |globs: &[config::PodGlob]| {
        let mut set = GlobSetBuilder::new();
        for glob in globs {
            set.add(
                GlobBuilder::new(glob.as_str())
                    .literal_separator(false)
                    .build()?,
            );
        }
        set.build()
    };
    let all = || -> Result<PodSelector, globset::Error> {
        Ok(PodSelector {
            namespaces: globs(&chosen.namespaces)?,
            labels: chosen.labels.clone(),
            images: globs(&chosen.images)?,
            exclude_namespaces: globs(&chosen.exclude_namespaces)?,
        })
    };
    all().context("a selector for pods cannot be used")
}

/// What of pods becomes attributes.
#[cfg(feature = "kubernetes")]
pub(super) fn kept(settings: &Settings) -> crate::kubernetes::Kept {
    let keys = |keys: &[config::MetadataKey]| {
        let keys = keys.iter().map(|key| key.as_str().to_owned());
        keys.collect()
    };
    crate::kubernetes::Kept {
        labels: keys(&settings.kubernetes.labels),
        annotations: keys(&settings.kubernetes.annotations),
        namespace_labels: keys(&settings.kubernetes.namespace_labels),
        namespace_annotations: keys(&settings.kubernetes.namespace_annotations),
        service_labels: settings.kubernetes.service_labels == config::ServiceLabels::On,
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::RoutePattern, metrics::routes::Routes};

    #[test]
    fn each_route_that_the_settings_accept_can_be_used() {
        // All of up to four of these, one after another.
        let parts = ["/", "a", "{id}", "{", "}", "*", ":", "{}", "?", "é", "."];
        let mut texts = vec![String::new()];
        let mut accepted = 0;
        for _ in 0..4 {
            let longer = texts
                .iter()
                .flat_map(|text| parts.map(|part| format!("{text}{part}")));
            texts = longer.collect();
            for text in &texts {
                if let Ok(pattern) = text.parse::<RoutePattern>() {
                    accepted += 1;
                    let used = Routes::new(&[pattern.as_str()], 1);
                    assert!(used.is_ok(), "{text}");
                }
            }
        }
        assert!(accepted > 100, "{accepted}");
    }

    #[test]
    fn maps_fit_the_host_and_never_exceed_the_settings() {
        let limits = Settings::default().limits;
        let sizes = |memory: u64| map_sizes(&limits, memory);
        let whole = MapSizes {
            connections: limits.max_connections.0,
            processes: 32768,
            ring_bytes: limits.ring_bytes.0,
        };
        assert_eq!(sizes(u64::MAX), whole);
        assert_eq!(sizes(16 << 30), whole);
        let small = sizes(1 << 30);
        assert_eq!((small.connections, small.ring_bytes), (4096, 4 << 20));
        assert_eq!((small.processes, sizes(4 << 30).processes), (4096, 8192));
        let odd = sizes(700 << 20);
        assert_eq!((odd.connections, odd.ring_bytes), (2048, 2 << 20));
        let tiny = sizes(64 << 20);
        assert_eq!((tiny.connections, tiny.ring_bytes), (1024, 1 << 20));
    }

    #[test]
    fn there_are_as_many_rings_as_the_documentation_says() {
        let changes: Vec<(usize, usize)> = (1..=256)
            .map(|cpus| (cpus, rings_for(cpus)))
            .filter(|&(cpus, rings)| cpus == 1 || rings != rings_for(cpus - 1))
            .collect();
        assert_eq!(changes, [(1, 1), (9, 2), (33, 4)]);
        let documentation = include_str!("../../../docs/configuration.md");
        let said = "There is one; two where observer may use 9 to 32 CPUs, four beyond.";
        assert!(documentation.contains(said));
    }
}
