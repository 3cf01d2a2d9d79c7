//! The programs' settings: read-only data, written before they are loaded.

use observer_abi::control::Settings;

use super::{candidate::Candidate, options::LoadOptions};
use crate::kernel::tier::Tier;

/// For a tier on this kernel.
pub(super) fn settings(candidate: &Candidate<'_>, options: &LoadOptions) -> Settings {
    let (tier, types, features) = (candidate.tier, candidate.types, candidate.features);
    Settings {
        selected_only: u32::from(options.selected_only),
        observer_tgid: options.observer_tgid,
        ring_mask: options.rings_made() as u32 - 1,
        wake_bytes: options.ring_bytes / 2,
        may_probe_read: u32::from(features.may_probe_read()),
        send_start_hook: u32::from(tier != Tier::Socket || features.send_start_tracepoint),
        request_budget: options.request_budget,
        response_budget: options.response_budget,
        typed_task: u32::from(features.typed_task),
        task_registers: u32::from(features.task_registers),
        kernel_workers: u32::from(features.kernel_workers),
        unix_sock_helper: u32::from(types.has_function("bpf_skc_to_unix_sock")),
        inject: u32::from(options.inject),
        spares: u32::from(features.preemptible),
        tls_records: u32::from(types.takes_tls_records()),
        receive_arguments: types.arguments("tcp_recvmsg").unwrap_or(0),
        tcp_option: u32::from(!options.option_peers.is_empty()),
        ring_requests: candidate.followed.setting(),
        at_call_end: u32::from(tier == Tier::Syscall),
        links: u32::from(options.inferred_links),
        dns: u32::from(options.dns),
        tls: u32::from(options.tls),
        lose_one_in: lose_one_in(),
    }
}

/// Of how many records one is lost on purpose.
#[cfg(not(feature = "made-up"))]
const fn lose_one_in() -> u32 {
    0
}

/// The same: as many as the variable `OBSERVER_LOSE_ONE_IN` says.
#[cfg(feature = "made-up")]
fn lose_one_in() -> u32 {
    let value = std::env::var("OBSERVER_LOSE_ONE_IN").ok();
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}
