//! What the server tells besides the metrics: whether the daemon is well, and whether it works yet.

use std::sync::Arc;

use super::Format;

/// Makes the page. Called off the async threads; it may block for a moment. `None` while there is nothing to tell yet.
pub type MakePage = Arc<dyn Fn(Format) -> Option<String> + Send + Sync>;

/// Asks how the daemon is: what to say if it is well, and what is wrong if it is not. Must not block.
pub type Ask = Arc<dyn Fn() -> Result<String, String> + Send + Sync>;

/// Where the server's answers come from.
#[derive(Clone)]
pub struct Pages {
    /// `/metrics`.
    pub metrics: MakePage,
    /// `/healthz`: whether every part of the daemon works. Who asks restarts it otherwise.
    pub health: Ask,
    /// `/readyz`: whether it captures.
    pub ready: Ask,
}
