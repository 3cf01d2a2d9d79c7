//! Requests that do not wait.

use observer_abi::control::shape;

use crate::{
    exchange::Incomplete,
    stream::script::{MS, Script},
};

fn answer(status: u16) -> String {
    format!("HTTP/1.1 {status} X\r\nContent-Length: 3\r\n\r\n{status}")
}

fn get(number: usize) -> String {
    format!("GET /{number} HTTP/1.1\r\nHost: h\r\n\r\n")
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let mut script = Script::server();
    script.request((0..4).map(get).collect::<String>());
    script
        .response(answer(200))
        .response([answer(404), answer(500)].concat())
        .response(answer(201));
    assert_eq!(
        script.statuses(),
        [Some(200), Some(404), Some(500), Some(201)]
    );
    let targets: Vec<&str> = script
        .seen
        .exchanges
        .iter()
        .map(|exchange| exchange.http().unwrap().texts.target())
        .collect();
    assert_eq!(targets, ["/0", "/1", "/2", "/3"]);
    assert!(script.is_whole());
    assert_eq!(script.seen.modes, [(script.key(), shape::FULL)]);
    assert_eq!(script.shard.counters().pipelined, 1);
}

#[test]
fn a_request_between_responses_waits_for_its_own() {
    let mut script = Script::client();
    script
        .request([get(0), get(1)].concat())
        .response(answer(200))
        .request(get(2));
    script.response(answer(404)).response(answer(500));
    assert_eq!(script.statuses(), [Some(200), Some(404), Some(500)]);
}

#[test]
fn pipelining_beyond_what_is_captured_never_gives_a_wrong_status() {
    for mut script in [Script::server(), Script::client()] {
        for round in 0..4 {
            // The first round in one call, of which the kernel ships the beginning only.
            let call = if round == 0 { 400 } else { 100 };
            for first in (round * 400..(round + 1) * 400).step_by(call) {
                script.request((first..first + call).map(get).collect::<String>());
            }
            // The status tells which request it answers; none of these goes without a body.
            for number in 0..400 {
                script.response(answer(400 + u16::try_from(number % 100).unwrap()));
            }
            script.wait(3_000 * MS);
        }
        for exchange in &script.seen.exchanges {
            let http = exchange.http().unwrap();
            if let (Ok(number), Some(status)) = (
                http.texts.target().trim_start_matches('/').parse::<u16>(),
                http.status,
            ) {
                assert_eq!(
                    status,
                    400 + number % 100,
                    "{} {status} {:?}",
                    http.texts.target(),
                    exchange.incomplete
                );
            }
        }
        let complete = script
            .seen
            .exchanges
            .iter()
            .filter(|exchange| exchange.incomplete.is_none())
            .count();
        assert!(
            complete >= 1200,
            "{complete} complete: after the first round everything is shipped"
        );
        assert!(
            script
                .seen
                .exchanges
                .iter()
                .any(|exchange| exchange.incomplete.is_some())
        );
        script.assert_settled();
    }
}

#[test]
fn more_open_requests_than_are_kept_are_counted_as_incomplete() {
    let mut script = Script::server();
    for batch in 0..20 {
        script.request(
            (batch * 100..batch * 100 + 100)
                .map(get)
                .collect::<String>(),
        );
    }
    assert_eq!(script.seen.modes, [(script.key(), shape::FULL)]);
    script.close();
    assert_eq!(script.count(), 2000);
    let lost = script
        .seen
        .exchanges
        .iter()
        .filter(|exchange| exchange.incomplete == Some(Incomplete::LostBytes));
    assert!(lost.count() > 1400);
    script.assert_settled();
}
