//! How many entries each map has room for, where that differs from what the object declares. What is not used here takes
//! no memory.

use observer_abi::control::{SCRATCHES, SCRATCHES_TO_INJECT};

use super::options::LoadOptions;
use crate::kernel::{maps::RECORD_RINGS, tier::Tier};

/// A ring that has no reader; the smallest that the kernel makes.
const NO_RING: u32 = 4096;

/// Sizes of the maps that only header injection needs.
const WITHOUT_INJECTION: [(&str, u32); 4] = [
    ("INJECTED", 1),
    ("JOINING", 1),
    ("LEAVING", NO_RING),
    ("SCRATCH_TAKEN", 1),
];

/// What the sizes depend on beside the options.
#[derive(Clone, Copy)]
pub(super) struct Needs {
    pub(super) tier: Tier,
    /// Programs have spares, with a scratch of their own.
    pub(super) spares: bool,
    /// io_uring's requests are followed.
    pub(super) ring_requests: bool,
}

/// Each map's name and its entries (a ring's: bytes), in an order in which the last one of a name holds.
pub(super) fn sizes(needs: Needs, options: &LoadOptions) -> Vec<(&'static str, u32)> {
    let mut sizes = Vec::new();
    for name in [
        "CONNECTIONS",
        "PLACES",
        "FREE_PLACES",
        "CONN_CONTROL",
        "HANDOFF",
    ] {
        sizes.push((name, options.connections));
    }
    for name in ["POLICY", "RUNTIMES"] {
        sizes.push((name, options.processes));
    }
    let rings = options.rings_made();
    for (index, name) in RECORD_RINGS.into_iter().enumerate() {
        let bytes = if index < rings {
            options.ring_bytes
        } else {
            NO_RING
        };
        sizes.push((name, bytes));
    }
    if options.option_peers.is_empty() {
        sizes.extend([("OPTION_CONNECTIONS", 1), ("OPTION_HANDSHAKES", 1)]);
    } else {
        sizes.push(("OPTION_CONNECTIONS", options.connections));
    }
    if needs.spares {
        // A scratch of their own.
        sizes.push(("SCRATCH", 2 * SCRATCHES));
    } else {
        sizes.push(("SERVED", 1));
    }
    let unused = [
        ("RING_REQUESTS", !needs.ring_requests),
        ("LIKELY", !options.inferred_links),
        ("ASKING", !options.dns),
        ("RECEIVES", needs.tier != Tier::Kprobe),
        ("CALLS", !matches!(needs.tier, Tier::Kprobe | Tier::Syscall)),
        ("SECRETS", !options.tls),
        ("FREE_SECRETS", !options.tls),
        ("KEY_LABELS", !options.tls),
        ("HASHING", !options.tls),
    ];
    sizes.extend(
        unused
            .into_iter()
            .filter(|(_, unused)| *unused)
            .map(|(name, _)| (name, 1)),
    );
    if !options.tls {
        sizes.push(("SECRETS_TOLD", NO_RING));
    }
    if options.inject {
        sizes.push(("INJECTED", options.connections));
        sizes.push(("SCRATCH", SCRATCHES_TO_INJECT));
    } else {
        sizes.extend(WITHOUT_INJECTION);
    }
    sizes
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::kernel::load::object::OBJECT;

    fn of(needs: Needs, options: &LoadOptions) -> HashMap<&'static str, u32> {
        sizes(needs, options).into_iter().collect()
    }

    const SOCKET: Needs = Needs {
        tier: Tier::Socket,
        spares: false,
        ring_requests: false,
    };

    #[test]
    fn what_is_not_used_takes_one_entry() {
        let options = LoadOptions {
            inferred_links: false,
            dns: false,
            ..LoadOptions::default()
        };
        let sizes = of(SOCKET, &options);
        for name in [
            "OPTION_CONNECTIONS",
            "OPTION_HANDSHAKES",
            "SERVED",
            "RING_REQUESTS",
            "LIKELY",
            "ASKING",
            "RECEIVES",
            "CALLS",
            "INJECTED",
        ] {
            assert_eq!(sizes.get(name), Some(&1), "{name}");
        }
        assert_eq!(sizes["RECORDS_0"], options.ring_bytes);
        assert_eq!(sizes["RECORDS_1"], NO_RING);
    }

    #[test]
    fn what_is_used_has_the_size_that_the_object_declares_or_that_was_asked_for() {
        let options = LoadOptions {
            inject: true,
            rings: 2,
            option_peers: vec!["10.0.0.0/8".parse().unwrap()],
            ..LoadOptions::default()
        };
        let needs = Needs {
            tier: Tier::Kprobe,
            spares: true,
            ring_requests: true,
        };
        let sizes = of(needs, &options);
        for name in [
            "SERVED",
            "RING_REQUESTS",
            "LIKELY",
            "ASKING",
            "RECEIVES",
            "CALLS",
            "LEAVING",
        ] {
            assert_eq!(sizes.get(name), None, "{name}");
        }
        assert_eq!(sizes["INJECTED"], options.connections);
        assert_eq!(sizes["OPTION_CONNECTIONS"], options.connections);
        assert_eq!(sizes["RECORDS_1"], options.ring_bytes);
        assert_eq!(sizes["SCRATCH"], SCRATCHES_TO_INJECT);
    }

    #[test]
    fn the_object_has_every_map_that_gets_a_size() {
        let object = aya_obj::Object::parse(OBJECT).unwrap();
        for tier in Tier::ALL {
            for inject in [false, true] {
                let needs = Needs { tier, ..SOCKET };
                let options = LoadOptions {
                    inject,
                    ..LoadOptions::default()
                };
                for (name, _) in sizes(needs, &options) {
                    assert!(object.maps.contains_key(name), "{name}");
                }
            }
        }
    }
}
