//! The rows by which the kernel programs tell protocols apart.

use anyhow::{Result, ensure};
use observer_abi::{
    connection::role,
    control::shape,
    detection::{MAX_ROWS, Row, Rows, flag, test},
};
use observer_protocol::detection::{self as told, Sender, Shape, Test};

/// A protocol's number, and its rows.
pub(crate) type ProtocolRows = (u8, &'static [told::Row]);

/// All rows, as the kernel programs want them. Of two that fit, the first counts.
pub(super) fn rows(protocols: &[ProtocolRows]) -> Result<Rows> {
    let all: Vec<Row> = protocols
        .iter()
        .flat_map(|(protocol, rows)| rows.iter().map(|row| row_of(*protocol, row)))
        .collect();
    ensure!(
        all.len() <= MAX_ROWS,
        "{} rows tell protocols apart, and the kernel programs have room for {MAX_ROWS}",
        all.len()
    );
    let mut rows = Rows {
        count: all.len() as u64,
        rows: [Row::default(); MAX_ROWS],
    };
    rows.rows[..all.len()].copy_from_slice(&all);
    Ok(rows)
}

fn row_of(protocol: u8, row: &told::Row) -> Row {
    let mut flags = 0;
    if row.certain {
        flags |= flag::CERTAIN;
    }
    if row.message {
        flags |= flag::MESSAGE;
    }
    Row {
        value: words(row.value),
        mask: words(row.mask),
        protocol,
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

    #[test]
    fn what_fits_a_row_of_a_parser_fits_the_kernels() {
        let rows = rows(&[(7, http1::ROWS)]).expect("there is room");
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
        assert_eq!(rows.rows[1].test, test::START_LINE);
        assert_eq!(rows.rows[1].value[0].to_be_bytes(), *b"HTTP/1.\0");
    }

    #[test]
    fn more_rows_than_there_is_room_for_are_an_error() {
        let many = [(1, http1::ROWS); MAX_ROWS];
        assert!(rows(&many).is_err());
    }
}
