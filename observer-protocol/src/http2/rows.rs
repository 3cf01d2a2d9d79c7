//! How a connection of HTTP/2 begins, and its runs in the middle of one, for the kernel programs.

use super::frame::{PREFACE, flag, kind};
use crate::{
    detection::{Row, Sender, Shape, Test},
    frames::{Form, Layout},
};

/// The longest DATA that is shipped whole, header included: so much holds most messages of gRPC, and more than one.
const SHORT: u32 = 1024 + 9;

/// How frames lie. What is read of a DATA frame is where it ends, and what its first message's five bytes say, behind one byte of
/// padding's length.
static FRAMES: Layout = Layout {
    // The reserved bit, and what flags and types are in use: text, and most of what is none, does not fit.
    same: ([0; 8], [0, 0, 0, 0xe0, !flag::ALL, 0x80, 0, 0]),
    header: 9,
    length: (0, 3),
    form: Form::BigEndian,
    type_at: 3,
    counted: 0,
    trailer: 0,
    whole: &[
        kind::HEADERS,
        kind::PRIORITY,
        kind::RST_STREAM,
        kind::SETTINGS,
        kind::PUSH_PROMISE,
        kind::PING,
        kind::GOAWAY,
        kind::WINDOW_UPDATE,
        kind::CONTINUATION,
    ],
    // A field block that is longer is read up to here.
    whole_to: 64 * 1024,
    short: SHORT,
    first: 9 + 1 + 5,
    last: 0,
    run: 0,
    begins_whole: false,
    longest: 1 << 22,
    turns: None,
};

/// The preface; a server's settings; then field blocks, by the first field's byte: `:method`, `:scheme`, `:path` or `:authority` of a
/// client's, `:status` of a server's. A client's may have a priority before it.
pub const ROWS: &[Row] = &[
    Row {
        layout: Some(&FRAMES),
        preface: PREFACE.len() as u8,
        message: false,
        ..Row::prefix(b"PRI * HTTP/2.0\r\n", Sender::Client, Shape::Frames)
    },
    // What begins with settings is a server's that greets: a client's has the preface before.
    Row {
        value: [0, 0, 0, kind::SETTINGS, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        mask: [
            0xff, 0xff, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0,
        ],
        least: 9,
        certain: false,
        ..frames(Sender::Server, false)
    },
    block(0x82, 0xfe, Sender::Client),
    block(0x84, 0xfc, Sender::Client),
    prioritized(0x82, 0xfe),
    prioritized(0x84, 0xfc),
    // A literal `:method`, `:path` or `:authority`, its name by index.
    block(0x41, 0xff, Sender::Client),
    block(0x44, 0xff, Sender::Client),
    prioritized(0x41, 0xff),
    block(0x88, 0xfc, Sender::Server),
    block(0x8c, 0xfc, Sender::Server),
    block(0x48, 0xff, Sender::Server),
];

const fn frames(sender: Sender, message: bool) -> Row {
    Row {
        test: Test::Bytes,
        value: [0; 16],
        mask: [0; 16],
        least: 9,
        sender,
        shape: Shape::Frames,
        certain: true,
        message,
        layout: Some(&FRAMES),
        preface: 0,
        tls_follows: false,
    }
}

/// HEADERS of a stream that a client opened, of at most 16 KiB, whose block begins with such a byte.
const fn block(first: u8, mask: u8, sender: Sender) -> Row {
    headers(first, mask, sender, 0, 9)
}

/// The same behind a priority.
const fn prioritized(first: u8, mask: u8) -> Row {
    headers(first, mask, Sender::Client, flag::PRIORITY, 14)
}

const fn headers(first: u8, mask: u8, sender: Sender, flags: u8, at: usize) -> Row {
    let mut row = frames(sender, true);
    row.value[3] = kind::HEADERS;
    row.value[4] = flags;
    row.value[8] = 1;
    row.value[at] = first;
    row.mask[0] = 0xff;
    row.mask[1] = 0xc0;
    row.mask[3] = 0xff;
    // Whether it is padded says where the block begins; whether it ends here or goes on does not matter.
    row.mask[4] = !(flag::END_STREAM | flag::END_HEADERS);
    row.mask[5] = 0x80;
    row.mask[8] = 1;
    row.mask[at] = mask;
    row.least = at as u8 + 1;
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(bytes: &[u8]) -> Option<&'static Row> {
        ROWS.iter().find(|row| row.fits(bytes))
    }

    #[test]
    fn the_preface_is_a_clients() {
        let row = found(PREFACE).unwrap();
        assert_eq!(
            (row.sender, row.preface, row.message),
            (Sender::Client, 24, false)
        );
        assert!(found(&PREFACE[..15]).is_none());
    }

    #[test]
    fn field_blocks_tell_who_sends_them() {
        let table: [(&[u8], Option<Sender>); 9] = [
            // GET, POST; a path; behind a priority.
            (
                b"\0\0\x20\x01\x05\0\0\0\x01\x82\x86\x84",
                Some(Sender::Client),
            ),
            (
                b"\0\0\x20\x01\x04\0\0\0\x03\x83\x86\x84",
                Some(Sender::Client),
            ),
            (
                b"\0\0\x20\x01\x04\0\0\0\x03\x44\x01/\x82",
                Some(Sender::Client),
            ),
            (
                b"\0\0\x20\x01\x25\0\0\0\x0d\0\0\0\x0b\x10\x82\x86",
                Some(Sender::Client),
            ),
            (b"\0\0\x20\x01\x04\0\0\0\x03\x88\x61", Some(Sender::Server)),
            (b"\0\0\x20\x01\x04\0\0\0\x03\x8d\x61", Some(Sender::Server)),
            (
                b"\0\0\x20\x01\x04\0\0\0\x03\x48\x82\x64\x02",
                Some(Sender::Server),
            ),
            // A stream that the server opened, and trailers, of which the first field may be anything.
            (b"\0\0\x20\x01\x04\0\0\0\x02\x88\x61", None),
            (b"\0\0\x20\x01\x05\0\0\0\x03\x40\x0bgrpc-status", None),
        ];
        for (bytes, sender) in table {
            let row = found(bytes);
            let shown = bytes.escape_ascii();
            assert_eq!(row.map(|row| row.sender), sender, "{shown}");
            assert!(row.is_none_or(|row| row.message && row.certain), "{shown}");
        }
    }

    #[test]
    fn what_others_say_fits_no_row() {
        let others: [&[u8]; 6] = [
            b"GET / HTTP/1.1\r\nHost: a\r\n",
            b"HTTP/1.1 200 OK\r\n",
            b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\0\0\0\0\0",
            b"\0\0\0\x08\x04\xd2\x16\x2f",
            b"\x03\0\0\x01\x01\0\0\0\x01\x82",
            b"*1\r\n$4\r\nPING\r\n",
        ];
        for bytes in others {
            assert!(found(bytes).is_none(), "{}", bytes.escape_ascii());
        }
        assert!(found(&[0; 64]).is_none());
    }
}
