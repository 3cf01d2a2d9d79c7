//! What messages on the wire say, and what is no message.

mod codes;
mod corpus;
mod message;
mod mutated;
mod name;
mod protocol;

/// A message with these flags and questions, and what follows its header.
fn message(flags: u16, questions: u16, rest: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34];
    for word in [flags, questions, 0, 0, 0] {
        bytes.extend(word.to_be_bytes());
    }
    bytes.extend(rest);
    bytes
}
