//! A hash for keys that the kernel chose.
//!
//! Sock addresses and process ids are not an attacker's to pick, so the tables do not need SipHash (which costs some
//! 20 ns a lookup); one multiplication spreads them.

use std::hash::{BuildHasherDefault, Hasher};

/// A map with [`Multiply`].
pub(super) type FastMap<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<Multiply>>;
/// A set with [`Multiply`].
pub(super) type FastSet<K> = std::collections::HashSet<K, BuildHasherDefault<Multiply>>;

/// Multiplies by an odd constant (2^64 divided by the golden ratio) and folds the high half down, since sock addresses
/// differ in their middle bits only.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Multiply(u64);

impl Hasher for Multiply {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_ne_bytes(word));
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(value.into());
    }

    fn write_u64(&mut self, value: u64) {
        let product = u128::from(self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = (product as u64) ^ (product >> 64) as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, hash::BuildHasher};

    use super::*;

    #[test]
    fn sock_addresses_of_one_slab_do_not_share_a_bucket() {
        let hash = BuildHasherDefault::<Multiply>::default();
        let addresses = (0..4096_u64).map(|index| 0xffff_8881_0000_0000 + index * 2368);
        // A table looks at the low bits for the bucket and at the top seven for the tag.
        let low: HashSet<u64> = addresses
            .clone()
            .map(|address| hash.hash_one(address) & 0xfff)
            .collect();
        let tags: HashSet<u64> = addresses
            .map(|address| hash.hash_one(address) >> 57)
            .collect();
        assert!(low.len() > 2300, "{} of 4096 buckets", low.len());
        assert_eq!(tags.len(), 128);
    }
}
