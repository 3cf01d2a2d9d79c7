//! Which runtime an executable is.

use observer_abi::process::{Runtime, runtime};

use super::{event_loop, go, node, plan::Plan, tokio};
use crate::elf::Image;

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
