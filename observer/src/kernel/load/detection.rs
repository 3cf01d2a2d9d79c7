//! The rows by which the kernel programs tell protocols apart.

use anyhow::{Result, ensure};
use observer_abi::{
    connection::role,
    control::shape,
    detection::{MAX_ROWS, Row, Rows, flag, test},
    frames::{self, Layouts, MAX_HEADER, MAX_LAYOUTS},
};
use observer_protocol::{
    detection::{self as told, Sender, Shape, Test},
    frames::{Form, Layout},
    tls,
};

/// How the messages of a protocol begin.
#[derive(Clone, Copy, Debug)]
pub struct ProtocolRows {
    /// Its number.
    pub number: u8,
    /// A connection carries several requests at once.
    pub multiplexed: bool,
    /// Its rows.
    pub rows: &'static [told::Row],
    /// How its frames lie, where no row says so.
    pub layout: Option<&'static Layout>,
}

/// What the kernel programs are told.
pub(super) struct Detection {
    pub(super) rows: Rows,
    pub(super) layouts: Layouts,
}

/// All rows, as the kernel programs want them. Of two that fit, the first counts.
pub(super) fn detection(protocols: &[ProtocolRows]) -> Result<Detection> {
    // The programs follow TLS records by the first.
    let mut layouts = vec![tls::RECORDS];
    let mut of = [0; 256];
    let mut all: Vec<Row> = Vec::new();
    for protocol in protocols {
        let number = protocol.number;
        for row in protocol.rows {
            let mut told = row_of(protocol, row);
            ensure!(
                row.layout.is_some() || row.shape != Shape::Frames,
                "what begins a message of protocol {number} says that its frames are shipped, and not how they lie"
            );
            if let Some(layout) = row.layout {
                told.layout = place_of(layout, &mut layouts, &mut of[usize::from(number)], number)?;
            }
            all.push(told);
        }
        if let Some(layout) = protocol.layout {
            place_of(layout, &mut layouts, &mut of[usize::from(number)], number)?;
        }
    }
    ensure!(
        all.len() <= MAX_ROWS,
        "{} rows tell protocols apart, and the kernel programs have room for {MAX_ROWS}",
        all.len()
    );
    ensure!(
        layouts.len() <= MAX_LAYOUTS,
        "{} kinds of frames, and the kernel programs have room for {MAX_LAYOUTS}",
        layouts.len()
    );
    let mut detection = Detection {
        rows: Rows {
            count: all.len() as u64,
            rows: [Row::default(); MAX_ROWS],
        },
        layouts: Layouts {
            rows: [frames::Layout::default(); MAX_LAYOUTS],
            of,
        },
    };
    detection.rows.rows[..all.len()].copy_from_slice(&all);
    for (into, layout) in detection.layouts.rows.iter_mut().zip(&layouts) {
        *into = layout_of(layout);
    }
    Ok(detection)
}

/// The place of a protocol's layout among all, counted from 1; `of` is that protocol's.
fn place_of(layout: &Layout, all: &mut Vec<Layout>, of: &mut u8, number: u8) -> Result<u8> {
    ensure!(
        u32::from(layout.header) <= MAX_HEADER,
        "a frame's header of {} bytes is longer than the {MAX_HEADER} that the kernel programs look at",
        layout.header
    );
    let place = all.iter().position(|known| known == layout);
    let place = place.unwrap_or_else(|| {
        all.push(*layout);
        all.len() - 1
    });
    let place = place as u8 + 1;
    let known = std::mem::replace(of, place);
    ensure!(
        known == 0 || known == place,
        "the frames of protocol {number} lie in two ways, and the kernel programs follow one"
    );
    Ok(place)
}

fn layout_of(layout: &Layout) -> frames::Layout {
    let mut whole = [0; 4];
    for kind in layout.whole {
        whole[usize::from(kind >> 6)] |= 1 << (kind & 63);
    }
    frames::Layout {
        same: u64::from_be_bytes(layout.same.0),
        same_mask: u64::from_be_bytes(layout.same.1),
        whole,
        header: layout.header,
        length_at: layout.length.0,
        width: layout.length.1,
        form: match layout.form {
            Form::BigEndian => frames::form::BIG_ENDIAN,
            Form::LittleEndian => frames::form::LITTLE_ENDIAN,
            Form::WebSocket => frames::form::WEB_SOCKET,
            Form::Padded => frames::form::PADDED,
        },
        type_at: layout.type_at,
        counted: layout.counted,
        trailer: layout.trailer,
        begins_whole: u8::from(layout.begins_whole),
        first: layout.first,
        last: layout.last,
        short: layout.short,
        whole_to: layout.whole_to,
        run: layout.run,
        longest: layout.longest,
        opens: layout.turns.map_or(0, |(opens, _)| opens),
        closes: layout.turns.map_or(0, |(_, closes)| closes),
        reserved: [0; 6],
    }
}

fn row_of(protocol: &ProtocolRows, row: &told::Row) -> Row {
    let mut flags = 0;
    if row.certain {
        flags |= flag::CERTAIN;
    }
    if row.message {
        flags |= flag::MESSAGE;
    }
    if protocol.multiplexed {
        flags |= flag::MULTIPLEXED;
    }
    if row.tls_follows {
        flags |= flag::TLS_FOLLOWS;
    }
    Row {
        value: words(row.value),
        mask: words(row.mask),
        protocol: protocol.number,
        sender: match row.sender {
            Sender::Client => role::CLIENT,
            Sender::Server => role::SERVER,
            Sender::Either => role::UNKNOWN,
        },
        shape: match row.shape {
            Shape::Head => shape::HEAD,
            Shape::HeadTail => shape::HEAD_TAIL,
            Shape::Frames => shape::FRAMES,
            Shape::Full => shape::FULL,
            Shape::Ignore => shape::IGNORE,
        },
        test: match row.test {
            Test::Bytes => test::BYTES,
            Test::StartLine => test::START_LINE,
        },
        flags,
        least: row.least,
        preface: row.preface,
        ..Row::default()
    }
}

/// Two words, the first byte highest.
fn words(bytes: [u8; 16]) -> [u64; 2] {
    let all = u128::from_be_bytes(bytes);
    [(all >> 64) as u64, all as u64]
}

#[cfg(test)]
mod tests {
    use observer_protocol::http1;

    use super::*;

    const fn of(number: u8, rows: &'static [told::Row]) -> ProtocolRows {
        ProtocolRows {
            number,
            multiplexed: number == 3,
            rows,
            layout: None,
        }
    }

    #[test]
    fn what_fits_a_row_of_a_parser_fits_the_kernels() {
        let rows = detection(&[of(7, http1::ROWS)])
            .expect("there is room")
            .rows;
        assert_eq!(rows.count, http1::ROWS.len() as u64);
        for text in [
            &b"HTTP/1.1 200 OK\r"[..],
            b"HTTP/1.0 ",
            b"HTTP/1.",
            b"HTTP/2.0 200",
            b"",
        ] {
            let mut first = [0; 16];
            first[..text.len()].copy_from_slice(text);
            assert_eq!(
                rows.rows[0].fits_bytes(words(first), text.len() as u32),
                http1::ROWS[0].fits(text),
                "{text:?}"
            );
        }
        assert_eq!(rows.rows[0].protocol, 7);
        let follows: Vec<bool> = rows.rows[..3]
            .iter()
            .map(|row| row.flags & flag::TLS_FOLLOWS != 0)
            .collect();
        assert_eq!(follows, [false, true, false]);
        assert_eq!(rows.rows[2].test, test::START_LINE);
        assert_eq!(rows.rows[2].value[0].to_be_bytes(), *b"HTTP/1.\0");
    }

    #[test]
    fn more_rows_than_there_is_room_for_are_an_error() {
        let many = [of(1, http1::ROWS); MAX_ROWS];
        assert!(detection(&many).is_err());
    }
    #[test]
    fn the_first_layout_is_that_of_tls_records() {
        let layouts = detection(&[]).expect("there is room").layouts.rows;
        // A ClientHello's record of 512 bytes, and application data of 300.
        let header = |bytes: [u8; 5]| {
            let mut all = [0; 16];
            all[..5].copy_from_slice(&bytes);
            words(all)
        };
        for (bytes, kind, length) in [([22, 3, 1, 2, 0], 22, 517), ([23, 3, 3, 1, 44], 23, 305)] {
            assert_eq!(
                frames::read(&layouts[0], header(bytes), 5, |word| word),
                frames::Header::Frame {
                    header: 5,
                    length,
                    kind
                }
            );
        }
        for bytes in [
            [24, 3, 3, 0, 1],
            [22, 2, 0, 0, 1],
            [22, 3, 9, 0, 1],
            *b"GET /",
        ] {
            assert_eq!(
                frames::read(&layouts[0], header(bytes), 5, |word| word),
                frames::Header::None
            );
        }
        // Hellos and what else is of the handshake; of application data what is left of the budget, header and nonce, and the last bytes.
        for (kind, length, left, first, last) in [
            (22, 2000, 0, 2000, 0),
            (22, 16_000, 0, 16_000, 0),
            (23, 512, 0, 512, 0),
            (23, 4000, 0, 13, 32),
            (23, 4000, 1000, 1000, 32),
            (23, 4000, 5000, 4000, 0),
        ] {
            let ships = frames::Ships { first, last };
            assert_eq!(
                layouts[0].ships(length, 5, kind, left),
                ships,
                "{length} of {kind}, {left} left"
            );
        }
    }

    #[test]
    fn protocols_with_the_same_frames_share_a_layout() {
        const FRAMED: &[told::Row] = &[told::Row {
            layout: Some(&tls::RECORDS),
            ..told::Row::prefix(b"X", Sender::Client, Shape::Frames)
        }];
        let detection =
            detection(&[of(1, http1::ROWS), of(2, FRAMED), of(3, FRAMED)]).expect("there is room");
        let layouts: Vec<u8> = detection.rows.rows[1..5]
            .iter()
            .map(|row| row.layout)
            .collect();
        assert_eq!(layouts, [0, 0, 1, 1]);
        let many: Vec<bool> = detection.rows.rows[1..5]
            .iter()
            .map(|row| row.flags & flag::MULTIPLEXED != 0)
            .collect();
        assert_eq!(many, [false, false, false, true]);
        let of = detection.layouts.of;
        assert_eq!((&of[..5], of[255]), (&[0, 0, 1, 1, 0][..], 0));
    }

    #[test]
    fn a_protocol_that_is_only_switched_to_has_a_layout_without_a_row() {
        let switched = ProtocolRows {
            layout: Some(&tls::RECORDS),
            ..of(9, &[])
        };
        let detection = detection(&[of(1, http1::ROWS), switched]).expect("there is room");
        assert_eq!(detection.rows.count, http1::ROWS.len() as u64);
        assert_eq!(detection.layouts.of[9], 1);
    }

    #[test]
    fn a_protocol_whose_frames_are_to_be_shipped_has_one_way_in_which_they_lie() {
        const UNTOLD: &[told::Row] = &[told::Row::prefix(b"X", Sender::Client, Shape::Frames)];
        assert!(detection(&[of(3, UNTOLD)]).is_err());
        const OTHER: Layout = Layout {
            longest: 9,
            ..tls::RECORDS
        };
        const TWO: &[told::Row] = &[
            told::Row {
                layout: Some(&tls::RECORDS),
                ..told::Row::prefix(b"X", Sender::Client, Shape::Frames)
            },
            told::Row {
                layout: Some(&OTHER),
                ..told::Row::prefix(b"Y", Sender::Server, Shape::Frames)
            },
        ];
        assert!(detection(&[of(3, TWO)]).is_err());
    }
}
