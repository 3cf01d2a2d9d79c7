//! What tiers are known not to see, and why. Everything else must pass.

/// Whether this kernel is locked down so far that nothing may be read by its address.
pub(crate) fn is_locked_down() -> bool {
    std::fs::read_to_string("/sys/kernel/security/lockdown")
        .is_ok_and(|modes| modes.contains("[confidentiality]"))
}

/// Why this behaviour may fail in a tier on the kernel with this release (`uname -r`).
pub(crate) fn known(
    behaviour: &str,
    tier: &str,
    release: &str,
    locked_down: bool,
) -> Option<&'static str> {
    let sees_late = tier == "syscall" || (tier == "socket" && version(release) < (6, 16));
    match (behaviour, tier) {
        (ring, "socket") if ring.starts_with("io_uring") && locked_down => {
            Some("lockdown forbids reading the ring's requests, which alone know the buffer")
        }
        (ring, "socket") if ring.starts_with("io_uring") && version(release) < (6, 10) => {
            Some("the ring's requests say where their bytes lie only from 6.10 on")
        }
        (ring, "syscall") if ring.starts_with("io_uring") => {
            Some("no system call of the process moves the bytes")
        }
        ("io_uring fixed buffers", _) if locked_down => {
            Some("lockdown forbids reading the request that knows the buffer")
        }
        ("io_uring arrays of buffers", _) if locked_down => {
            Some("lockdown forbids following a ring's array to its buffers")
        }
        ("read that began before observer", "fentry" | "kprobe") => {
            Some("the kernel's function was entered before it was hooked")
        }
        ("read that began before observer", "syscall") => {
            Some("what a call was given is noted when it begins")
        }
        ("one trace over gateway and backend" | "one trace across TLS", _) if sees_late => {
            Some("sends are seen when they are over, and the other end may have read by then")
        }
        ("one trace over kernel TLS", "socket" | "syscall") => Some(
            "sends of plaintext are seen when they are over, and the other end may have read by then",
        ),
        _ => None,
    }
}

/// `6.12.117+deb12-cloud-amd64` is (6, 12).
fn version(release: &str) -> (u32, u32) {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map_while(|number| number.parse().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_depend_on_tier_and_kernel() {
        let trace = "one trace over gateway and backend";
        assert!(known(trace, "socket", "6.12.117+deb12-cloud-amd64", false).is_some());
        assert!(known(trace, "socket", "6.18.15", false).is_none());
        assert!(known(trace, "fentry", "5.10.0-46-cloud-amd64", false).is_none());
        assert!(known("io_uring SQPOLL", "socket", "7.2.13", false).is_none());
        assert!(known("io_uring SQPOLL", "socket", "7.2.13", true).is_some());
        assert!(known("io_uring SQPOLL", "socket", "6.8.0", false).is_some());
        assert!(known("io_uring fixed buffers", "fentry", "7.2.13", false).is_none());
        assert!(known("io_uring fixed buffers", "fentry", "6.18.15", false).is_none());
        assert!(known("io_uring fixed buffers", "fentry", "6.12.117", true).is_some());
        assert!(known("io_uring arrays of buffers", "fentry", "6.12.117", true).is_some());
        assert!(known("io_uring arrays of buffers", "fentry", "6.12.117", false).is_none());
        assert!(known("sendfile", "syscall", "5.10", false).is_none());
    }
}
