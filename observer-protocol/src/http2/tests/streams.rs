//! Streams from their first frame to their last.

use super::*;
use crate::{
    fuzzing,
    mutation::{Random, keeps_its_word},
};

#[test]
fn a_request_and_its_answer() {
    let mut connection = Connection::greeted();
    connection.request(&get(1, "/a"));
    connection.response(&ok(1, 0));
    connection.response(&data(1, 0, b"hello"));
    connection.response(&data(1, flag::END_STREAM, b""));
    assert_eq!(
        connection.take(),
        [
            open(1, "GET", "/a"),
            asked(1, 0),
            Replied(1, Some(200), None, false),
            answered(1, 5),
        ]
    );
}

#[test]
fn streams_end_in_any_order_and_padding_is_no_body() {
    let mut connection = Connection::greeted();
    connection.request(&get(1, "/slow"));
    connection.request(&get(3, "/fast"));
    connection.request(&post(5, "/up", "text/plain"));
    connection.request(&data(5, flag::END_STREAM | flag::PADDED, b"\x03bodyppp"));
    connection.response(&[ok(3, 0), ok(5, flag::END_STREAM)].concat());
    connection.response(&data(3, flag::END_STREAM, b"fast"));
    connection.response(&[ok(1, 0), data(1, flag::END_STREAM, b"slow!")].concat());
    assert_eq!(
        connection.take(),
        [
            open(1, "GET", "/slow"),
            asked(1, 0),
            open(3, "GET", "/fast"),
            asked(3, 0),
            open(5, "POST", "/up"),
            asked(5, 4),
            Replied(3, Some(200), None, false),
            Replied(5, Some(200), None, false),
            answered(5, 0),
            answered(3, 4),
            Replied(1, Some(200), None, false),
            answered(1, 5),
        ]
    );
}

/// All that one connection may show.
fn everything() -> [Vec<u8>; 2] {
    let settings = frame(
        kind::SETTINGS,
        0,
        0,
        &[0, 1, 0, 0, 0x20, 0, 0, 3, 0, 0, 0, 100],
    );
    let prioritized = [&[0, 0, 0, 0, 15][..], &[0x82, 0x86, 0x84]].concat();
    let padded = [&[4, 0, 0, 0, 0, 15][..], &[0x83, 0x86, 0x84], &[0; 4]].concat();
    let both = flag::END_STREAM | flag::END_HEADERS;
    let block = [vec![0x82, 0x86], field(":path", "/continued")].concat();
    let request = [
        PREFACE.to_vec(),
        settings.clone(),
        frame(kind::WINDOW_UPDATE, 0, 0, &[0, 1, 0, 0]),
        frame(kind::HEADERS, both | flag::PRIORITY, 1, &prioritized),
        frame(
            kind::HEADERS,
            flag::END_HEADERS | flag::PADDED | flag::PRIORITY,
            3,
            &padded,
        ),
        frame(kind::PRIORITY, 0, 3, &[0, 0, 0, 0, 1]),
        data(3, 0, b"some"),
        // A type that nobody knows.
        frame(0x2a, 0xff, 0, b"grease"),
        data(3, flag::END_STREAM, b""),
        frame(kind::HEADERS, flag::END_STREAM, 5, &block[..7]),
        frame(kind::CONTINUATION, 0, 5, b""),
        frame(kind::CONTINUATION, flag::END_HEADERS, 5, &block[7..]),
        post(7, "/pkg.Service/Method", "application/grpc"),
        data(7, 0, &[message(3), message(20)].concat()),
        data(7, flag::END_STREAM, &message(0)),
        frame(kind::PING, 0, 0, &[0; 8]),
        get(9, "/cancelled"),
        frame(kind::RST_STREAM, 0, 9, &[0, 0, 0, 8]),
        get(11, "/refused"),
    ];
    let promise = [&[0, 0, 0, 2][..], &[0x82, 0x86, 0x84]].concat();
    let interim = field(":status", "103");
    let response = [
        settings,
        frame(kind::SETTINGS, flag::ACK, 0, &[]),
        frame(kind::PUSH_PROMISE, flag::END_HEADERS, 1, &promise),
        ok(2, 0),
        data(2, flag::END_STREAM, b"pushed"),
        frame(kind::HEADERS, flag::END_HEADERS, 1, &interim),
        ok(1, 0),
        data(1, flag::END_STREAM, &[b'x'; 3000]),
        ok(7, 0),
        data(7, 0, &[message(300), message(2)].concat()),
        trailers(7, "5"),
        frame(kind::HEADERS, both, 5, &[0x8d]),
        ok(3, 0),
        frame(kind::RST_STREAM, 0, 3, &[0, 0, 0, 2]),
        frame(
            kind::GOAWAY,
            0,
            0,
            &[0, 0, 0, 9, 0, 0, 0, 0, b'b', b'y', b'e'],
        ),
    ];
    [request.concat(), response.concat()]
}

fn all_of_it() -> [Vec<Step>; 2] {
    let requests = vec![
        open(1, "GET", "/"),
        asked(1, 0),
        open(3, "POST", "/"),
        asked(3, 4),
        open(5, "GET", "/continued"),
        asked(5, 0),
        open(7, "POST", "/pkg.Service/Method"),
        Messages(7, Side::Request, 3, 38, true),
        asked(7, 38),
        open(9, "GET", "/cancelled"),
        asked(9, 0),
        Step::Cancel(9, Side::Request, 8),
        open(11, "GET", "/refused"),
        asked(11, 0),
    ];
    let responses = vec![
        Replied(1, Some(200), None, false),
        answered(1, 3000),
        Replied(7, Some(200), None, false),
        Replied(7, None, Some(5), true),
        Messages(7, Side::Response, 2, 312, true),
        answered(7, 312),
        Replied(5, Some(404), None, false),
        answered(5, 0),
        Replied(3, Some(200), None, false),
        Step::Cancel(3, Side::Response, 2),
        Step::Cancel(11, Side::Response, 7),
    ];
    [requests, responses]
}

#[test]
fn whatever_calls_cut_the_stream_into_the_steps_are_the_same() {
    let [request, response] = everything();
    for size in (1..40).chain([100, 1000, 10_000]) {
        let mut connection = Connection::new();
        for piece in request.chunks(size) {
            connection.request(piece);
        }
        assert_eq!(connection.take(), all_of_it()[0], "pieces of {size}");
        for piece in response.chunks(size) {
            connection.response(piece);
        }
        assert_eq!(connection.take(), all_of_it()[1], "pieces of {size}");
    }
}

#[test]
fn every_prefix_is_incomplete() {
    let streams = everything();
    let expected = all_of_it();
    for (end, side) in (0..streams[0].len())
        .map(|end| (end, Side::Request))
        .chain((0..streams[1].len()).map(|end| (end, Side::Response)))
    {
        let mut connection = Connection::new();
        if side == Side::Response {
            connection.request(&streams[0]);
            connection.take();
        }
        connection.bytes(side, &streams[side.index()][..end]);
        let said = connection.take();
        assert!(
            expected[side.index()].starts_with(&said),
            "{side:?} {end}: {said:?}"
        );
    }
}

#[test]
fn an_answer_that_is_only_trailers() {
    let mut connection = Connection::greeted();
    connection.request(&post(1, "/s/m", "application/grpc+proto"));
    connection.request(&data(1, flag::END_STREAM, &message(4)));
    let block = [vec![0x88], field("grpc-status", "12")].concat();
    let both = flag::END_STREAM | flag::END_HEADERS;
    connection.response(&frame(kind::HEADERS, both, 1, &block));
    assert_eq!(
        connection.take()[3..],
        [
            Replied(1, Some(200), Some(12), false),
            Messages(1, Side::Response, 0, 0, true),
            answered(1, 0),
        ]
    );
}

#[test]
fn a_stream_that_was_answered_early_ends_without_the_rest_of_its_request() {
    let mut connection = Connection::greeted();
    connection.request(&post(1, "/up", "text/plain"));
    connection.request(&data(1, 0, b"some"));
    connection.response(&ok(1, flag::END_STREAM));
    connection.response(&frame(kind::RST_STREAM, 0, 1, &[0; 4]));
    assert_eq!(
        connection.take()[1..],
        [
            Replied(1, Some(200), None, false),
            answered(1, 0),
            Step::Cancel(1, Side::Response, 0),
        ]
    );
}

#[test]
fn a_connections_end_tells_what_its_streams_have_moved() {
    let mut connection = Connection::greeted();
    connection.request(&post(1, "/s/m", "application/grpc"));
    connection.request(&data(1, 0, &message(4)));
    connection.take();
    for side in [Side::Request, Side::Response] {
        let close = Input::Close { reset: false };
        connection.http2.feed(side, close, &mut connection.said);
    }
    assert_eq!(
        connection.take(),
        [
            Messages(1, Side::Request, 1, 9, true),
            Messages(1, Side::Response, 0, 0, true),
        ]
    );
}

#[test]
fn a_hundred_thousand_streams_that_are_reset_leave_nothing() {
    let mut connection = Connection::greeted();
    for stream in (1..200_000u32).step_by(2) {
        connection.request(&get(stream, "/"));
        connection.request(&frame(kind::RST_STREAM, 0, stream, &[0, 0, 0, 8]));
        assert_eq!(connection.take().len(), 3);
    }
    assert_eq!(connection.http2.open_streams(), 0);
    assert_eq!(connection.http2.held(Side::Request), 0);
}

#[test]
fn streams_beyond_the_bound_are_told_without_their_sizes() {
    let mut connection = Connection::greeted();
    for stream in (1..30_000u32).step_by(2) {
        connection.request(&post(stream, "/", "text/plain"));
    }
    assert_eq!(connection.http2.open_streams(), 10_000);
    connection.take();
    connection.request(&data(1, flag::END_STREAM, b"1"));
    connection.request(&data(29_999, flag::END_STREAM, b"1"));
    let beyond = Step::End(29_999, Side::Request, None);
    assert_eq!(connection.take(), [asked(1, 1), beyond]);
}

#[test]
fn a_flood_of_continuations_is_not_kept() {
    let mut connection = Connection::greeted();
    connection.request(&frame(kind::HEADERS, 0, 1, &[0x82]));
    for _ in 0..10_000 {
        connection.request(&frame(
            kind::CONTINUATION,
            0,
            1,
            &field("x-filler", &"y".repeat(100)),
        ));
    }
    assert!(connection.http2.held(Side::Request) < 4096);
    // One field without end, too.
    connection.request(&frame(
        kind::CONTINUATION,
        0,
        1,
        &[0, 0x7f, 0x81, 0xff, 0xff, 0x7f],
    ));
    for _ in 0..100 {
        connection.request(&frame(kind::CONTINUATION, 0, 1, &[b'x'; 1000]));
    }
    assert!(connection.http2.held(Side::Request) < 4096);
    let ends = flag::END_HEADERS;
    connection.request(&frame(kind::CONTINUATION, ends, 1, &[]));
    assert_eq!(connection.take(), [open(1, "GET", ""), Broken(1)]);
    connection.request(&get(3, "/next"));
    assert_eq!(connection.take(), [open(3, "GET", "/next"), asked(3, 0)]);
}

#[test]
fn no_mutation_breaks_the_parsers_word() {
    let script = |random: &mut Random| {
        let mut data = Vec::new();
        let [request, response] = everything();
        for (side, stream) in [(0, request), (1, response)] {
            for piece in stream.chunks(1 + random.below(200)) {
                let mut piece = piece.to_vec();
                if random.below(4) == 0 {
                    random.mutate(&mut piece, &[0, 1, 4, 5, 9, 0x7f, 0x80, 0x82, 0xbe, 0xff]);
                }
                let size = (piece.len() as u16 & 0x0fff).to_be_bytes();
                let choice = if random.below(8) == 0 {
                    random.byte() & 0x1e
                } else {
                    0x0c
                };
                data.extend([choice | side, size[0], size[1]]);
                data.extend(piece);
            }
        }
        data
    };
    keeps_its_word(Random(8), 2000, script, fuzzing::http2);
    let noise = |random: &mut Random| {
        let count = random.below(300);
        random.bytes(count)
    };
    keeps_its_word(Random(9), 2000, noise, fuzzing::http2);
}
