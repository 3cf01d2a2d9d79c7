//! Mutated messages for tests: what a fuzz target is given in every test run. Seed and number are fixed, so that what fails
//! once fails each time.

use std::panic::catch_unwind;

/// xorshift64*, enough to mutate bytes.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A number below `bound`; 0 where that is 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize) % bound.max(1)
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.below(256) as u8
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.byte()).collect()
    }

    /// Changes a few places of `message`; `telling` are bytes that decide something in its protocol.
    pub(crate) fn mutate(&mut self, message: &mut Vec<u8>, telling: &[u8]) {
        for _ in 0..self.below(6) {
            let at = self.below(message.len());
            let to = (at + self.below(20)).min(message.len());
            match self.below(6) {
                _ if message.is_empty() => message.push(telling[0]),
                0 => message[at] = telling[self.below(telling.len())],
                1 => message.insert(at, telling[self.below(telling.len())]),
                2 => drop(message.drain(at..to)),
                3 => message[at] ^= 1 << self.below(8),
                4 => {
                    let copy = message[at..to].to_vec();
                    message.splice(at..at, copy);
                }
                _ => drop(message.splice(at..at, vec![b'a'; self.below(700)])),
            }
        }
    }
}

/// Runs `target`, which panics where a parser breaks its word, over so many of what `message` makes.
pub(crate) fn keeps_its_word(
    mut random: Random,
    rounds: u32,
    mut message: impl FnMut(&mut Random) -> Vec<u8>,
    target: fn(&[u8]),
) {
    for round in 0..rounds {
        let bytes = message(&mut random);
        let outcome = catch_unwind(|| target(&bytes));
        assert!(outcome.is_ok(), "round {round}: {}", bytes.escape_ascii());
    }
}
