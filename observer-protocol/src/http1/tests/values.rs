//! Small values: segments, limits, names, tails.

use crate::http1::{Limits, Malformed, Segment, tail_ends_chunked};

/// Start, captured bytes and end.
type Parts<'a> = (u64, &'a [u8], u64);

fn parts<'a>(segment: &Segment<'a>) -> Parts<'a> {
    (segment.start, segment.bytes, segment.end)
}

#[test]
fn a_whole_segment_ends_with_its_bytes() {
    assert_eq!(parts(&Segment::whole(7, b"abc")), (7, &b"abc"[..], 10));
    let last = Segment::whole(u64::MAX - 1, b"abc");
    assert_eq!(last.end, u64::MAX, "there are no positions beyond");
}

#[test]
fn a_segment_is_empty_where_nothing_moved() {
    for (start, end, empty) in [(7, 8, false), (7, 7, true), (8, 7, true)] {
        let segment = Segment {
            start,
            bytes: b"",
            end,
        };
        assert_eq!(segment.is_empty(), empty, "{start}..{end}");
    }
}

#[test]
fn what_lies_before_a_position_is_dropped_captured_or_not() {
    let table: [(u64, Parts<'_>); 7] = [
        (0, (10, b"abc", 20)),
        (10, (10, b"abc", 20)),
        (11, (11, b"bc", 20)),
        (13, (13, b"", 20)),
        (15, (15, b"", 20)),
        (20, (20, b"", 20)),
        (99, (20, b"", 20)),
    ];
    for (position, left) in table {
        let mut segment = Segment {
            start: 10,
            bytes: b"abc",
            end: 20,
        };
        segment.advance_to(position);
        assert_eq!(parts(&segment), left, "{position}");
    }
}

#[test]
fn no_more_was_captured_than_moved() {
    for (start, end, captured) in [
        (10, 12, &b"ab"[..]),
        (10, 13, b"abc"),
        (10, 99, b"abc"),
        (10, 10, b""),
        (10, 9, b""),
    ] {
        let segment = Segment {
            start,
            bytes: b"abc",
            end,
        };
        assert_eq!(segment.captured(), captured, "{start}..{end}");
    }
}

#[test]
fn limits_are_forced_into_their_range() {
    assert_eq!(Limits::HEAD_BYTES, 256..=65536);
    for (asked, got) in [
        (0, 256),
        (255, 256),
        (256, 256),
        (257, 257),
        (65535, 65535),
        (65536, 65536),
        (65537, 65536),
        (usize::MAX, 65536),
    ] {
        assert_eq!(Limits::new(asked).head_bytes(), got, "{asked}");
    }
    assert_eq!(Limits::default().head_bytes(), 16384);
}

#[test]
fn what_is_malformed_is_counted_under_its_name() {
    for (reason, name) in [
        (Malformed::FirstLine, "first_line"),
        (Malformed::Header, "header"),
        (Malformed::TooManyHeaders, "too_many_headers"),
        (Malformed::ContentLength, "content_length"),
        (Malformed::TransferEncoding, "transfer_encoding"),
        (Malformed::ChunkSize, "chunk_size"),
        (Malformed::ChunkEnd, "chunk_end"),
        (Malformed::Trailer, "trailer"),
    ] {
        assert_eq!((reason.as_str(), &*reason.to_string()), (name, name));
    }
}

#[test]
fn a_stream_tail_shows_the_end_of_chunks() {
    for before in [b'x', b'\r', b'0'] {
        let end = [before, b'\r', b'\n', b'0', b'\r', b'\n', b'\r', b'\n'];
        assert!(tail_ends_chunked(u64::from_le_bytes(end)));
        for index in 1..end.len() {
            let mut other = end;
            other[index] = b'1';
            assert!(!tail_ends_chunked(u64::from_le_bytes(other)), "{index}");
        }
    }
    assert!(!tail_ends_chunked(u64::from_le_bytes(*b"\r\n0\r\n\r\nx")));
    assert!(!tail_ends_chunked(u64::from_le_bytes(*b"x10\r\n\r\n\0")));
    assert!(!tail_ends_chunked(0));
}
