//! The fuzz target over mutated messages.

use super::corpus::MESSAGES;
use crate::{
    fuzzing,
    mutation::{self, Random},
};

/// Lengths of labels, kinds of labels, and bytes with an escape.
const TELLING: &[u8] = b"\0\x01\x0c\x3f\x40\x80\xc0\xff.\\A";

#[test]
fn the_parser_keeps_its_word_over_mutated_messages() {
    mutation::keeps_its_word(
        Random(0x0b5e_17e2_0000_0003),
        20_000,
        |random| {
            let mut message = MESSAGES[random.below(MESSAGES.len())].bytes.to_vec();
            random.mutate(&mut message, TELLING);
            message
        },
        fuzzing::dns,
    );
}
