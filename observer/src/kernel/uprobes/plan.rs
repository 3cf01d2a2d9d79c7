//! What an executable needs so that the kernel can tell what its processes work on.

use observer_abi::process::Runtime;

/// A kernel program and the place in the file where it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    /// Its name in the object.
    pub(crate) program: &'static str,
    /// Offset in the file.
    pub(crate) offset: u64,
}

/// An executable's probes and what its processes' entry in the kernel says.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) runtime: Runtime,
    pub(super) probes: Vec<Probe>,
}
