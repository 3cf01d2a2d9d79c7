//! TLS read at the wire: comes in what each side sent, in [records](Record), and secrets that libraries told; goes out what was
//! said, and how the handshake went. Owns: the keys, which are wiped when they are dropped.

mod alert;
mod candidates;
mod certificate;
mod connection;
mod direction;
mod event;
mod hello;
mod key;
mod messages;
mod reading;
mod record;
mod schedule;
mod secret;
mod suite;
#[cfg(test)]
mod tests;
mod wire;

pub use alert::Alert;
pub use candidates::{Candidates, Told};
pub use certificate::not_after;
pub use connection::{Connection, says_hello};
pub use event::{Event, Outcome, Reason};
pub use hello::{ClientHello, ServerHello, Version};
pub use key::Plain;
pub use reading::Reading;
pub use record::{ContentType, HEADER, Record, Side, records};
pub use secret::{Label, Secret, wipe_stack};
pub use suite::Suite;

use crate::frames::{Form, Layout};

/// Records (RFC 8446 section 5.1, RFC 5246 section 6.2): type, version, length. Types 20 to 23, versions from SSL 3 to TLS 1.3; the
/// longest is TLS 1.2's: 2^14 + 2048 bytes behind the header.
pub const RECORDS: Layout = Layout {
    same: ([20, 3, 0, 0, 0, 0, 0, 0], [0xfc, 0xff, 0xf8, 0, 0, 0, 0, 0]),
    header: 5,
    length: (3, 2),
    form: Form::BigEndian,
    type_at: 0,
    counted: 0,
    trailer: 0,
    whole: &[20, 21, 22],
    whole_to: 0,
    short: 512,
    // The header, and what TLS 1.2's AES-GCM needs of each record: the half of the nonce that is sent.
    first: 13,
    last: 32,
    // Those are two, one for each direction, of the daemon's configuration.
    run: 0,
    begins_whole: true,
    longest: 18_437,
    turns: None,
};
