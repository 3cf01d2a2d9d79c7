//! In: what the kernel has and allows. Out: how far io_uring's requests are followed (observer-ebpf/src/uring), and the
//! programs for it. Owns: that decision.

use std::fmt;

use observer_abi::offsets::Offsets;

use super::{features::Features, hook::Hook, tier::Tier, types::KernelTypes};

/// The programs, which are the same in every tier. (A tracepoint that is older is not named here: 5.10's has other
/// arguments.)
pub(super) const PROGRAMS: [(&str, Hook); 3] = [
    ("ring_submitted", Hook::Tracepoint("io_uring_submit_req")),
    ("ring_woken", Hook::Tracepoint("io_uring_task_add")),
    ("ring_completed", Hook::Tracepoint("io_uring_complete")),
];

/// Which requests are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Followed {
    /// None: there is no need, since the tier sees the message of each call and it names its request.
    NoNeed,
    /// None: this process can make no ring, nor any other.
    NoRings,
    /// None, though some bytes go unread for it.
    Impossible(Lack),
    /// Those with registered buffers.
    Registered,
    /// All.
    Every,
}

/// Why requests cannot be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// Lockdown forbids reading them.
    Lockdown,
    /// The kernel is from before 6.10, where a request does not say where its bytes lie.
    Layout,
}

impl fmt::Display for Lack {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Lockdown => "kernel lockdown forbids reading the ring's requests",
            Self::Layout => "the ring's requests say where their bytes lie only from 6.10 on",
        })
    }
}

impl Followed {
    /// What a tier needs and the kernel lets it have.
    pub fn of(tier: Tier, types: &KernelTypes, offsets: &Offsets, features: &Features) -> Self {
        let wanted = match tier {
            Tier::Socket => Self::Every,
            Tier::Fentry | Tier::Kprobe if offsets.msg_iocb == u32::MAX => Self::Registered,
            _ => return Self::NoNeed,
        };
        if !features.rings {
            return Self::NoRings;
        }
        if !features.may_probe_read() {
            return Self::Impossible(Lack::Lockdown);
        }
        let known = [
            offsets.request_file,
            offsets.request_operation,
            offsets.request_flags,
            offsets.request_fd,
            offsets.request_ring,
            offsets.request_prepared,
            offsets.request_work,
            offsets.prepared_message,
            offsets.prepared_iterator,
            offsets.io_rw_address,
            offsets.io_rw_length,
            offsets.ring_files,
            offsets.ring_file_count,
            offsets.task_worker,
            offsets.worker_work,
        ];
        if known.contains(&u32::MAX) || !PROGRAMS.iter().all(|(_, hook)| hook.exists(types)) {
            return Self::Impossible(Lack::Layout);
        }
        wanted
    }

    /// The same for the programs (`Settings::ring_requests`).
    pub(super) const fn setting(self) -> u32 {
        match self {
            Self::NoNeed | Self::NoRings | Self::Impossible(_) => 0,
            Self::Registered => 1,
            Self::Every => 2,
        }
    }
}
