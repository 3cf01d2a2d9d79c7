//! The kernel's side: what the settings ask for, loaded and attached as far as this kernel allows.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use aya::maps::{MapData, RingBuf};

use super::{choices, injection, memory, tcp_option};
use crate::{
    config::{self, Settings},
    kernel::{
        self, Features, Kernel, KernelTypes, LoadOptions, PolicyMaps, SecretSlots, inject::Leaving,
        reader::RecordRing,
    },
    process, protocol, tls,
};

/// Programs that are attached and tell nothing yet: capture is off until the policy switches it on.
pub(super) struct Capture {
    pub(super) kernel: Kernel,
    /// One a shard.
    pub(super) rings: Vec<RecordRing>,
    pub(super) process_events: RingBuf<MapData>,
    pub(super) policy: PolicyMaps,
    /// Connections that leave header injection, where there is any.
    pub(super) leaving: Option<Leaving>,
    /// Whether executables can get breakpoints.
    pub(super) breakpoints: bool,
    /// Where TLS secrets come; none where TLS is not read.
    pub(super) secrets: Option<SecretSlots>,
    /// Kernel memory of each map.
    pub(super) map_bytes: BTreeMap<String, u64>,
    /// What the programs were told.
    pub(super) options: LoadOptions,
}

impl Capture {
    /// Loads and attaches.
    ///
    /// # Errors
    /// No tier works, or what was forced does not.
    pub(super) fn begin(settings: &Settings) -> Result<Self> {
        let private = is_alone(settings)?;
        let types = KernelTypes::of_running_kernel()?;
        tracing::debug!("the kernel's types are read");
        let features = Features::probe(&types);
        let injection = injection::Plan::of(settings.inject_headers, &features)?;
        let options = options(settings, private, injection.is_possible());
        let mut kernel = Kernel::load(&types, &features, &options)?;
        let can_adopt = kernel::tcp_option::can_adopt(&types);
        let breakpoints =
            settings.spans.breakpoints == config::Breakpoints::On && load_breakpoints(&mut kernel);
        let tls = settings.tls == config::Tls::On && load_key_points(&mut kernel);
        // Takes maps out of the object, which programs that are loaded need to find there.
        let leaving = injection.begin(&mut kernel)?;
        drop(types);
        kernel.forget_others();
        memory::trim();
        for (refused, reason) in kernel.refused() {
            let reason = reason.lines().next().unwrap_or_default();
            tracing::info!(tier = %refused, reason, "tier not available");
        }
        tcp_option::begin(&mut kernel, &settings.tcp_option.peers, can_adopt);
        let map_bytes = kernel.map_bytes();
        tracing::debug!(
            load_time = ?kernel.load_time(),
            instructions = ?kernel.verified_instructions(),
            "programs verified"
        );
        Ok(Self {
            policy: kernel.policy()?,
            rings: kernel.take_rings(options.rings, options.ring_bytes)?,
            process_events: kernel.take_process_events()?,
            secrets: tls.then(|| kernel.take_secrets()).transpose()?,
            kernel,
            leaving,
            breakpoints,
            map_bytes,
            options,
        })
    }
}

/// Whether observer is in a pid namespace of its own.
fn is_alone(settings: &Settings) -> Result<bool> {
    let private = process::is_own_pid_namespace_private().unwrap_or(false);
    if private && !settings.selection.is_selective() {
        bail!(
            "observer runs in a pid namespace of its own and could not tell itself apart from what it traces: \
             share the host's pid namespace (hostPID: true, --pid=host), or select what to trace with --exe or --port"
        );
    }
    Ok(private)
}

fn options(settings: &Settings, private: bool, inject: bool) -> LoadOptions {
    let sizes = choices::map_sizes(&settings.limits, choices::host_memory());
    LoadOptions {
        inject,
        tier: choices::tier(settings.tier),
        selected_only: settings.selection.is_selective(),
        observer_tgid: if private { 0 } else { std::process::id() },
        rings: choices::rings(),
        ring_bytes: sizes.ring_bytes,
        connections: sizes.connections,
        processes: sizes.processes,
        option_peers: settings
            .tcp_option
            .peers
            .iter()
            .copied()
            .map(Into::into)
            .collect(),
        inferred_links: settings.spans.breakpoints == config::Breakpoints::On
            && settings.spans.inferred_links == config::InferredLinks::On,
        dns: settings.dns == config::Dns::On,
        tls: settings.tls == config::Tls::On,
        detection: protocol::rows(),
        ..LoadOptions::default()
    }
}

/// Loads the programs for key points of TLS libraries; says why there are none.
fn load_key_points(kernel: &mut Kernel) -> bool {
    match kernel.load_uprobes(tls::PROGRAMS) {
        Ok(()) => true,
        Err(error) => {
            tracing::info!(
                error = kernel::brief(&error),
                "no breakpoints: what is said over TLS is not read"
            );
            false
        }
    }
}

/// Loads the programs that executables get breakpoints for; says why there are none.
fn load_breakpoints(kernel: &mut Kernel) -> bool {
    match kernel.load_uprobes(kernel::uprobes::PROGRAMS) {
        Ok(()) => true,
        Err(error) => {
            tracing::info!(
                error = kernel::brief(&error),
                "no breakpoints: calls of event loops, goroutines, asyncio, puma and tokio have no parents"
            );
            false
        }
    }
}
