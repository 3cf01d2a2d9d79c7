//! Bounds of the stream stage.

/// How much a shard keeps, and what the kernel was told to capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamConfig {
    /// Connections that are kept; beyond, those that were silent longest are forgotten.
    pub max_connections: usize,
    /// Exchanges that may be open on all of them together; what is beyond goes out at once, as incomplete.
    pub max_exchanges: usize,
    /// Bytes of unfinished heads that are kept of all of them together; beyond, heads that grow are let go.
    pub held_bytes: usize,
    /// Bytes of TLS's ciphertext that are kept of all of them together, while keys or the rest of records are awaited; beyond, a
    /// connection's are given up.
    pub ciphertext_bytes: usize,
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
    /// 16,384 connections and 65,536 open exchanges; heads of 16 KiB, 8 MiB of unfinished ones, 16 MiB of ciphertext; budgets of 16 and 4 KiB; a check each minute.
    fn default() -> Self {
        Self {
            max_connections: 16 * 1024,
            max_exchanges: 64 * 1024,
            held_bytes: 8 * 1024 * 1024,
            ciphertext_bytes: 16 * 1024 * 1024,
            head_bytes: 16 * 1024,
            request_budget: 16 * 1024,
            response_budget: 4 * 1024,
            idle_check_ns: 60_000_000_000,
        }
    }
}
