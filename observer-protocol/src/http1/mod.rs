//! HTTP/1.0 and 1.1 (RFC 9110, RFC 9112), one parser for each direction of a connection.
//!
//! In: [`Segment`]s in order, and what is known about bytes that were not captured.
//! Out: [`RequestEvent`]s and [`ResponseEvent`]s, pulled one by one.
//! Owns: message framing of one direction. Pairing requests with responses, and time, are the caller's.
//!
//! The caller's loop, for each record of a direction:
//!
//! 1. where the record tells that earlier bytes moved unseen: [`skip_to`](RequestParser::skip_to), until `None`;
//! 2. where it opens a run (the other side spoke in between): [`run_started`](RequestParser::run_started);
//! 3. [`poll`](RequestParser::poll) with the record's segment, until `None`.
//!
//! Each message gives one `Head` and then one of `End`, `Cut`, `Malformed` or `Lost`, or only the latter three where
//! its first line was not seen. The parser is lenient where real peers are (invalid header lines are passed over,
//! lines may end in LF alone), since it watches others' traffic and must not be stricter than they are.

mod body;
mod chunked;
mod detect;
mod event;
mod framing;
mod head;
mod machine;
mod name;
mod plain;
mod protocol;
mod request;
mod request_head;
mod response;
mod response_head;
mod rows;
#[cfg(test)]
mod tests;
mod texts;
mod wide;

pub use crate::Segment;
pub use detect::{Detection, detect};
pub use event::{Framing, Limits, Malformed, MessageEnd, RequestKind, tail_ends_chunked};
pub use protocol::Http1;
pub use request::{RequestEvent, RequestHead, RequestParser};
pub(crate) use request_head::token;
pub use response::{ResponseEvent, ResponseHead, ResponseParser};
pub use rows::ROWS;
pub use texts::Texts;
