//! Messages and their times.

use observer_abi::record;

use crate::{
    exchange::{Incomplete, ParentMethod},
    identity::Role,
    protocol::http1::HttpVersion,
    stream::script::{GET, MS, OK, Script},
};

#[test]
fn one_request_and_its_response_make_one_exchange() {
    let mut script = Script::server();
    let begin = script.now;
    script.opened_v4().exchange();
    assert_eq!(script.count(), 1);
    let exchange = script.last();
    assert_eq!(exchange.role, Role::Server);
    assert_eq!(
        (
            exchange.process.tgid,
            exchange.process.start_ns,
            exchange.tid
        ),
        (42, 77, 43)
    );
    assert_eq!(exchange.incomplete, None);
    let http = exchange.http().unwrap();
    assert_eq!(
        (&*http.method, http.texts.target()),
        ("GET", "/items/7?x=1")
    );
    assert_eq!(
        (http.texts.host(), http.texts.user_agent()),
        (Some("shop"), Some("curl/8"))
    );
    assert_eq!(
        (http.status, http.version),
        (Some(200), Some(HttpVersion::V1_1))
    );
    assert_eq!(
        (http.request_body_size, http.response_body_size),
        (Some(0), Some(5))
    );
    let times = exchange.times;
    assert_eq!(
        (times.request_start, times.request_end),
        (begin + MS, begin + MS)
    );
    assert_eq!(times.response_start, Some(begin + 2 * MS));
    assert_eq!(times.response_end, Some(begin + 2 * MS));
    assert_eq!(times.connection_established, Some(999_000 * MS));
    assert_eq!(times.connection_accepted, Some(999_500 * MS));
    script.assert_settled();
    assert_eq!(script.seen.started, 1);
}

#[test]
fn a_thousand_keep_alive_requests_make_a_thousand_exchanges_and_are_never_polled() {
    for mut script in [Script::server(), Script::client()] {
        for _ in 0..1000 {
            script.exchange();
        }
        assert_eq!(script.count(), 1000);
        assert!(script.statuses().iter().all(|status| *status == Some(200)));
        assert_eq!(script.wait(1000 * MS), 0);
        let first = script.seen.exchanges[0].times;
        assert!(first.connection_established.is_some());
        assert_eq!(script.last().times.connection_established, None);
        assert_eq!(script.shard.counters().gaps, 0);
    }
}

#[test]
fn heads_split_into_single_bytes_parse_the_same_and_start_with_their_first_byte() {
    let mut whole = Script::server();
    whole.exchange();
    let mut split = Script::server();
    let begin = split.now;
    for byte in GET.as_bytes() {
        split.request([*byte]);
    }
    let asked = split.now;
    for byte in OK.as_bytes() {
        split.response([*byte]);
    }
    assert_eq!(split.count(), 1);
    assert_eq!(split.last().http(), whole.last().http());
    let times = split.last().times;
    assert_eq!(times.request_start, begin + MS);
    assert_eq!(times.request_end, asked);
    assert_eq!(times.response_start, Some(asked + MS));
    assert_eq!(times.response_end, Some(split.now));
}

#[test]
fn heads_split_anywhere_in_two_give_the_same_exchange() {
    for cut in 1..GET.len() {
        let mut script = Script::client();
        let begin = script.now;
        script
            .request(&GET[..cut])
            .request(&GET[cut..])
            .response(OK);
        assert_eq!(script.count(), 1, "cut at {cut}");
        assert_eq!(script.last().times.request_start, begin + MS);
        assert_eq!(script.last().times.request_end, begin + 2 * MS);
    }
    for cut in 1..OK.len() {
        let mut script = Script::client();
        script
            .request(GET)
            .response(&OK[..cut])
            .response(&OK[cut..]);
        let end = script.now;
        // A body in a call of its own is only counted: the entry tells.
        script.wait(100 * MS);
        assert_eq!(script.count(), 1, "cut at {cut}");
        assert_eq!(script.last().times.response_start, Some(end - MS));
        assert_eq!(script.last().times.response_end, Some(end));
    }
}

#[test]
fn a_body_in_a_call_of_its_own_is_counted_and_the_next_request_ends_its_exchange() {
    let mut script = Script::server();
    for exchange in 1..=3 {
        script
            .request(GET)
            .response("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
        let records = script.records();
        script.response("hello");
        assert_eq!(script.records(), records, "the body came with a record");
        let end = script.now;
        script.request(GET);
        assert_eq!(script.count(), exchange);
        assert_eq!(script.last().times.response_end, Some(end));
        assert_eq!(script.last().http().unwrap().response_body_size, Some(5));
        assert!(script.last().incomplete.is_none());
        script.response(OK);
        script.seen.exchanges.pop();
    }
}

#[test]
fn a_pipelined_response_behind_a_counted_body_is_seen() {
    let mut script = Script::server();
    script
        .request(GET)
        .request(GET)
        .response("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        .response("hello")
        .response("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    script.wait(100 * MS);
    assert_eq!(script.statuses(), [Some(200), Some(404)]);
}

#[test]
fn an_interim_response_does_not_start_the_response() {
    let mut script = Script::server();
    script
        .request("PUT /x HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        .response("HTTP/1.1 100 Continue\r\n\r\n")
        .request("data");
    assert_eq!(script.count(), 0);
    let body = script.now;
    script.response(OK);
    assert_eq!(script.count(), 1);
    assert_eq!(script.last().http().unwrap().status, Some(200));
    assert_eq!(script.last().http().unwrap().request_body_size, Some(4));
    assert_eq!(script.last().times.request_end, body);
    assert_eq!(script.last().times.response_start, Some(script.now));
    script.exchange();
    assert_eq!(script.statuses(), [Some(200), Some(200)]);
}

#[test]
fn interim_and_final_head_in_pieces_time_the_final_one() {
    let mut script = Script::client();
    script
        .request(GET)
        .response("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n")
        .response("\r\nHTTP/1.1 2");
    let began = script.now;
    script.response("04 No Content\r\n\r\n");
    assert_eq!(script.last().http().unwrap().status, Some(204));
    assert_eq!(script.last().times.response_start, Some(began));
}

#[test]
fn a_withheld_body_does_not_swallow_the_next_request() {
    let mut script = Script::client();
    script
        .request(
            "PUT /x HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4000\r\n\r\n",
        )
        .response("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n");
    script.exchange();
    assert_eq!(script.statuses(), [Some(417), Some(200)]);
    script.assert_settled();
}

#[test]
fn responses_without_a_body_end_with_their_head() {
    let mut script = Script::client();
    script
        .request("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
        .response("HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n");
    script
        .request(GET)
        .response("HTTP/1.1 304 Not Modified\r\nContent-Length: 999\r\n\r\n");
    script
        .request(GET)
        .response("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(script.statuses(), [Some(200), Some(304), Some(204)]);
    assert!(
        script
            .seen
            .exchanges
            .iter()
            .all(|exchange| exchange.http().unwrap().response_body_size == Some(0))
    );
}

#[test]
fn a_download_of_20_mb_is_two_records_and_ends_when_its_last_byte_does() {
    let mut script = Script::server();
    script
        .request(GET)
        .response("HTTP/1.1 200 OK\r\nContent-Length: 20000000\r\n\r\n");
    let began = script.now;
    for _ in 0..200 {
        script.response(vec![b'x'; 100_000]);
    }
    let ended = script.now;
    assert!(script.records() <= 3, "{} records", script.records());
    assert_eq!(script.count(), 0);
    assert!(script.wait(100 * MS) > 0);
    assert_eq!(script.count(), 1);
    let times = script.last().times;
    assert_eq!(
        (times.response_start, times.response_end),
        (Some(began), Some(ended))
    );
    assert_eq!(
        script.last().http().unwrap().response_body_size,
        Some(20_000_000)
    );
    assert_eq!(script.shard.counters().lost_bytes, 0);
    script.exchange();
    assert_eq!(script.count(), 2);
}

#[test]
fn the_next_request_ends_a_download_without_a_poll() {
    let mut script = Script::server();
    script
        .request(GET)
        .response("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        .response(vec![b'x'; 100_000]);
    let ended = script.now;
    script.exchange();
    assert_eq!(script.statuses(), [Some(200), Some(200)]);
    assert_eq!(script.seen.exchanges[0].times.response_end, Some(ended));
    assert!(
        script.seen.modes.is_empty(),
        "this is no pipelining: {:?}",
        script.seen.modes
    );
}

#[test]
fn an_upload_of_20_mb_ends_when_its_last_byte_does() {
    let mut script = Script::client();
    script.request("POST /up HTTP/1.1\r\nHost: h\r\nContent-Length: 20000000\r\n\r\n");
    for _ in 0..200 {
        script.request(vec![b'x'; 100_000]);
    }
    let sent = script.now;
    script.response(OK);
    assert_eq!(script.count(), 1);
    assert!(script.records() <= 4, "{} records", script.records());
    assert_eq!(script.last().times.request_end, sent);
    assert_eq!(
        script.last().http().unwrap().request_body_size,
        Some(20_000_000)
    );
    assert_eq!(script.last().incomplete, None);
}

#[test]
fn a_chunked_body_with_a_counted_middle_ends_with_its_tail() {
    let mut script = Script::server();
    script
        .request(GET)
        .response("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..20 {
        script.response(format!("1000\r\n{}\r\n", "x".repeat(4096)));
    }
    script.wait(200 * MS);
    assert_eq!(script.count(), 0, "it has not ended");
    script.response("0\r\n\r\n");
    let ended = script.now;
    script.wait(2000 * MS);
    assert_eq!(script.count(), 1);
    assert_eq!(script.last().times.response_end, Some(ended));
    assert_eq!(script.last().incomplete, None);
    script.exchange();
    assert_eq!(script.count(), 2);
}

#[test]
fn the_next_request_ends_a_chunked_body_whose_tail_was_not_read() {
    let mut script = Script::server();
    script
        .request(GET)
        .response("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..20 {
        script.response(format!("{:x}\r\n{}\r\n", 1500, "x".repeat(1500)));
    }
    script.response("0\r\n\r\n");
    let ended = script.now;
    script.directions()[1].tail = 0;
    script.exchange();
    assert_eq!(script.statuses(), [Some(200), Some(200)]);
    assert_eq!(script.seen.exchanges[0].times.response_end, Some(ended));
    assert_eq!(script.seen.exchanges[0].incomplete, None);
}

#[test]
fn an_event_stream_starts_early_and_ends_when_it_ends() {
    let mut script = Script::server();
    script.request(GET).response(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    let began = script.now;
    for _ in 0..60 {
        script.response("b\r\ndata: tick\n\r\n");
        script.wait(500 * MS);
    }
    assert_eq!(script.count(), 0);
    script.response("0\r\n\r\n");
    let ended = script.now;
    script.wait(1100 * MS);
    let exchange = script.last();
    assert!(exchange.http().unwrap().event_stream);
    assert_eq!(exchange.times.response_start, Some(began));
    assert_eq!(exchange.times.response_end, Some(ended));
    assert!(exchange.duration_ns().unwrap() > 30_000 * MS);
}

#[test]
fn a_stream_that_stands_still_is_polled_once_a_second_at_most() {
    let mut script = Script::server();
    script
        .request(GET)
        .response("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n");
    script.wait(2_000 * MS);
    assert!(script.wait(10_000 * MS) <= 10);
}

#[test]
fn a_response_before_the_end_of_the_request_is_its_response() {
    let mut script = Script::server();
    script
        .request("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n12345")
        .response("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(script.count(), 0);
    script.request("67890");
    assert_eq!(script.count(), 1);
    assert_eq!(script.last().http().unwrap().status, Some(413));
    assert_eq!(script.last().http().unwrap().request_body_size, Some(10));
    assert_eq!(script.last().times.request_end, script.now);
    assert!(script.last().times.response_end < Some(script.now));
    script.exchange();
    assert_eq!(script.statuses(), [Some(413), Some(200)]);
}

#[test]
fn a_request_that_is_answered_early_and_never_ends_is_not_held_back() {
    let mut script = Script::server();
    script
        .request("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n12345")
        .response("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n");
    script.wait(5_000 * MS);
    assert_eq!(script.statuses(), [Some(413)]);
    assert_eq!(script.last().http().unwrap().request_body_size, None);
    assert_eq!(script.last().incomplete, None);
}

#[test]
fn a_switch_of_protocols_ends_the_exchange_and_the_connection_is_left_alone() {
    for (request, response) in [
        (
            "GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n",
        ),
        (
            "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n",
            "HTTP/1.1 200 Connection established\r\n\r\n",
        ),
    ] {
        let mut script = Script::client();
        script.request(request).response(response);
        assert_eq!(script.count(), 1);
        assert!(script.last().http().unwrap().upgraded);
        assert_eq!(script.last().incomplete, None);
        assert_eq!(
            script.seen.modes,
            [(script.key(), observer_abi::control::shape::IGNORE)]
        );
        script.heeds_modes = false;
        script.request(GET).response(OK).close();
        assert_eq!(
            script.count(),
            1,
            "what a tunnel carries is not this connection's"
        );
        assert_eq!(script.shard.counters().tunnels, 1);
    }
}

#[test]
fn a_refused_tunnel_goes_on_as_http() {
    let mut script = Script::client();
    script
        .request("CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n")
        .response("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        .exchange();
    assert_eq!(script.statuses(), [Some(403), Some(200)]);
}

#[test]
fn a_header_replaces_the_kernels_trace_at_both_ends_and_the_sink_is_told() {
    let request = "GET / HTTP/1.1\r\nHost: h\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ntracestate: a=b\r\n\r\n";
    for mut script in [Script::client(), Script::server()] {
        script.context.trace_id = [1; 16];
        script.context.span_id = [2; 8];
        script.request(request).response(OK);
        let context = &script.last().context;
        assert_eq!(context.trace_id[0], 0x0a);
        assert_eq!(context.span_id, [2; 8]);
        assert_eq!(context.parent_method, ParentMethod::Header);
        assert_eq!(context.parent_span_id.unwrap()[0], 0xb7);
        assert_eq!(context.trace_state.as_deref(), Some("a=b"));
        assert_eq!(script.seen.headers, [([2; 8], context.trace_id)]);
    }
}

#[test]
fn the_kernels_ids_are_for_the_first_request_of_a_run_only() {
    let mut script = Script::server();
    script.context.trace_id = [1; 16];
    script.context.span_id = [2; 8];
    script
        .request([GET, GET].concat())
        .response([OK, OK].concat());
    let [first, second] = &script.seen.exchanges[..] else {
        panic!("two exchanges")
    };
    assert_eq!(
        (first.context.trace_id, first.context.span_id),
        ([1; 16], [2; 8])
    );
    assert_ne!(second.context.trace_id, [1; 16]);
    assert_ne!(second.context.span_id, [2; 8]);
    assert_ne!(second.context.trace_id, [0; 16]);
}

#[test]
fn a_send_that_did_not_fit_ends_when_the_kernel_says_so() {
    let mut script = Script::server();
    script.request(GET);
    let body = "x".repeat(100_000);
    script.flags = observer_abi::record::flag::SEND_PENDING;
    script.entry.flags |= observer_abi::connection::flag::SEND_PENDING;
    script.response(format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{body}"
    ));
    let began = script.now;
    script.wait(300 * MS);
    assert_eq!(script.count(), 0);
    script.entry.flags = 0;
    script.now += MS;
    let now = script.now;
    script.directions()[1].end = 100_000 + 43;
    script.directions()[1].last_ns = now;
    script.wait(1_500 * MS);
    assert_eq!(script.count(), 1);
    assert_eq!(script.last().times.response_start, Some(began));
    assert_eq!(script.last().times.response_end, Some(now));
}

#[test]
fn an_entry_that_is_ahead_of_the_ring_changes_nothing() {
    let mut script = Script::server();
    script
        .request(GET)
        .response("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    script.holding = true;
    script
        .response("hello")
        .request(GET)
        .response("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n");
    script.wait(50 * MS);
    script.release();
    assert_eq!(script.statuses(), [Some(200), Some(500)]);
    assert!(script.is_whole());
}

#[test]
fn a_close_delimited_body_is_complete_at_the_close() {
    let mut script = Script::client();
    script
        .request("GET / HTTP/1.0\r\n\r\n")
        .response("HTTP/1.0 200 OK\r\n\r\nsome")
        .response("thing");
    let last = script.now;
    assert_eq!(script.wait(100 * MS), 0, "nothing but the close can end it");
    script.close();
    assert_eq!(script.last().incomplete, None);
    assert_eq!(script.last().times.response_end, Some(last));
    assert_eq!(script.last().http().unwrap().response_body_size, Some(9));
}

#[test]
fn a_close_delimited_body_that_is_reset_is_not_complete() {
    let mut script = Script::client();
    script
        .request("GET / HTTP/1.0\r\n\r\n")
        .response("HTTP/1.0 200 OK\r\n\r\nsome")
        .reset();
    assert_eq!(script.last().incomplete, Some(Incomplete::Reset));
    assert_eq!(script.last().times.response_end, Some(script.now));
    assert_eq!(script.last().http().unwrap().status, Some(200));
}

#[test]
fn kernel_tls_is_known_from_any_request_where_the_connections_own_record_was_lost() {
    let mut script = Script::server();
    script.flags = record::flag::KERNEL_TLS;
    script.request(GET).response(OK);
    assert!(script.last().tls);
    assert!(!Script::server().exchange().last().tls);
}

#[test]
fn counted_chunks_with_trailers_end_with_the_next_request_or_the_connection() {
    for kind in [Script::server, Script::client] {
        let mut script = kind();
        for path in ["/one", "/two"] {
            script
                .request("G")
                .request(format!("ET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
                .response("HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n");
            for chunk in [
                "5\r\nHTTP/\r\n",
                "3;ext=1\r\n1.1\r\n",
                "0\r\nTrailer: yes\r\n\r\n",
            ] {
                script.response(chunk);
            }
            script.wait(100 * MS);
        }
        script.close();
        assert_eq!(script.statuses(), [Some(200), Some(200)]);
        assert!(script.is_whole(), "{:#?}", script.seen.exchanges);
    }
}
