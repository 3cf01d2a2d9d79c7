//! DNS messages (RFC 1035), as far as a lookup is concerned.
//!
//! In: the first bytes of a message. Out: its header and its first question, as a [`Message`], or why there is none.
//! Owns: nothing; each message is read on its own. Pairing queries with answers is the caller's.

mod codes;
mod message;
mod name;
mod protocol;
#[cfg(test)]
mod tests;

pub use codes::{RecordType, ResponseCode};
pub use message::{Malformed, Message, Question, parse};
pub use protocol::Dns;
