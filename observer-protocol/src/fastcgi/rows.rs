//! How records lie, and how requests and answers begin, for the kernel programs.

use super::record::kind;
use crate::{
    detection::{Row, Sender, Shape},
    frames::{Form, Layout},
};

/// Records. Parameters are shipped whole; of bodies the first bytes, as an answer's head stands there. Behind what an application
/// complains of, that is the second record.
static RECORDS: Layout = Layout {
    same: ([1, 0, 0, 0, 0, 0, 0, 0], [0xff, 0xf0, 0, 0, 0, 0, 0, 0xff]),
    header: 8,
    length: (4, 2),
    form: Form::Padded,
    type_at: 1,
    counted: 0,
    trailer: 0,
    whole: &[
        kind::BEGIN_REQUEST,
        kind::ABORT_REQUEST,
        kind::END_REQUEST,
        kind::PARAMS,
    ],
    whole_to: 0,
    short: 264,
    first: 264,
    last: 0,
    run: 1024,
    begins_whole: false,
    longest: 8 + 65_535 + 255,
    turns: Some((kind::BEGIN_REQUEST, kind::END_REQUEST)),
};

/// A request begins with a record of eight bytes, of which some servers' first read has no more. Of an answer no byte is its own
/// but version and type, so that no role is taken from it.
pub const ROWS: &[Row] = &[
    Row {
        mask: [
            0xff, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0,
        ],
        ..row(&[1, kind::BEGIN_REQUEST, 0, 0, 0, 8, 0, 0], Sender::Client)
    },
    Row {
        message: false,
        ..row(&[1, kind::GET_VALUES, 0, 0], Sender::Client)
    },
    answer(kind::STDOUT),
    answer(kind::STDERR),
    answer(kind::END_REQUEST),
];

const fn row(bytes: &[u8], sender: Sender) -> Row {
    Row {
        layout: Some(&RECORDS),
        ..Row::prefix(bytes, sender, Shape::Frames)
    }
}

/// Of the first 255 requests of a connection: those who have one at a time call it 1.
const fn answer(kind: u8) -> Row {
    Row {
        mask: [0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0, 0, 0, 0, 0, 0, 0, 0],
        certain: false,
        ..row(&[1, kind, 0, 0, 0, 0, 0, 0], Sender::Server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fastcgi::FastCgi,
        protocol::{Protocol, Side, Sniff},
    };

    /// What a row fits, the parser takes for the same.
    #[test]
    fn what_fits_a_row_is_taken_by_the_parser() {
        let begin = [1, 1, 0, 7, 0, 8, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0];
        let answer = [1, 6, 0, 7, 0x20, 0, 3, 0, b'S', b't'];
        for length in 0..=begin.len() {
            let first = &begin[..length];
            assert_eq!(ROWS[0].fits(first), length >= 8, "{length}");
            let sniffed = FastCgi::sniff(Side::Request, first);
            assert_eq!(sniffed == Sniff::Yes, length >= 8, "{length}");
            assert_ne!(sniffed, Sniff::No, "{length}");
        }
        for length in 0..=answer.len() {
            let first = &answer[..length];
            assert_eq!(ROWS[2].fits(first), length >= 8, "{length}");
            assert_eq!(FastCgi::sniff(Side::Response, first), Sniff::More);
        }
        for other in [
            &[1, 1, 0, 7, 0, 9, 0, 0][..],
            &[2, 1, 0, 7, 0, 8, 0, 0],
            b"\x01\x00\x00\x01\x00\x08\x00\x00",
            b"GET / HTTP/1.1\r\n",
        ] {
            assert!(!ROWS.iter().any(|row| row.fits(other)), "{other:?}");
            assert_eq!(FastCgi::sniff(Side::Request, other), Sniff::No, "{other:?}");
        }
    }
}
