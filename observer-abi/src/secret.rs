//! TLS secrets on their way from a library's function to the daemon.
//!
//! A secret lies in a slot of an array that the daemon has mapped, and the daemon zeroes it there once it has copied it. A
//! ring carries the slots' numbers only: its pages keep what was consumed. Free slots lie on a stack.
//!
//! A label is known by where it stands, as seen from the function that was entered ([`label_key`]): that is the same in every
//! process, wherever the file is loaded, so that one table serves all of them.

use crate::plain;

/// Slots: secrets that may wait for the daemon.
pub const SLOTS: u32 = 4096;
/// A number in the ring that is no slot: this bit, and a process that hashes too much for its block functions to be followed.
pub const BUSY: u32 = 1 << 31;
/// Entries of block functions a second that a process may have.
pub const MOST_HASHED: u32 = 1000;
/// Bytes of the longest secret: SHA-384's, and TLS 1.2's master secrets.
pub const LONGEST: usize = 48;
/// Labels that are known at once: each copy of each label in each file.
pub const LABELS: u32 = 4096;

/// What a secret is for: [`SecretSlot::label`], and the values of the table of labels.
pub mod label {
    /// The library did not say, or two files say different things there.
    pub const UNKNOWN: u32 = 0;
    /// TLS 1.2's master secret.
    pub const MASTER: u32 = 1;
    /// 0-RTT data.
    pub const CLIENT_EARLY: u32 = 2;
    /// The client's part of the handshake.
    pub const CLIENT_HANDSHAKE: u32 = 3;
    /// The server's part of the handshake.
    pub const SERVER_HANDSHAKE: u32 = 4;
    /// What the client sends.
    pub const CLIENT_TRAFFIC: u32 = 5;
    /// What the server sends.
    pub const SERVER_TRAFFIC: u32 = 6;
    /// No record is opened with it: it is not told.
    pub const OPENS_NOTHING: u32 = 7;
}

/// Key of a label in the table: its distance from the function that it is passed to, and where in its page that begins, of
/// addresses either as in the file or as in a process. Files are loaded at whole pages, so both give the same.
#[inline(always)]
pub const fn label_key(label: u64, function: u64) -> u64 {
    (label.wrapping_sub(function) << 12) | (function & 0xfff)
}

/// One secret, as it was told. Written by the kernel, zeroed by the daemon.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SecretSlot {
    /// CLOCK_MONOTONIC ns.
    pub time_ns: u64,
    /// A number that the secrets of one handshake share, as the address of its state; 0 is none.
    pub handshake: u64,
    /// The process.
    pub tgid: u32,
    /// One of [`label`].
    pub label: u32,
    /// Bytes of the secret: 32 or 48.
    pub length: u32,
    /// 1 where the client's random is there.
    pub has_random: u32,
    /// The client's random.
    pub client_random: [u8; 32],
    /// The secret.
    pub secret: [u8; LONGEST],
    /// Explicit padding: slots begin at multiples of a cache line.
    pub reserved: [u64; 2],
}
plain!(SecretSlot, 128);

/// How often a process entered block functions. Written by the kernel.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Hashing {
    /// When this second began, CLOCK_MONOTONIC ns.
    pub since_ns: u64,
    /// Entries in it.
    pub entries: u32,
    /// 1 once the daemon was told.
    pub told: u32,
}
plain!(Hashing, 16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_has_one_key_wherever_its_file_is_loaded() {
        let (label, function) = (0x8_1234, 0x3_a1c0);
        let in_file = label_key(label, function);
        for bias in [0x5555_0000_0000, 0x7fff_f7d0_1000] {
            assert_eq!(label_key(label + bias, function + bias), in_file);
        }
        // The label may stand before the function.
        assert_eq!(
            label_key(0x1000 + 0x4000, 0x9123 + 0x4000),
            label_key(0x1000, 0x9123)
        );
        assert_ne!(label_key(label + 1, function), in_file);
        assert_ne!(label_key(label + 1, function + 1), in_file);
    }
}
