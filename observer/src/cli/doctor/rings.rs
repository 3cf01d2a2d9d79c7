//! Which bytes that move through io_uring are not read, in the tier that would be taken.

use super::{Finding, State};
use crate::kernel::{
    Features, KernelTypes, Tier, offsets,
    uring::{Followed, Lack},
};

/// `None` where no tier works or the kernel's types lack a field: other findings say so.
pub(super) fn finding(
    chosen: Option<&str>,
    types: &KernelTypes,
    features: &Features,
) -> Option<Finding> {
    let tier = Tier::AUTOMATIC
        .into_iter()
        .find(|tier| chosen == Some(tier.as_str()))?;
    let followed = Followed::of(tier, types, &offsets(types).ok()?, features);
    let lack = match followed {
        Followed::NoRings => {
            let detail = "no process may use it (kernel.io_uring_disabled)";
            return Some(Finding::ok("io_uring", detail));
        }
        Followed::Registered | Followed::Every => {
            return Some(Finding::ok(
                "io_uring",
                "read, by the requests of its rings",
            ));
        }
        Followed::NoNeed if features.may_probe_read() => {
            return Some(Finding::ok("io_uring", "read"));
        }
        Followed::NoNeed => Lack::Lockdown,
        Followed::Impossible(lack) => lack,
    };
    Some(if tier == Tier::Socket {
        Finding::lacking(
            "io_uring",
            State::Degraded,
            format!("what it receives is counted, not read: {lack}"),
            "a kernel that allows the fentry tier reads it",
        )
    } else {
        Finding::lacking(
            "io_uring",
            State::Degraded,
            format!("read, but for its registered buffers, which are counted: {lack}"),
            "nothing; few programs register buffers for sockets",
        )
    })
}
