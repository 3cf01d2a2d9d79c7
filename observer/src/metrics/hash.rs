//! A fast hash for small keys that no stranger chooses: pointers, ids, status codes.
//!
//! Keys that come from the wire use the standard library's keyed hash instead.

use std::hash::{BuildHasherDefault, Hasher};

/// Multiplies and folds, a word at a time.
#[derive(Default)]
pub(super) struct Folding(u64);

/// For `HashMap::with_hasher`.
pub(super) type BuildFolding = BuildHasherDefault<Folding>;

impl Hasher for Folding {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }

    fn write_u16(&mut self, value: u16) {
        self.write_u64(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    fn write_u64(&mut self, value: u64) {
        let product = u128::from(self.0 ^ value ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93;
        self.0 = product as u64 ^ (product >> 64) as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, hash::BuildHasher};

    use super::*;

    #[test]
    fn pointers_and_statuses_spread() {
        let build = BuildFolding::default();
        let mut low = HashSet::new();
        for pointer in 0..1_000usize {
            low.insert(build.hash_one((pointer * 64, 200u16)) & 0xffff);
        }
        assert!(low.len() > 980, "{}", low.len());
    }
}
