//! The chunked coding alone: sizes, extensions, trailers and their bounds.

use crate::http1::{
    Malformed,
    chunked::{Chunked, MAX_LINE, MAX_TRAILER, Progress},
};

fn feed(bytes: &[u8]) -> (Progress, u64) {
    let mut chunked = Chunked::new();
    (chunked.feed(bytes), chunked.size())
}

#[test]
fn chunks_extensions_and_trailers_are_crossed() {
    let table: [(&[u8], u64); 15] = [
        (b"0\r\n\r\n", 0),
        (b"000\r\n\r\n", 0),
        (b"5\r\nhello\r\n0\r\n\r\n", 5),
        (
            b"5;a=b;c=\"d\"\r\nhello\r\n00a \r\n0123456789\r\n0;x\r\n\r\n",
            15,
        ),
        (b"1 \t ; a = b \r\nx\r\n0 ;y\r\n\r\n", 1),
        (b"1;a\tb\rc\r\nx\r\n0\r\n\r\n", 1),
        (b"1;a\nx\r\n0;\n\n", 1),
        (b"1\t\nx\r\n0\r\n\r\n", 1),
        (b"3\r\n\r\n\r\r\n0\r\nA: b\r\nC: d\r\n\r\n", 3),
        (b"0\r\nA: b\r\r\n\r\n", 0),
        (b"0\r\nA: b\n\n", 0),
        (b"5\nhello\n0\n\n", 5),
        (b"A\r\n0123456789\r\n0\r\n\r\n", 10),
        (b"10\r\n0123456789abcdef\r\n0\r\n\r\n", 16),
        (b"0F\r\n0123456789abcde\r\n0\r\n\r\n", 15),
    ];
    for (body, size) in table {
        let done = Progress::Done(body.len());
        assert_eq!(feed(body), (done, size), "{}", body.escape_ascii());
        let followed = [body, b"GET"].concat();
        assert_eq!(feed(&followed).0, done, "stops at its end");
        for cut in 0..body.len() {
            let mut chunked = Chunked::new();
            assert_eq!(chunked.feed(&body[..cut]), Progress::More);
            assert_eq!(chunked.feed(&body[cut..]), Progress::Done(body.len() - cut));
            assert_eq!(chunked.size(), size);
        }
    }
}

#[test]
fn a_size_is_made_of_hexadecimal_digits_of_either_case() {
    for byte in 0..=255u8 {
        let digit = char::from(byte).to_digit(16);
        for (before, factor) in [("", 0), ("1", 16), ("f", 15 * 16)] {
            let line = [before.as_bytes(), &[byte], b"\r\n"].concat();
            match (digit, byte) {
                (Some(digit), _) => {
                    let size = factor + u64::from(digit);
                    assert_eq!(feed(&line), (Progress::More, size));
                }
                (None, b'\r' | b'\n' | b' ' | b'\t' | b';') if !before.is_empty() => {}
                (None, _) => {
                    let malformed = Progress::Malformed(before.len() + 1, Malformed::ChunkSize);
                    assert_eq!(feed(&line).0, malformed, "{}", line.escape_ascii());
                }
            }
        }
    }
}

#[test]
fn a_size_fits_64_bits() {
    for (digits, size) in [
        ("ffffffffffffffff", u64::MAX),
        ("FEDCBA9876543210", 0xfedc_ba98_7654_3210),
        ("0000000000ffffffffffffffff", u64::MAX),
        ("7fffffffffffffff", u64::MAX / 2),
    ] {
        assert_eq!(
            feed(format!("{digits}\r\n").as_bytes()),
            (Progress::More, size)
        );
    }
    for digits in [
        "10000000000000000",
        "fffffffffffffffff",
        "1ffffffffffffffff",
    ] {
        assert_eq!(
            feed(format!("{digits}\r\n").as_bytes()).0,
            Progress::Malformed(17, Malformed::ChunkSize)
        );
    }
}

#[test]
fn what_is_not_chunked_is_malformed_at_the_byte_that_shows_it() {
    let table: [(&[u8], usize, Malformed); 20] = [
        (b"\r\n", 1, Malformed::ChunkSize),
        (b"\n", 1, Malformed::ChunkSize),
        (b";a\r\n", 1, Malformed::ChunkSize),
        (b" 5\r\n", 1, Malformed::ChunkSize),
        (b"-1\r\n", 1, Malformed::ChunkSize),
        (b"+1\r\n", 1, Malformed::ChunkSize),
        (b"0x5\r\n", 2, Malformed::ChunkSize),
        (b"5 5\r\n", 3, Malformed::ChunkSize),
        (b"5\t-\r\n", 3, Malformed::ChunkSize),
        (b"5\rX", 3, Malformed::ChunkSize),
        (b"5 \r\r\n", 4, Malformed::ChunkSize),
        (b"1\r\nab", 5, Malformed::ChunkEnd),
        (b"1\r\na0\r\n", 5, Malformed::ChunkEnd),
        (b"1\r\na\rX", 6, Malformed::ChunkEnd),
        (b"1\r\na\r\r\n", 6, Malformed::ChunkEnd),
        (b"1\r\na\r\n\r\n", 7, Malformed::ChunkSize),
        (b"1\r\na\r\ng\r\n", 7, Malformed::ChunkSize),
        (b"0\r\n\rX", 5, Malformed::Trailer),
        (b"0\r\n\r\r\n", 5, Malformed::Trailer),
        (b"0\r\nA: b\r\n\rX", 11, Malformed::Trailer),
    ];
    for (body, taken, reason) in table {
        let malformed = Progress::Malformed(taken, reason);
        assert_eq!(feed(body).0, malformed, "{}", body.escape_ascii());
    }
}

#[test]
fn a_size_line_has_8_kib_at_most_its_line_end_included() {
    let room = MAX_LINE as usize;
    assert_eq!(room, 8192);
    for (start, fill) in [("", '0'), ("1", ' '), ("1;", 'x')] {
        let line = |length: usize| {
            let fill = String::from(fill).repeat(length - start.len() - 2);
            format!("{start}{fill}\r\n")
        };
        // Neither the line before nor data counts.
        let before = b"5\r\nhello\r\n";
        let whole = [before, line(room).as_bytes()].concat();
        assert_eq!(feed(&whole).0, Progress::More, "{start}");
        let over = [before, line(room + 1).as_bytes()].concat();
        assert_eq!(
            feed(&over).0,
            Progress::Malformed(before.len() + room + 1, Malformed::ChunkSize),
            "{start}"
        );
    }
}

#[test]
fn trailers_have_64_kib_at_most_their_last_line_end_included() {
    let room = MAX_TRAILER as usize;
    assert_eq!(room, 65536);
    let body = |length: usize| {
        let first = "A: b\r\n";
        let fill = "x".repeat(length - first.len() - 4);
        format!("1\r\na\r\n0;an extension\r\n{first}{fill}\r\n\r\n")
    };
    let whole = body(room);
    assert_eq!(feed(whole.as_bytes()), (Progress::Done(whole.len()), 1));
    let over = body(room + 1);
    assert_eq!(
        feed(over.as_bytes()).0,
        Progress::Malformed(over.len(), Malformed::Trailer)
    );
}

#[test]
fn sizes_that_do_not_add_up_to_64_bits_are_malformed() {
    let mut chunked = Chunked::new();
    assert_eq!(chunked.feed(b"fffffffffffffffe\r\n"), Progress::More);
    assert!(chunked.skip(u64::MAX - 1));
    assert_eq!(chunked.feed(b"\r\n1\r\nx\r\n"), Progress::More);
    assert_eq!(chunked.size(), u64::MAX);
    assert_eq!(
        chunked.feed(b"1\r\n"),
        Progress::Malformed(3, Malformed::ChunkSize)
    );
}

#[test]
fn a_gap_inside_a_chunk_keeps_the_framing_and_a_larger_one_does_not() {
    let mut chunked = Chunked::new();
    assert_eq!(chunked.feed(b"a\r\n01"), Progress::More);
    let mut over = chunked.clone();
    assert!(!over.skip(9));
    let mut inside = chunked.clone();
    assert!(inside.skip(7));
    assert_eq!(inside.feed(b"9\r\n0\r\n\r\n"), Progress::Done(8));
    assert!(chunked.skip(8));
    assert_eq!(chunked.feed(b"\r\n0\r\n\r\n"), Progress::Done(7));
    assert_eq!(chunked.size(), 10);
    for framing in [
        &b""[..],
        b"a",
        b"a\r",
        b"1\r\nx",
        b"1\r\nx\r",
        b"0\r\n",
        b"0\r\n\r",
    ] {
        let mut chunked = Chunked::new();
        assert_eq!(chunked.feed(framing), Progress::More);
        assert!(!chunked.skip(1), "{}", framing.escape_ascii());
    }
}

#[test]
fn the_shortest_end_is_that_of_a_last_chunk_without_trailers() {
    let mut chunked = Chunked::new();
    assert_eq!(chunked.shortest_end(), None, "not even a size");
    chunked.feed(b"2\r\nab\r\na\r\n01");
    assert_eq!(chunked.shortest_end(), Some((8 + 7, 12)));
    let rest = b"23456789\r\n0\r\n\r\n";
    assert_eq!(chunked.clone().feed(rest), Progress::Done(8 + 7));
    assert!(chunked.skip(8));
    assert_eq!(chunked.shortest_end(), None, "outside of data");

    let mut huge = Chunked::new();
    huge.feed(b"fffffffffffffff9\r\n");
    assert_eq!(huge.shortest_end(), None, "its end has no position");
    assert!(huge.skip(1));
    assert_eq!(huge.shortest_end(), Some((u64::MAX, u64::MAX - 6)));
}
