//! Connections that observer joins late, and bytes that were lost.

use super::*;

#[test]
fn of_data_only_the_beginning_of_each_frame_is_needed() {
    let mut connection = Connection::greeted();
    connection.request(&get(1, "/"));
    connection.take();
    connection.response(&ok(1, 0));
    for end in [0, flag::END_STREAM] {
        let frame = data(1, end, &[b'x'; 16_000]);
        connection.partly(Side::Response, &frame[..5_000], 15);
        connection.gap(Side::Response, 11_009 - 5_000, Missing::Counted);
        assert_eq!(connection.http2.ending(), crate::protocol::Ending::AskEntry);
        connection.gap(Side::Response, 5_000, Missing::Counted);
        assert_eq!(connection.http2.ending(), crate::protocol::Ending::Known);
    }
    assert_eq!(
        connection.take(),
        [Replied(1, Some(200), None, false), answered(1, 32_000)]
    );
}

#[test]
fn messages_are_counted_where_each_frame_begins_one() {
    let mut connection = Connection::greeted();
    connection.request(&post(1, "/s/m", "application/grpc"));
    for size in [3000, 5000] {
        let frame = data(1, 0, &message(size));
        connection.partly(Side::Request, &frame, 15);
    }
    connection.request(&data(1, flag::END_STREAM, b""));
    assert_eq!(
        connection.take()[1..],
        [Messages(1, Side::Request, 2, 8010, true), asked(1, 8010)]
    );
    // A frame with two of them, of which the second was not captured.
    connection.request(&post(3, "/s/m", "application/grpc"));
    let frame = data(3, 0, &[message(3000), message(1)].concat());
    connection.partly(Side::Request, &frame, 15);
    connection.request(&data(3, flag::END_STREAM, b""));
    assert_eq!(
        connection.take()[1..],
        [Messages(3, Side::Request, 1, 3011, false), asked(3, 3011)]
    );
}

#[test]
fn joined_late_each_new_stream_is_told_and_nothing_is_taken_for_what_it_is_not() {
    let mut connection = Connection::new();
    // A path and a status that were named before.
    let both = flag::END_STREAM | flag::END_HEADERS;
    connection.request(&frame(kind::HEADERS, both, 101, &[0x82, 0x86, 0xbf, 0xbe]));
    connection.response(&frame(kind::HEADERS, both, 101, &[0xbe]));
    connection.request(&get(103, "/known"));
    connection.response(&ok(103, flag::END_STREAM));
    // Ends of streams that began before.
    connection.response(&data(77, flag::END_STREAM, b"end"));
    connection.response(&trailers(79, "0"));
    assert_eq!(
        connection.take(),
        [
            open(101, "GET", ""),
            asked(101, 0),
            Replied(101, None, None, true),
            answered(101, 0),
            open(103, "GET", "/known"),
            asked(103, 0),
            Replied(103, Some(200), None, false),
            answered(103, 0),
            Step::End(77, Side::Response, None),
            Replied(79, None, Some(0), true),
            Step::End(79, Side::Response, None),
        ]
    );
}

#[test]
fn trailers_of_a_request_that_began_before_are_no_request() {
    let mut connection = Connection::new();
    connection.request(&trailers(101, "0"));
    assert_eq!(connection.take(), [Step::End(101, Side::Request, None)]);
}

#[test]
fn a_loss_makes_what_points_behind_it_unknown_and_the_way_is_found_again() {
    let mut connection = Connection::greeted();
    let indexed = |stream| {
        let block = [&[0x82, 0x86, 0x44, 2][..], b"/a"].concat();
        frame(
            kind::HEADERS,
            flag::END_STREAM | flag::END_HEADERS,
            stream,
            &block,
        )
    };
    let pointing = |stream| {
        let both = flag::END_STREAM | flag::END_HEADERS;
        frame(kind::HEADERS, both, stream, &[0x82, 0x86, 0xbe])
    };
    connection.request(&indexed(1));
    connection.request(&pointing(3));
    assert_eq!(connection.take()[2], open(3, "GET", "/a"));
    let lost_from = connection.at[0];
    connection.gap(Side::Request, 100, Missing::Lost);
    // What begins in the middle of something is passed over.
    connection.request(b"the rest of something");
    connection.request(&pointing(7));
    connection.request(&indexed(9));
    connection.request(&pointing(11));
    assert_eq!(
        connection.take(),
        [
            Step::Lost(Side::Request, Why::Unseen(lost_from)),
            Step::Lost(Side::Request, Why::Unframed),
            Step::Lost(Side::Request, Why::Unframed),
            open(7, "GET", ""),
            asked(7, 0),
            open(9, "GET", "/a"),
            asked(9, 0),
            open(11, "GET", "/a"),
            asked(11, 0),
        ]
    );
}

#[test]
fn a_loss_within_data_is_arithmetic() {
    let mut connection = Connection::greeted();
    connection.request(&get(1, "/"));
    connection.response(&ok(1, 0));
    connection.response(&data(1, 0, &[0; 500])[..100]);
    connection.gap(Side::Response, 409, Missing::Lost);
    connection.response(&data(1, flag::END_STREAM, b"."));
    assert_eq!(connection.take().last(), Some(&answered(1, 501)));
}

#[test]
fn a_loss_that_may_hide_data_leaves_sizes_unknown() {
    let mut connection = Connection::greeted();
    connection.request(&get(1, "/"));
    connection.response(&ok(1, 0));
    connection.response(&data(1, 0, &[0; 500])[..100]);
    connection.gap(Side::Response, 410, Missing::Lost);
    connection.response(&data(1, flag::END_STREAM, b"."));
    assert_eq!(
        connection.take().last(),
        Some(&Step::End(1, Side::Response, None))
    );
}

#[test]
fn a_field_block_with_a_hole_is_told_and_its_table_is_forgotten() {
    let mut connection = Connection::greeted();
    let both = flag::END_STREAM | flag::END_HEADERS;
    let block = [
        &[0x82, 0x86, 0x44, 2][..],
        b"/a",
        &field("x", &"y".repeat(100)),
    ]
    .concat();
    let bytes = frame(kind::HEADERS, both, 1, &block);
    connection.partly(Side::Request, &bytes, 40);
    connection.request(&frame(kind::HEADERS, both, 3, &[0x82, 0x86, 0xbe]));
    assert_eq!(
        connection.take(),
        [
            open(1, "GET", "/a"),
            Broken(1),
            asked(1, 0),
            open(3, "GET", ""),
            asked(3, 0),
        ]
    );
}

#[test]
fn frames_that_cannot_be_lose_the_way() {
    for wrong in [
        data(0, 0, b"on no stream"),
        frame(kind::RST_STREAM, 0, 1, &[0; 5]),
        frame(kind::SETTINGS, 0, 0, &[0; 5]),
        frame(kind::CONTINUATION, 0, 1, &[]),
        frame(kind::PING, 0, 0, &[0; 7]),
        frame(kind::GOAWAY, 0, 0, &[0; 7]),
        frame(kind::WINDOW_UPDATE, 0, 0, &[0; 3]),
    ] {
        let mut connection = Connection::greeted();
        connection.request(&wrong);
        connection.request(&get(1, "/"));
        let said = connection.take();
        let expected = if wrong[3] == kind::CONTINUATION {
            // Without a block it is only out of place.
            vec![open(1, "GET", "/"), asked(1, 0)]
        } else {
            let lost = [Why::Malformed, Why::Unframed].map(|why| Step::Lost(Side::Request, why));
            let [lost, doubted] = lost;
            vec![lost, doubted, open(1, "GET", "/"), asked(1, 0)]
        };
        assert_eq!(said, expected, "{wrong:?}");
    }
    // Between the frames of a block.
    let mut connection = Connection::greeted();
    connection.request(&frame(kind::HEADERS, 0, 1, &[0x82]));
    connection.request(&frame(kind::PING, 0, 0, &[0; 8]));
    assert_eq!(
        connection.take(),
        [Step::Lost(Side::Request, Why::Malformed)]
    );
}

#[test]
fn behind_a_loss_a_frame_in_the_middle_is_known_by_its_stream_and_what_follows_it() {
    let mut connection = Connection::greeted();
    connection.request(&[get(1, "/a"), get(3, "/b")].concat());
    connection.response(&[ok(1, 0), ok(3, 0)].concat());
    connection.take();
    connection.gap(Side::Response, 5_000, Missing::Lost);
    let rest = [
        vec![b'x'; 700],
        data(1, 0, &[b'y'; 300]),
        data(3, flag::END_STREAM, b"z"),
        data(1, flag::END_STREAM, b""),
    ];
    connection.response(&rest.concat());
    let said = connection.take();
    assert_eq!(
        said[2..],
        [
            Step::End(3, Side::Response, None),
            Step::End(1, Side::Response, None),
        ]
    );
    // Neither a stream that is not open, nor a header that none follows, is one.
    for other in [
        data(9, 0, &[b'y'; 30]),
        data(5, 0, &[b'y'; 30])[..20].to_vec(),
    ] {
        let mut connection = Connection::greeted();
        connection.request(&get(5, "/"));
        connection.take();
        connection.gap(Side::Response, 5_000, Missing::Lost);
        connection.response(&[&[b'x'; 100][..], &other, &ok(5, flag::END_STREAM)].concat());
        let lost = |step: &Step| matches!(step, Step::Lost(..));
        assert!(connection.take().iter().all(lost), "{other:?}");
    }
}

#[test]
fn streams_that_are_opened_while_the_way_is_lost_are_in_doubt() {
    let mut connection = Connection::greeted();
    connection.gap(Side::Response, 5_000, Missing::Lost);
    connection.request(&get(1, "/"));
    connection.take();
    connection.response(&[b'x'; 100]);
    assert_eq!(
        connection.take(),
        [Step::Lost(Side::Response, Why::Unframed)]
    );
    connection.gap(Side::Response, 100, Missing::Counted);
    assert_eq!(
        connection.take(),
        [Step::Lost(Side::Response, Why::Unframed)]
    );
}
