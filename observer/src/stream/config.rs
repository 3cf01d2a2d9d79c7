//! Bounds of the stream stage.

/// How much a shard keeps, and what the kernel was told to capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamConfig {
    /// Connections that are kept; beyond, those that were silent longest are forgotten.
    pub max_connections: usize,
    /// Largest head that is parsed whole, bytes.
    pub head_bytes: usize,
    /// [`Settings::request_budget`](observer_abi::control::Settings::request_budget), bytes.
    pub request_budget: u32,
    /// [`Settings::response_budget`](observer_abi::control::Settings::response_budget), bytes.
    pub response_budget: u32,
    /// Silence after which the kernel is asked whether a connection still exists, ns.
    pub idle_check_ns: u64,
}

impl Default for StreamConfig {
    /// 16,384 connections; heads of 16 KiB; budgets of 16 and 4 KiB; a check each minute.
    fn default() -> Self {
        Self {
            max_connections: 16 * 1024,
            head_bytes: 16 * 1024,
            request_budget: 16 * 1024,
            response_budget: 4 * 1024,
            idle_check_ns: 60_000_000_000,
        }
    }
}
