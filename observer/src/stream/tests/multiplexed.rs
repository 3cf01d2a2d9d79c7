//! Many exchanges at once on a connection, told apart by ids: what the ledger does for a protocol of which it knows nothing.

use observer_abi::control::shape;

use crate::{
    exchange::{Exchange, Incomplete},
    identity::Role,
    protocol::made_up::{
        self, frame,
        kind::{CALL, CANCEL, DONE, MORE, REPLY, TELL, UPGRADE, WATCH},
    },
    stream::script::{MS, Script},
};

/// The id of the request.
fn id(exchange: &Exchange) -> u32 {
    made_up::of(&exchange.detail).id
}

fn ids(script: &Script) -> Vec<u32> {
    script.seen.exchanges.iter().map(id).collect()
}

#[test]
fn answers_belong_to_the_requests_with_their_ids() {
    for mut script in [Script::server(), Script::client()] {
        let calls = [3, 1, 2].map(|id| frame(CALL, id, &[b'x'; 5]));
        script.request(calls.concat());
        for id in [2, 3, 1] {
            script.response(frame(REPLY, id, &vec![b'y'; id as usize]));
        }
        assert_eq!(ids(&script), [2, 3, 1]);
        assert!(script.is_whole());
        for exchange in &script.seen.exchanges {
            let facts = made_up::of(&exchange.detail);
            assert_eq!(facts.request_size, Some(5));
            assert_eq!(facts.response_size, Some(u64::from(id(exchange))));
        }
        let ends = |index: usize| script.seen.exchanges[index].times.response_end.unwrap();
        assert!(ends(0) < ends(1) && ends(1) < ends(2));
        assert_eq!(
            script.seen.modes,
            [(script.key(), shape::FRAMES)],
            "asked for what the protocol needs, and that several are open is nothing special"
        );
        assert_eq!(script.shard.counters().pipelined, 0);
        script.assert_settled();
    }
}

#[test]
fn frames_may_come_in_any_pieces() {
    let mut requests = frame(CALL, 1, b"one");
    requests.extend(frame(CALL, 2, b""));
    for cut in 1..requests.len() {
        let mut script = Script::server();
        script.request(&requests[..cut]).request(&requests[cut..]);
        script.response([frame(REPLY, 2, b"22"), frame(REPLY, 1, b"1")].concat());
        assert_eq!(ids(&script), [2, 1], "cut at {cut}");
        assert!(script.is_whole());
    }
    let mut script = Script::server();
    for byte in requests {
        script.request([byte]);
    }
    assert_eq!(script.seen.active.len(), 2);
}

#[test]
fn a_request_in_pieces_begins_with_its_first_byte() {
    let mut script = Script::client();
    let call = frame(CALL, 1, b"abc");
    script.request(&call[..4]);
    let began = script.now;
    script.request(&call[4..]);
    let sent = script.now;
    script.response(frame(REPLY, 1, b""));
    let times = script.last().times;
    assert_eq!((times.request_start, times.request_end), (began, sent));
}

#[test]
fn thousands_may_be_open_and_end_in_any_order() {
    let mut script = Script::server();
    for first in (0..5000).step_by(100) {
        let calls: Vec<_> = (first..first + 100)
            .map(|id| frame(CALL, id, b""))
            .collect();
        script.request(calls.concat());
    }
    assert_eq!(script.seen.active.len(), 5000);
    for first in (0..5000).step_by(100).rev() {
        let replies: Vec<_> = (first..first + 100)
            .map(|id| frame(REPLY, id, b""))
            .collect();
        script.response(replies.concat());
    }
    assert_eq!(script.count(), 5000);
    assert!(script.is_whole());
    script.assert_settled();
}

#[test]
fn more_than_are_kept_go_out_at_once_and_are_counted() {
    let mut script = Script::server();
    for first in (0..10_100).step_by(100) {
        let calls: Vec<_> = (first..first + 100)
            .map(|id| frame(CALL, id, b""))
            .collect();
        script.request(calls.concat());
    }
    assert_eq!(script.count(), 100);
    assert_eq!(script.shard.counters().exchanges_refused, 100);
    assert_eq!(script.last().incomplete, Some(Incomplete::LostBytes));
    script.response(frame(REPLY, 9_999, b""));
    assert_eq!(script.last().incomplete, None);
    script.response(frame(REPLY, 10_000, b""));
    assert_eq!(script.shard.counters().responses_without_request, 1);
    script.close();
    assert_eq!(script.count(), 10_100);
    script.assert_settled();
}

#[test]
fn what_is_not_answered_is_over_once_it_is_sent() {
    let mut script = Script::client();
    let tell = frame(TELL, 1, &[b'x'; 50]);
    script.request(&tell[..20]);
    assert_eq!(script.count(), 0);
    script.request(&tell[20..]);
    assert_eq!(script.count(), 1);
    let times = script.last().times;
    assert_eq!(times.response_start, None);
    assert_eq!(times.response_end, Some(script.now));
    assert_eq!(script.last().incomplete, None);
    script.assert_settled();
}

#[test]
fn many_answers_are_one_exchange_and_their_bytes_are_added() {
    let mut script = Script::server();
    script.request([frame(WATCH, 1, b""), frame(CALL, 2, b"")].concat());
    script.response(frame(MORE, 1, b"abc"));
    let began = script.now;
    script
        .response(frame(REPLY, 2, b""))
        .response(frame(MORE, 1, b"defg"));
    assert_eq!(ids(&script), [2]);
    script.response(frame(DONE, 1, b""));
    assert_eq!(ids(&script), [2, 1]);
    let watch = script.last();
    assert_eq!(made_up::of(&watch.detail).response_size, Some(7));
    assert_eq!(watch.times.response_start, Some(began));
    assert_eq!(watch.times.response_end, Some(script.now));
    assert_eq!(watch.incomplete, None);
}

#[test]
fn a_request_that_is_taken_back_ends_there() {
    let mut script = Script::client();
    script.request([frame(CALL, 1, b""), frame(CALL, 2, b"")].concat());
    script.request(frame(CANCEL, 1, b""));
    assert_eq!(ids(&script), [1]);
    assert_eq!(script.last().incomplete, Some(Incomplete::Reset));
    assert_eq!(script.last().times.response_end, Some(script.now));
    script
        .response(frame(REPLY, 1, b""))
        .response(frame(REPLY, 2, b""));
    assert_eq!(ids(&script), [1, 2]);
    assert_eq!(script.last().incomplete, None);
    assert_eq!(script.shard.counters().responses_without_request, 1);
}

#[test]
fn a_gap_in_the_answers_ends_only_what_never_ends_otherwise() {
    let mut script = Script::server();
    script.request([1, 2, 3].map(|id| frame(CALL, id, b"")).concat());
    script.lost(|script| script.response(frame(REPLY, 1, b"")));
    script.request(frame(CALL, 4, b""));
    script
        .response(frame(REPLY, 3, b""))
        .response(frame(REPLY, 4, b""));
    assert_eq!(ids(&script), [3, 4]);
    assert!(script.is_whole(), "the ids say whose these are");
    // The answer to 1 was lost, that to 2 may have been.
    script.now += 20_000 * MS;
    script.shard.sweep(script.now, &mut script.seen);
    assert_eq!(script.count(), 2);
    script.response(frame(REPLY, 2, b""));
    assert_eq!(script.last().incomplete, None);
    script.now += 20_000 * MS;
    script.shard.sweep(script.now, &mut script.seen);
    assert_eq!(ids(&script), [3, 4, 2, 1]);
    assert_eq!(script.last().incomplete, Some(Incomplete::LostBytes));
    assert_eq!(
        script.last().times.response_end,
        None,
        "never an invented end"
    );
    script.assert_settled();
}

#[test]
fn what_may_have_been_answered_unseen_is_no_error_when_the_connection_ends() {
    for lose in [true, false] {
        let mut script = Script::client();
        script.request([1, 2].map(|id| frame(CALL, id, b"")).concat());
        if lose {
            script.lost(|script| script.response(frame(REPLY, 1, b"")));
            script
                .request(frame(CALL, 3, b""))
                .response(frame(REPLY, 3, b""));
        }
        script.close();
        let expected = if lose {
            Incomplete::LostBytes
        } else {
            Incomplete::Closed
        };
        for exchange in script.seen.exchanges.iter().filter(|one| id(one) < 3) {
            assert_eq!(exchange.incomplete, Some(expected));
            assert_eq!(exchange.times.response_end.is_some(), !lose);
        }
    }
}

#[test]
fn a_gap_inside_a_frame_loses_nothing() {
    let mut script = Script::server();
    script.request(frame(CALL, 1, b""));
    let reply = frame(REPLY, 1, &[b'y'; 300]);
    script.response(&reply[..100]);
    script.lost(|script| script.response(&reply[100..200]));
    script.response(&reply[200..]);
    assert_eq!(script.count(), 1);
    assert!(script.is_whole());
    assert_eq!(made_up::of(&script.last().detail).response_size, Some(300));
}

#[test]
fn an_id_that_is_used_again_ends_what_had_it() {
    let mut script = Script::server();
    script.request(frame(CALL, 1, b""));
    script.lost(|script| script.response(frame(REPLY, 1, b"")));
    script.request(frame(CALL, 1, b"again"));
    assert_eq!(script.count(), 1);
    assert_eq!(script.last().incomplete, Some(Incomplete::LostBytes));
    script.response(frame(REPLY, 1, b""));
    assert_eq!(script.last().incomplete, None);
    assert_eq!(made_up::of(&script.last().detail).request_size, Some(5));
}

#[test]
fn a_connection_that_is_joined_late_is_read_from_the_next_run_on() {
    for script in [Script::server(), Script::client()] {
        let mut script = script.picked_up();
        script
            .response("the rest of a frame")
            .request(frame(CALL, 7, b""))
            .response(frame(REPLY, 6, b""));
        assert_eq!(script.shard.counters().responses_without_request, 1);
        script.response(frame(REPLY, 7, b""));
        assert_eq!(ids(&script), [7]);
        assert!(script.is_whole());
    }
}

#[test]
fn the_end_that_asks_is_told_by_the_first_frame() {
    let mut script = Script::unknown(observer_abi::connection::INBOUND);
    script
        .request(frame(CALL, 1, b""))
        .response(frame(REPLY, 1, b""));
    assert_eq!(script.count(), 1);
    assert_eq!(script.last().role, Role::Server);
}

#[test]
fn another_protocol_may_follow_behind_the_answer_that_says_so() {
    for behind in [false, true] {
        let mut script = Script::server();
        script.request(frame(CALL, 1, b""));
        let upgrade = frame(UPGRADE, 1, b"http");
        if behind {
            // What comes in the same call is the new protocol's.
            let hello = "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n";
            script.response([&upgrade[..], hello.as_bytes()].concat());
            assert_eq!(script.shard.counters().responses_without_request, 1);
        } else {
            script.response(upgrade);
        }
        assert_eq!(script.count(), 1);
        assert_eq!(made_up::of(&script.last().detail).response_size, Some(4));
        script.exchange().exchange();
        assert_eq!(script.count(), 3);
        assert!(script.is_whole());
        assert_eq!(script.last().http().unwrap().status, Some(200));
        assert_eq!(script.shard.counters().switches, 1);
        script.close();
        script.assert_settled();
    }
}
