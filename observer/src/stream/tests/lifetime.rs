//! Connections that end, are replaced, or are forgotten.

use observer_abi::{connection::family, record::RecordHeader};

use crate::{
    exchange::Incomplete,
    identity::Address,
    stream::{
        Shard, StreamConfig,
        script::{Collected, GET, MS, OK, Script},
    },
};

#[test]
fn a_request_without_a_response_is_cut_by_the_close() {
    for (reset, reason) in [(false, Incomplete::Closed), (true, Incomplete::Reset)] {
        let mut script = Script::client();
        script.request(GET);
        if reset {
            script.reset()
        } else {
            script.close()
        };
        assert_eq!(script.count(), 1);
        assert_eq!(script.last().incomplete, Some(reason));
        assert_eq!(script.last().http().unwrap().status, None);
        assert_eq!(script.last().times.response_start, None);
        assert_eq!(script.last().times.response_end, Some(script.now));
        script.assert_settled();
        assert_eq!(script.shard.counters().connections, 0);
    }
}

#[test]
fn a_response_that_is_cut_keeps_its_status_and_ends_at_the_cut() {
    for (reset, reason) in [(false, Incomplete::Closed), (true, Incomplete::Reset)] {
        let mut script = Script::server();
        script
            .request(GET)
            .response("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello");
        if reset {
            script.reset()
        } else {
            script.close()
        };
        assert_eq!(script.last().incomplete, Some(reason));
        assert_eq!(script.last().http().unwrap().status, Some(200));
        assert_eq!(script.last().http().unwrap().response_body_size, None);
        assert_eq!(script.last().times.response_end, Some(script.now));
    }
}

#[test]
fn a_counted_body_is_whole_at_the_close_if_its_end_is_in_the_entry() {
    let mut script = Script::server();
    script
        .request(GET)
        .response("HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n")
        .response(vec![b'x'; 50_000]);
    let ended = script.now;
    script.close();
    assert_eq!(script.last().incomplete, None);
    assert_eq!(script.last().times.response_end, Some(ended));
}

#[test]
fn a_chunked_body_cut_in_its_counted_middle_is_not_whole() {
    let mut script = Script::server();
    script
        .request(GET)
        .response("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..20 {
        script.response(format!("3e8\r\n{}\r\n", "x".repeat(1000)));
    }
    script.close();
    assert_eq!(script.last().incomplete, Some(Incomplete::Closed));
}

#[test]
fn a_head_that_is_cut_is_no_exchange_unless_its_first_line_was_seen() {
    let mut script = Script::server();
    script.request("GET /slow HT").close();
    assert_eq!(script.count(), 0);
    let mut script = Script::server();
    script
        .request("GET /slow HTTP/1.1\r\nHost: h\r\nX-")
        .close();
    assert_eq!(script.count(), 1);
    assert_eq!(script.last().http().unwrap().texts.target(), "/slow");
    assert_eq!(script.last().incomplete, Some(Incomplete::Closed));
    script.assert_settled();
}

#[test]
fn a_new_generation_is_a_new_connection() {
    let mut script = Script::client();
    script.request(GET).next_generation();
    script.exchange();
    assert_eq!(script.statuses(), [None, Some(200)]);
    assert_eq!(
        script.seen.exchanges[0].incomplete,
        Some(Incomplete::Abandoned)
    );
    assert_eq!(script.seen.exchanges[0].times.response_end, None);
    assert_ne!(
        script.seen.exchanges[0].connection,
        script.seen.exchanges[1].connection
    );
    assert_eq!(script.shard.counters().closes_lost, 1);
}

#[test]
fn records_of_an_older_generation_are_dropped() {
    let mut script = Script::client();
    script.exchange();
    let old = script.entry;
    script.next_generation();
    script.request(GET);
    let new = std::mem::replace(&mut script.entry, old);
    script.request(GET).close();
    script.entry = new;
    script.response(OK);
    assert_eq!(script.statuses(), [Some(200), Some(200)]);
    assert_eq!(script.shard.counters().stale_records, 2);
}

#[test]
fn an_exchange_whose_entry_is_gone_is_abandoned_only_after_its_close_had_time_to_come() {
    let mut script = Script::server();
    script
        .request(GET)
        .response("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
    let key = script.key();
    // Its record may wait in the ring behind one that a preempted task has not finished.
    for wait in [25, 45, 85, 165, 325, 645] {
        assert_eq!(script.count(), 0, "abandoned {wait} ms too early");
        script.now += wait * MS;
        let mut due = Vec::new();
        script.shard.due(script.now, &mut due);
        assert_eq!(due, [(key, None)]);
        script
            .shard
            .observe(key, None, script.now, &mut script.seen);
    }
    assert_eq!(script.last().incomplete, Some(Incomplete::Abandoned));
    assert_eq!(script.shard.counters().connections, 0);
}

#[test]
fn draining_gives_on_what_is_open_and_forgets_everything() {
    let mut script = Script::server();
    script.exchange().request(GET);
    script.shard.drain(script.now, &mut script.seen);
    assert_eq!(script.statuses(), [Some(200), None]);
    assert_eq!(script.last().incomplete, Some(Incomplete::Abandoned));
    script.assert_settled();
    assert_eq!(script.shard.counters().connections, 0);
}

#[test]
fn silent_connections_whose_end_was_lost_are_found() {
    let mut script = Script::server();
    script.exchange().lost(Script::close);
    script.shard.sweep(script.now, &mut script.seen);
    let key = script.key();
    let mut due = Vec::new();
    for _ in 0..200 {
        script.now += 1000 * MS;
        script.shard.sweep(script.now, &mut script.seen);
        script.shard.due(script.now, &mut due);
        for (key, _) in due.drain(..) {
            script
                .shard
                .observe(key, None, script.now, &mut script.seen);
        }
    }
    assert_eq!(script.shard.counters().connections, 0, "{key:?}");
    assert_eq!(script.shard.counters().closes_lost, 1);
}

#[test]
fn silent_connections_that_still_exist_are_kept() {
    let mut script = Script::server();
    script.opened_v4().exchange();
    for _ in 0..100 {
        script.wait(10_000 * MS);
        script.shard.sweep(script.now, &mut script.seen);
    }
    script.exchange();
    assert_eq!(script.count(), 2);
    assert_ne!(script.last().local, Address::Unknown);
}

#[test]
fn too_many_connections_cost_those_that_were_silent_longest() {
    let mut script = Script::server();
    script.shard = Shard::new(StreamConfig {
        max_connections: 64,
        ..StreamConfig::default()
    });
    for _ in 0..1000 {
        script.sock += 64;
        script.next_generation();
        script.request(GET);
    }
    let counters = *script.shard.counters();
    assert!(counters.connections <= 64);
    assert_eq!(counters.connections_evicted + counters.connections, 1000);
    assert_eq!(counters.abandoned, counters.connections_evicted);
    let newest = script.key();
    assert!(
        script
            .seen
            .exchanges
            .iter()
            .all(|exchange| exchange.connection != newest)
    );
}

#[test]
fn each_process_is_told_once() {
    let mut script = Script::server();
    script.exchange().exchange();
    script.tgid = 99;
    script.exchange();
    script.tgid = 42;
    script.exchange();
    let told: Vec<u32> = script
        .seen
        .processes
        .iter()
        .map(|(process, _)| process.tgid)
        .collect();
    assert_eq!(told, [42, 99]);
}

#[test]
fn addresses_are_given_in_their_plain_form() {
    let mut script = Script::server();
    script.opened_v4().exchange();
    assert_eq!(
        script.last().local,
        Address::Inet("10.0.0.1:8080".parse().unwrap())
    );
    assert_eq!(
        script.last().peer,
        Address::Inet("10.0.0.2:40000".parse().unwrap())
    );

    let mut mapped = [0; 16];
    mapped[10..].copy_from_slice(&[0xff, 0xff, 127, 0, 0, 1]);
    let mut script = Script::server();
    script.opened(mapped, mapped, family::INET6).exchange();
    assert_eq!(
        script.last().local,
        Address::Inet("127.0.0.1:8080".parse().unwrap())
    );

    let mut loopback = [0; 16];
    loopback[15] = 1;
    let mut script = Script::server();
    script.opened(loopback, loopback, family::INET6).exchange();
    assert_eq!(
        script.last().local,
        Address::Inet("[::1]:8080".parse().unwrap())
    );

    let mut script = Script::server();
    script.opened([0; 16], [0; 16], family::UNIX).exchange();
    assert_eq!(script.last().local, Address::Unix("".into()));

    let mut script = Script::server();
    script.lost(Script::opened_v4).exchange();
    assert_eq!(script.last().local, Address::Unknown);
    script.opened_v4().exchange();
    assert_eq!(
        script.last().local,
        Address::Inet("10.0.0.1:8080".parse().unwrap())
    );
}

#[test]
fn records_that_are_no_records_are_counted_and_harm_nothing() {
    let mut script = Script::server();
    script.request(GET);
    let mut seed = 1_u64;
    for length in 0..600 {
        let garbage: Vec<u8> = (0..length)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (seed >> 56) as u8
            })
            .collect();
        script.shard.record(&garbage, &mut script.seen);
    }
    assert!(script.shard.counters().malformed_records > 500);
    script.response(OK);
    assert!(script.statuses().contains(&Some(200)));
}

#[test]
fn records_with_any_header_field_wrong_never_panic() {
    let mut script = Script::server();
    script.holding = true;
    script
        .opened_v4()
        .request(GET)
        .response("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n")
        .close();
    let records = script.held.clone();
    for record in &records {
        for index in 0..record.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut shard = Shard::new(StreamConfig::default());
                let mut seen = Collected::default();
                let mut changed = record.clone();
                changed[index] = value;
                shard.record(&records[1], &mut seen);
                shard.record(&changed, &mut seen);
                shard.record(&records[2], &mut seen);
                shard.due(u64::MAX, &mut Vec::new());
                shard.drain(u64::MAX, &mut seen);
                assert!(seen.active.is_empty());
            }
        }
    }
    assert!(size_of::<RecordHeader>() < records[0].len());
}
