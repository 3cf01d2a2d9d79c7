//! Trace and span ids for requests to which the kernel gave none.

use std::hash::{BuildHasher, RandomState};

/// A small generator (xoshiro256++ by Blackman and Vigna), one for each shard. W3C Trace Context asks for ids that
/// are random enough not to collide, not for ones that cannot be guessed.
#[derive(Debug)]
pub(crate) struct Ids([u64; 4]);

impl Ids {
    /// Seeded by the kernel.
    pub(crate) fn new() -> Self {
        let mut seed = [0_u8; 32];
        let filled = rustix::rand::getrandom(&mut seed[..], rustix::rand::GetRandomFlags::empty());
        let mut words = [0_u64; 4];
        for (word, bytes) in words.iter_mut().zip(seed.chunks_exact(8)) {
            *word = u64::from_ne_bytes(bytes.try_into().unwrap_or_default());
        }
        if filled != Ok(seed.len()) || words == [0; 4] {
            // A sandbox may refuse the call; the standard library has a seed of its own for its hash tables.
            let random = RandomState::new();
            words = std::array::from_fn(|index| random.hash_one(index) | 1);
        }
        Self(words)
    }

    /// A W3C trace id, never all zero.
    pub(crate) fn trace_id(&mut self) -> [u8; 16] {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.next().to_ne_bytes());
        id[8..].copy_from_slice(&self.span_id());
        id
    }

    /// A W3C span id, never all zero.
    pub(crate) fn span_id(&mut self) -> [u8; 8] {
        loop {
            let id = self.next();
            if id != 0 {
                return id.to_ne_bytes();
            }
        }
    }

    fn next(&mut self) -> u64 {
        let state = &mut self.0;
        let result = state[0]
            .wrapping_add(state[3])
            .rotate_left(23)
            .wrapping_add(state[0]);
        let shifted = state[1] << 17;
        state[2] ^= state[0];
        state[3] ^= state[1];
        state[1] ^= state[2];
        state[0] ^= state[3];
        state[2] ^= shifted;
        state[3] = state[3].rotate_left(45);
        result
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_never_zero_and_never_repeat_in_a_hundred_thousand() {
        let mut ids = Ids::new();
        let mut seen = HashSet::new();
        for _ in 0..100_000 {
            let id = ids.span_id();
            assert_ne!(id, [0; 8]);
            assert!(seen.insert(id));
            assert_ne!(ids.trace_id(), [0; 16]);
        }
    }

    #[test]
    fn two_generators_give_different_ids() {
        assert_ne!(Ids::new().trace_id(), Ids::new().trace_id());
    }

    #[test]
    fn the_generator_gives_the_published_sequence() {
        // The reference implementation's first outputs for the state 1, 2, 3, 4.
        let mut ids = Ids([1, 2, 3, 4]);
        let first: Vec<u64> = (0..3).map(|_| ids.next()).collect();
        assert_eq!(first, [41_943_041, 58_720_359, 3_588_806_011_781_223]);
    }
}
