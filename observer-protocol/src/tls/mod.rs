//! TLS: its records, which are never decrypted here.

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
    whole_to: 2048,
    short: 512,
    first: 512,
    last: 32,
    run: 0,
    longest: 18_437,
};
