//! HTTP/2 (RFC 9113): many requests on one connection, and what gRPC, gRPC-Web and Connect put into it.
//!
//! In: both directions' frames, of which the kernel ships field blocks whole and of data where each frame begins.
//! Out: requests, answers, messages and ends of streams, by their numbers. Owns: both directions' tables of fields, where frames
//! begin, and what each open stream has moved.
//!
//! Of a connection that is older than observer, and behind a loss, fields that point at what was not seen are not known; all
//! that are written later are exact. A field that is not known is left out: it is never another's, and never a default.

mod direction;
mod frame;
mod head;
mod hpack;
mod messages;
mod protocol;
mod rows;
mod stream;
#[cfg(test)]
mod tests;

pub use frame::error_name;
pub use head::{Content, RequestHead, ResponseHead};
pub use protocol::Http2;
pub use rows::ROWS;
