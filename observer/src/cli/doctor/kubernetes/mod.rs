//! `observer doctor --kubernetes`: what the pod lacks.
//!
//! In: this process's own [`Situation`]: capabilities, namespaces, confinement, files, environment, limits, what the API
//! server says of its account. Out: a [`Finding`] for each thing, with what is off and the line that brings it.
//! Owns: nothing.

mod judge;
mod limits;
mod situation;

use super::Finding;

/// Looks at the pod that this process is in.
pub(super) fn findings() -> Vec<Finding> {
    judge::judge(&situation::Situation::read())
}
