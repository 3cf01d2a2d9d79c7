//! Which end this is, and what is no HTTP at all.

use observer_abi::{
    connection::{INBOUND, OUTBOUND},
    control::shape,
};

use crate::{
    identity::Role,
    stream::script::{GET, OK, Script},
};

#[test]
fn the_first_request_tells_which_end_this_is() {
    for (request, role) in [(INBOUND, Role::Server), (OUTBOUND, Role::Client)] {
        let mut script = Script::unknown(request);
        script.exchange().exchange();
        assert_eq!(script.count(), 2);
        assert!(
            script
                .seen
                .exchanges
                .iter()
                .all(|exchange| exchange.role == role)
        );
    }
}

#[test]
fn the_first_response_tells_which_end_this_is_and_is_dropped() {
    for (request, role) in [(INBOUND, Role::Server), (OUTBOUND, Role::Client)] {
        let mut script = Script::unknown(request);
        script.response(OK).exchange();
        assert_eq!(script.count(), 1);
        assert_eq!(script.last().role, role);
        assert_eq!(script.shard.counters().responses_without_request, 1);
    }
}

#[test]
fn a_head_in_pieces_tells_the_end_too() {
    for first in 1..GET.len() {
        let mut script = Script::unknown(INBOUND);
        script
            .request(&GET[..first])
            .request(&GET[first..])
            .response(OK);
        assert_eq!(script.count(), 1, "cut at {first}");
        assert_eq!(script.last().role, Role::Server);
    }
}

#[test]
fn a_wrong_first_guess_is_taken_back() {
    let mut script = Script::unknown(INBOUND);
    // A word of a body that could be a method.
    script
        .request("HELLO")
        .request(" {\"a\": 1}")
        .response("{}");
    script.exchange();
    script.response("x").exchange();
    assert!(script.statuses().contains(&Some(200)));
    assert!(
        script
            .seen
            .exchanges
            .iter()
            .all(|exchange| exchange.role == Role::Server)
    );
}

#[test]
fn a_connection_picked_up_in_a_response_gives_only_whole_exchanges() {
    for script in [Script::server(), Script::client()] {
        let mut script = script.picked_up();
        script
            .response("rest of a body that began long ago")
            .exchange()
            .exchange();
        assert_eq!(script.statuses(), [Some(200), Some(200)]);
        assert!(script.is_whole());
    }
}

#[test]
fn a_connection_picked_up_between_request_and_response_drops_the_response() {
    for script in [Script::server(), Script::client()] {
        let mut script = script.picked_up();
        script.response(OK).exchange();
        assert_eq!(script.statuses(), [Some(200)]);
        assert_eq!(script.shard.counters().responses_without_request, 1);
        assert_eq!(script.last().times.connection_established, None);
    }
}

#[test]
fn a_connection_picked_up_in_a_request_body_waits_for_the_next_request() {
    for script in [Script::server(), Script::client()] {
        let mut script = script.picked_up();
        script
            .request("...rest of an upload")
            .response("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
        script.exchange();
        assert_eq!(script.statuses(), [Some(200)]);
        assert!(script.seen.modes.is_empty());
    }
}

#[test]
fn what_is_not_http_in_both_directions_is_left_alone() {
    for mut script in [Script::server(), Script::client()] {
        // Some turns, since TLS may begin behind them.
        for _ in 0..4 {
            assert!(script.seen.modes.is_empty());
            script
                .request(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
                .response(b"\x16\x03\x03\x00\x7a");
        }
        assert_eq!(script.seen.modes, [(script.key(), shape::IGNORE)]);
        assert_eq!(script.shard.counters().not_http, 1);
        script.heeds_modes = false;
        script.request(GET).response(OK).close();
        assert_eq!(script.count(), 0);
    }
}

#[test]
fn one_foreign_direction_is_not_enough() {
    let mut script = Script::server();
    script
        .request("PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n")
        .request("more");
    assert!(script.seen.modes.is_empty());
}

#[test]
fn a_foreign_connection_of_unknown_age_gets_some_patience_and_then_none() {
    let mut script = Script::unknown(INBOUND);
    for _ in 0..5 {
        script
            .request(b"\x00\x01binary")
            .response(b"\x00\x02binary");
    }
    assert!(script.seen.modes.is_empty());
    for _ in 0..5 {
        script
            .request(b"\x00\x01binary")
            .response(b"\x00\x02binary");
    }
    assert_eq!(script.seen.modes, [(script.key(), shape::IGNORE)]);
}

#[test]
fn binary_that_begins_like_a_method_is_no_exchange() {
    let mut script = Script::server();
    script
        .request(b"RPC * THEIRS/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00")
        .response(b"\x00\x00\x12\x04\x00");
    for _ in 0..3 {
        script
            .request(b"\x00\x01binary")
            .response(b"\x00\x02binary");
    }
    script.close();
    assert_eq!(script.count(), 0);
    assert_eq!(script.shard.counters().not_http, 1);
}
