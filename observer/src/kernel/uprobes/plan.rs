//! What an executable needs so that the kernel can tell what its processes work on.

use observer_abi::process::{Runtime, runtime};

use super::{event_loop, go, image::Image, node, tokio};

/// A kernel program and the place in the file where it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Probe {
    /// Its name in the object.
    pub(super) program: &'static str,
    /// Offset in the file.
    pub(super) offset: u64,
}

/// An executable's probes and what its processes' entry in the kernel says.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) runtime: Runtime,
    pub(super) probes: Vec<Probe>,
}

/// The plan for an executable with this file name; `None` for one that is no runtime of ours.
pub(super) fn of_executable(name: &str, image: &Image<'_>) -> Option<Plan> {
    if name == "java" {
        return Some(java());
    }
    node::plan(name, image)
        .or_else(|| event_loop::plan(name, image))
        .or_else(|| go::plan(image))
        .or_else(|| tokio::plan(image))
}

/// A JVM needs no breakpoint: its kind is all that the kernel must know.
fn java() -> Plan {
    Plan {
        runtime: Runtime {
            kind: runtime::JAVA,
            ..Runtime::default()
        },
        probes: Vec::new(),
    }
}
