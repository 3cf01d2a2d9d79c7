//! Records that do not arrive, bytes that cannot be read.

use observer_abi::record::flag;

use crate::{
    exchange::Incomplete,
    stream::script::{GET, MS, OK, Script},
};

const NOT_FOUND: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";

#[test]
fn a_lost_response_leaves_its_request_without_a_status() {
    let mut script = Script::server();
    script.request(GET).lost(|script| script.response(OK));
    script.request(GET).response(NOT_FOUND);
    assert_eq!(script.statuses(), [None, Some(404)]);
    assert_eq!(
        script.seen.exchanges[0].incomplete,
        Some(Incomplete::LostBytes)
    );
    assert_eq!(script.seen.exchanges[0].times.response_end, None);
    assert_eq!(script.last().incomplete, None);
    assert_eq!(script.shard.counters().gaps, 1);
    assert_eq!(script.shard.counters().lost_bytes, OK.len() as u64);
    script.assert_settled();
}

#[test]
fn of_two_answers_lost_one_after_the_other_neither_request_gets_the_third() {
    let mut script = Script::server();
    for _ in 0..2 {
        script.request(GET).lost(|script| script.response(OK));
    }
    script.request(GET).response(NOT_FOUND);
    assert_eq!(script.statuses(), [None, None, Some(404)]);
    script.assert_settled();
}

#[test]
fn a_lost_request_does_not_leave_its_response_to_the_next() {
    let mut script = Script::client();
    script
        .exchange()
        .lost(|script| script.request(GET))
        .response(NOT_FOUND)
        .exchange();
    assert_eq!(script.statuses(), [Some(200), Some(200)]);
    assert_eq!(script.shard.counters().responses_without_request, 1);
}

#[test]
fn a_lost_exchange_disturbs_neither_neighbour() {
    let mut script = Script::server();
    script.exchange();
    script.lost(|script| script.request(GET).response(NOT_FOUND));
    script.exchange();
    assert_eq!(script.statuses(), [Some(200), Some(200)]);
    assert!(script.is_whole());
    assert!(script.shard.counters().lost_bytes > 0);
}

#[test]
fn a_piece_lost_from_a_request_head_marks_the_exchange() {
    let mut script = Script::server();
    script
        .request("GET /a HTTP/1.1\r\nHost: h\r\n")
        .lost(|script| script.request("X-A: b\r\n"))
        .request("X-B: c\r\n\r\n");
    script.response(NOT_FOUND);
    script.exchange();
    assert_eq!(script.count(), 2);
    let first = &script.seen.exchanges[0];
    assert_eq!(first.incomplete, Some(Incomplete::LostBytes));
    assert_eq!(first.http().unwrap().texts.target(), "/a");
    assert!(matches!(first.http().unwrap().status, None | Some(404)));
    assert_eq!(script.last().http().unwrap().status, Some(200));
    script.assert_settled();
}

#[test]
fn a_piece_lost_from_a_response_head_marks_the_exchange() {
    let mut script = Script::client();
    script
        .request(GET)
        .response("HTTP/1.1 404 Not")
        .lost(|script| script.response(" Found\r\nContent-"));
    script.response("Length: 0\r\n\r\n").exchange();
    assert_eq!(script.count(), 2);
    assert_eq!(
        script.seen.exchanges[0].incomplete,
        Some(Incomplete::LostBytes)
    );
    assert!(matches!(
        script.seen.exchanges[0].http().unwrap().status,
        None | Some(404)
    ));
    assert_eq!(script.last().http().unwrap().status, Some(200));
    assert_eq!(script.last().incomplete, None);
}

#[test]
fn a_piece_lost_from_a_body_loses_nothing() {
    let mut script = Script::server();
    script
        .request("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 30\r\n\r\n0123456789")
        .lost(|script| script.request("0123456789"))
        .request("0123456789");
    script.response("HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n0123456789");
    script
        .lost(|script| script.response("0123456789"))
        .response("0123456789");
    assert_eq!(script.count(), 1);
    assert_eq!(script.last().incomplete, None);
    assert_eq!(script.last().http().unwrap().response_body_size, Some(30));
    assert_eq!(script.shard.counters().lost_bytes, 20);
}

#[test]
fn bytes_that_could_not_be_read_are_not_guessed() {
    let mut script = Script::server();
    script.exchange();
    script.flags = flag::NO_PAYLOAD;
    script.request(GET).response(NOT_FOUND).exchange();
    assert_eq!(script.shard.counters().unreadable_records, 1);
    assert_eq!(script.statuses(), [Some(200), Some(200)]);
    script.flags = 0;
    script.request(GET);
    script.flags = flag::NO_PAYLOAD;
    script.response(NOT_FOUND).exchange();
    assert_eq!(script.statuses(), [Some(200), Some(200), None, Some(200)]);
    assert_eq!(
        script.seen.exchanges[2].incomplete,
        Some(Incomplete::LostBytes)
    );
}

#[test]
fn a_request_head_larger_than_what_is_captured_is_marked_and_still_answered() {
    let mut script = Script::server();
    let head = format!(
        "GET /big HTTP/1.1\r\nHost: h\r\nCookie: {}\r\n\r\n",
        "c".repeat(20_000)
    );
    script
        .request(head)
        .response("HTTP/1.1 431 Too Large\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(script.statuses(), [Some(431)]);
    assert_eq!(script.last().incomplete, Some(Incomplete::HeadTooLarge));
    assert_eq!(script.last().http().unwrap().texts.target(), "/big");
    assert_eq!(script.last().http().unwrap().request_body_size, None);
    script.exchange();
    assert_eq!(script.statuses(), [Some(431), Some(200)]);
    assert_eq!(script.shard.counters().lost_bytes, 0);
}

#[test]
fn a_request_line_larger_than_what_is_captured_is_one_exchange() {
    let mut script = Script::server();
    script.request(format!(
        "GET /{} HTTP/1.1\r\nHost: h\r\n\r\n",
        "a".repeat(30_000)
    ));
    script
        .response("HTTP/1.1 414 Too Long\r\nContent-Length: 0\r\n\r\n")
        .exchange();
    assert_eq!(script.statuses(), [Some(414), Some(200)]);
    assert_eq!(
        script.seen.exchanges[0].incomplete,
        Some(Incomplete::HeadTooLarge)
    );
    script.assert_settled();
}

#[test]
fn a_response_head_larger_than_what_is_captured_keeps_its_status() {
    let mut script = Script::client();
    let head = format!(
        "HTTP/1.1 200 OK\r\nSet-Cookie: {}\r\nContent-Length: 0\r\n\r\n",
        "c".repeat(6_000)
    );
    script.request(GET).response(head);
    script.request(GET).response(NOT_FOUND);
    assert_eq!(script.statuses(), [Some(200), Some(404)]);
    assert_eq!(
        script.seen.exchanges[0].incomplete,
        Some(Incomplete::HeadTooLarge)
    );
    assert_eq!(script.last().incomplete, None);
}

#[test]
fn a_malformed_request_is_marked_and_the_next_run_is_read_again() {
    let mut script = Script::server();
    script.exchange();
    script
        .request(
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        )
        .response("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        .exchange();
    assert_eq!(script.statuses(), [Some(200), Some(400), Some(200)]);
    assert_eq!(
        script.seen.exchanges[1].incomplete,
        Some(Incomplete::Malformed)
    );
    script.assert_settled();
}

#[test]
fn a_malformed_response_gives_no_status() {
    let mut script = Script::client();
    script
        .exchange()
        .request(GET)
        .response("what is this\r\n\r\n")
        .exchange();
    assert_eq!(script.statuses(), [Some(200), None, Some(200)]);
    assert_eq!(
        script.seen.exchanges[1].incomplete,
        Some(Incomplete::Malformed)
    );
}

#[test]
fn a_split_response_does_not_answer_the_next_request() {
    // Response splitting: the second head was smuggled into the first response.
    let mut script = Script::client();
    script.request(GET).response(format!(
        "HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n{NOT_FOUND}"
    ));
    script.exchange();
    assert_eq!(script.statuses(), [Some(302), Some(200)]);
    assert_eq!(script.shard.counters().responses_without_request, 1);
}

#[test]
fn a_lost_opening_of_a_run_does_not_hide_the_request_behind_it() {
    let mut script = Script::server();
    script.exchange();
    script.lost(|script| script.request(GET)).request(GET);
    script.response(OK).wait(100 * MS);
    script.exchange();
    assert_eq!(script.last().http().unwrap().status, Some(200));
    assert_eq!(script.last().incomplete, None);
    script.assert_settled();
}
