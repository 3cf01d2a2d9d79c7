//! What the daemon asks for when it loads the programs.

use ipnet::IpNet;
use observer_abi::control::MAX_RINGS;

use super::detection::ProtocolRows;
use crate::kernel::tier::Tier;

/// Sizes and choices for a load.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// The tier to use; `None` takes the best that attaches.
    pub tier: Option<Tier>,
    /// Only processes in the policy map are captured.
    pub selected_only: bool,
    /// observer's own process id in the initial pid namespace, 0 when not known.
    pub observer_tgid: u32,
    /// Rings, a power of two, at most [`MAX_RINGS`].
    pub rings: usize,
    /// Bytes of each ring, a power of two and a multiple of the page size.
    pub ring_bytes: u32,
    /// Connections tracked at once.
    pub connections: u32,
    /// Processes of which something is said at once: whether they are captured, how their runtime works.
    pub processes: u32,
    /// Bytes of a request's run that are shipped, in records of at most [`observer_abi::record::MAX_PAYLOAD`].
    pub request_budget: u32,
    /// The same for responses.
    pub response_budget: u32,
    /// Headers may be injected, see [`inject`](crate::kernel::inject).
    pub inject: bool,
    /// Hosts with which trace context is exchanged in TCP options; none turns that off.
    pub option_peers: Vec<IpNet>,
    /// Calls of Node without a parent get a link to the request that they may have been made for.
    pub inferred_links: bool,
    /// DNS lookups are seen.
    pub dns: bool,
    /// The records of TLS connections are shipped.
    pub tls: bool,
    /// How the protocols of connections are told apart by their first bytes.
    pub detection: Vec<ProtocolRows>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            tier: None,
            selected_only: false,
            observer_tgid: 0,
            rings: 1,
            ring_bytes: 8 << 20,
            connections: 16384,
            processes: 16384,
            request_budget: 16 << 10,
            response_budget: 4096,
            inject: false,
            option_peers: Vec::new(),
            inferred_links: true,
            dns: true,
            tls: false,
            detection: Vec::new(),
        }
    }
}

impl LoadOptions {
    /// Rings that have a reader.
    pub(super) fn rings_made(&self) -> usize {
        self.rings.clamp(1, MAX_RINGS)
    }
}
