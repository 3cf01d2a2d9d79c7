//! TLS read at the wire: what is inside gives the exchanges that it would have given as plaintext.
#![allow(clippy::unwrap_used, reason = "tests panic, they don't return errors")]

mod kernel;
mod wire;

use observer_abi::control::shape;

use self::{
    kernel::{Cut, Kernel},
    wire::{From, Setting, TLS12, TLS13, Wire},
};
use crate::{
    exchange::Exchange,
    identity::Role,
    protocol::{ErrorType, ProtocolId},
    stream::script::MS,
};

const CUTS: [Cut; 6] = [
    Cut::Turns,
    Cut::Headers,
    Cut::Every(1),
    Cut::Every(7),
    Cut::Every(333),
    Cut::Every(16 * 1024),
];

fn get(number: usize) -> Vec<u8> {
    format!("GET /items/{number} HTTP/1.1\r\nHost: shop.example\r\n\r\n").into_bytes()
}

fn post(number: usize, body: usize) -> Vec<u8> {
    let mut request = format!(
        "POST /items/{number} HTTP/1.1\r\nHost: shop.example\r\nContent-Length: {body}\r\n\r\n"
    )
    .into_bytes();
    request.resize(request.len() + body, b'u');
    request
}

/// The status tells the request's number.
fn status(number: usize) -> u16 {
    // None that says that there is no body.
    210 + (number % 80) as u16
}

fn answer(number: usize, body: usize) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 {} OK\r\nContent-Length: {body}\r\n\r\n",
        status(number)
    )
    .into_bytes();
    answer.resize(answer.len() + body, b'd');
    answer
}

fn chunked(number: usize, body: usize) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 {} OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        status(number)
    )
    .into_bytes();
    for chunk in vec![b'd'; body].chunks(4000) {
        answer.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        answer.extend_from_slice(chunk);
        answer.extend_from_slice(b"\r\n");
    }
    answer.extend_from_slice(b"0\r\n\r\n");
    answer
}

/// Requests and answers of sorts on one connection.
fn dialogue() -> Vec<(From, Vec<u8>)> {
    vec![
        (From::Client, get(1)),
        (From::Server, answer(1, 5)),
        (From::Client, post(2, 40_000)),
        (From::Server, answer(2, 200_000)),
        (From::Client, get(3)),
        (From::Server, chunked(3, 90_000)),
        (From::Client, get(4)),
        (From::Server, answer(4, 0)),
    ]
}

fn requests(kernel: &Kernel) -> Vec<&Exchange> {
    let all = kernel.seen.exchanges.iter();
    all.filter(|exchange| exchange.detail.id() == ProtocolId::Http)
        .collect()
}

fn handshakes(kernel: &Kernel) -> Vec<&Exchange> {
    let all = kernel.seen.exchanges.iter();
    all.filter(|exchange| exchange.detail.id() == ProtocolId::Tls)
        .collect()
}

fn number(exchange: &Exchange) -> usize {
    let target = exchange.http().unwrap().texts.target().to_owned();
    target.strip_prefix("/items/").unwrap().parse().unwrap()
}

/// The exchanges of the dialogue, as they were said.
fn assert_dialogue(kernel: &Kernel, what: &str) {
    let requests = requests(kernel);
    let found: Vec<_> = requests
        .iter()
        .map(|exchange| {
            let http = exchange.http().unwrap();
            assert_eq!(exchange.incomplete, None, "{what}: {exchange:?}");
            assert!(exchange.tls, "{what}");
            (
                number(exchange),
                http.status,
                http.request_body_size,
                http.response_body_size,
            )
        })
        .collect();
    let chunked = found.get(2).and_then(|it| it.3);
    assert!(
        chunked.is_none() || chunked == Some(90_000),
        "{what}: {chunked:?}"
    );
    let expected = [
        (1, Some(211), Some(0), Some(5)),
        (2, Some(212), Some(40_000), Some(200_000)),
        (3, Some(213), Some(0), chunked),
        (4, Some(214), Some(0), Some(0)),
    ];
    assert_eq!(found, expected, "{what}");
}

#[test]
fn exchanges_are_what_was_said_wherever_calls_and_records_are_cut_and_whenever_the_secrets_come() {
    for version in [&TLS12, &TLS13] {
        let wire = Wire::new(&Setting::of(version), &dialogue());
        for role in [Role::Client, Role::Server] {
            for cut in CUTS {
                for all in [false, true] {
                    for late in [0, 1, 3] {
                        let what = format!("{:?} {role:?} {cut:?} {all} {late}", version.version);
                        let mut kernel = Kernel::new(role);
                        kernel.all = all;
                        for (turn, (from, bytes)) in wire.turns.iter().enumerate() {
                            if turn == late {
                                kernel.tell(&wire);
                            }
                            kernel.turn(*from, bytes, cut);
                        }
                        kernel.close(false);
                        assert_dialogue(&kernel, &what);
                        assert_eq!(handshakes(&kernel).len(), 1, "{what}");
                        assert!(kernel.seen.active.is_empty(), "{what}");
                        assert_eq!(kernel.shard.counters().gaps, 0, "{what}");
                        assert_eq!(kernel.shard.kept_ciphertext(), 0, "{what}");
                    }
                }
            }
        }
    }
}

fn small() -> Vec<(From, Vec<u8>)> {
    (1..=3)
        .flat_map(|number| {
            [
                (From::Client, get(number)),
                (From::Server, answer(number, 100)),
            ]
        })
        .collect()
}

#[test]
fn a_connection_that_ended_before_its_secrets_came_is_read() {
    for version in [&TLS12, &TLS13] {
        for role in [Role::Client, Role::Server] {
            let wire = Wire::new(&Setting::of(version), &small());
            let mut kernel = Kernel::new(role);
            kernel.carry(&wire, Cut::Headers);
            kernel.close(false);
            assert!(requests(&kernel).is_empty());
            // One after the other, as they come.
            kernel.tell(&wire);
            let found: Vec<_> = requests(&kernel)
                .iter()
                .map(|exchange| {
                    (
                        number(exchange),
                        exchange.http().unwrap().status,
                        exchange.incomplete,
                    )
                })
                .collect();
            let expected = [1, 2, 3].map(|number| (number, Some(status(number)), None));
            assert_eq!(found, expected);
            assert_eq!(handshakes(&kernel).len(), 1);
            assert_eq!(kernel.shard.kept_ciphertext(), 0);
        }
    }
}

#[test]
fn a_connection_whose_secrets_never_come_is_left_alone_and_counted() {
    for version in [&TLS12, &TLS13] {
        for closes in [false, true] {
            let wire = Wire::new(&Setting::of(version), &small());
            let mut kernel = Kernel::new(Role::Server);
            kernel.carry(&wire, Cut::Turns);
            if closes {
                kernel.close(false);
            }
            assert!(kernel.shard.kept_ciphertext() > 0 && kernel.seen.modes.is_empty());
            kernel.wait(2_500 * MS);
            assert!(kernel.seen.exchanges.is_empty());
            let counters = kernel.shard.counters().tls;
            assert_eq!((counters.connections, counters.no_key), (1, 1));
            assert_eq!(kernel.seen.closed.len(), 1);
            assert_eq!((counters.connections_read, counters.handshakes), (0, 0));
            assert_eq!(kernel.shard.kept_ciphertext(), 0);
            assert_eq!(kernel.seen.modes, [(kernel.key(), shape::OPAQUE)]);
            // What comes too late does not help.
            kernel.tell(&wire);
            assert!(kernel.seen.exchanges.is_empty());
        }
    }
}

#[test]
fn times_and_ids_are_those_of_the_calls_that_moved_the_records() {
    for version in [&TLS12, &TLS13] {
        for role in [Role::Client, Role::Server] {
            let wire = Wire::new(&Setting::of(version), &small());
            let mut kernel = Kernel::new(role);
            kernel.tell(&wire);
            let mut spans = Vec::new();
            for (from, bytes) in &wire.turns {
                let before = kernel.now;
                kernel.turn(*from, bytes, Cut::Every(20));
                spans.push((*from, before + MS, kernel.now));
            }
            let said: Vec<_> = spans
                .iter()
                .filter(|(_, first, last)| first < last)
                .collect();
            // The last are those of the dialogue, and the server's last word.
            let dialogue = &said[said.len() - 7..];
            assert_eq!(requests(&kernel).len(), 3);
            for (exchange, pair) in requests(&kernel).iter().zip(dialogue.chunks(2)) {
                let times = exchange.times;
                assert_eq!((pair[0].0, pair[1].0), (From::Client, From::Server));
                assert_eq!(
                    (times.request_start, times.request_end),
                    (pair[0].1, pair[0].2)
                );
                if version.version == TLS12.version {
                    assert_eq!(times.response_start, Some(pair[1].1));
                }
                assert_eq!(times.response_end, Some(pair[1].2));
                assert_ne!(exchange.context.trace_id, [0; 16]);
                assert_eq!(exchange.context.trace_id[0], exchange.context.span_id[0]);
            }
            let traces: Vec<u8> = requests(&kernel)
                .iter()
                .map(|it| it.context.trace_id[0])
                .collect();
            assert!(
                traces.is_sorted() && traces[0] < traces[1] && traces[1] < traces[2],
                "{traces:?}"
            );
            let first = requests(&kernel)[0].times;
            assert_eq!(first.connection_established, Some(999_000 * MS));
            let handshake = handshakes(&kernel)[0];
            assert_eq!(handshake.times.request_start, 1_000_001 * MS);
            let end = handshake.times.response_end.unwrap();
            assert!(end > handshake.times.request_start && end <= first.request_start);
        }
    }
}

#[test]
fn a_handshake_that_fails_says_by_which_alert() {
    for version in [&TLS12, &TLS13] {
        for role in [Role::Client, Role::Server] {
            let setting = Setting {
                refused: true,
                ..Setting::of(version)
            };
            let wire = Wire::new(&setting, &[]);
            let mut kernel = Kernel::new(role);
            kernel.tell(&wire);
            kernel.carry(&wire, Cut::Headers);
            kernel.close(false);
            let [handshake] = handshakes(&kernel)[..] else {
                panic!("{:?}", kernel.seen.exchanges);
            };
            let error = handshake.outcome().error.map(ErrorType::value);
            assert_eq!(error.as_deref(), Some("unknown_ca"), "{version:?} {role:?}");
            let counters = kernel.shard.counters().tls;
            assert_eq!((counters.handshakes, counters.handshakes_failed), (1, 1));
        }
    }
}

#[test]
fn a_handshake_that_is_cut_off_failed() {
    for (reset, expected) in [(false, "closed"), (true, "reset")] {
        let wire = Wire::new(&Setting::of(&TLS13), &small());
        let mut kernel = Kernel::new(Role::Server);
        let (from, bytes) = &wire.turns[0];
        kernel.turn(*from, bytes, Cut::Turns);
        kernel.close(reset);
        let error = handshakes(&kernel)[0].outcome().error.map(ErrorType::value);
        assert_eq!(error.as_deref(), Some(expected));
    }
}

#[test]
fn how_a_handshake_went_on_that_was_shipped_no_more_is_not_said() {
    let wire = Wire::new(&Setting::of(&TLS13), &small());
    let mut kernel = Kernel::new(Role::Server);
    let (from, bytes) = &wire.turns[0];
    kernel.turn(*from, bytes, Cut::Turns);
    kernel.close_as(false, shape::IGNORE);
    assert!(handshakes(&kernel).is_empty());
}

#[test]
fn another_protocol_inside_is_left_alone_once_the_handshake_is_over() {
    let setting = Setting {
        alpn: vec!["imap"],
        ..Setting::of(&TLS13)
    };
    let wire = Wire::new(&setting, &small());
    let mut kernel = Kernel::new(Role::Server);
    kernel.tell(&wire);
    kernel.carry(&wire, Cut::Turns);
    assert_eq!(kernel.seen.modes, [(kernel.key(), shape::OPAQUE)]);
    assert_eq!(kernel.shard.counters().tls.other_protocol, 1);
    assert!(requests(&kernel).is_empty());
    assert_eq!(handshakes(&kernel).len(), 1);
}

#[test]
fn a_server_that_chooses_http_1_where_http_2_is_offered_is_read() {
    for version in [&TLS12, &TLS13] {
        for role in [Role::Client, Role::Server] {
            let setting = Setting {
                offers: vec!["h2"],
                ..Setting::of(version)
            };
            let wire = Wire::new(&setting, &dialogue());
            let mut kernel = Kernel::new(role);
            kernel.tell(&wire);
            kernel.carry(&wire, Cut::Headers);
            kernel.close(false);
            assert_dialogue(&kernel, "h2 offered, http/1.1 chosen");
            let session = requests(&kernel)[0].session.clone().unwrap();
            assert_eq!(session.protocol.as_deref(), Some("http/1.1"));
            let counters = kernel.shard.counters().tls;
            assert_eq!(counters.other_protocol, 0);
        }
    }
}

#[test]
fn a_fatal_alert_behind_the_handshake_is_the_error_of_what_waited() {
    for version in [&TLS12, &TLS13] {
        for role in [Role::Client, Role::Server] {
            // The second part of a body is damaged, and the server says so.
            let said = [
                (From::Client, get(1)),
                (From::Server, answer(1, 5)),
                (From::Client, post(2, 40)[..100].to_vec()),
                (From::Client, b"uu".to_vec()),
            ];
            let setting = Setting {
                damaged: Some(3),
                ..Setting::of(version)
            };
            let wire = Wire::new(&setting, &said);
            let mut kernel = Kernel::new(role);
            kernel.tell(&wire);
            kernel.carry(&wire, Cut::Turns);
            kernel.close(true);
            let [fine, failed] = requests(&kernel)[..] else {
                panic!("{:?}", kernel.seen.exchanges);
            };
            assert_eq!(fine.outcome().error, None);
            let error = failed.outcome().error.map(ErrorType::value);
            assert_eq!(
                error.as_deref(),
                Some("bad_record_mac"),
                "{version:?} {role:?}"
            );
            assert!(failed.outcome().failed);
            assert_eq!(number(failed), 2);
        }
    }
}

#[test]
fn without_an_agreement_the_first_bytes_tell_the_protocol() {
    let setting = Setting {
        alpn: Vec::new(),
        ..Setting::of(&TLS13)
    };
    let mut kernel = Kernel::new(Role::Client);
    let wire = Wire::new(&setting, &small());
    kernel.tell(&wire);
    kernel.carry(&wire, Cut::Headers);
    assert_eq!(requests(&kernel).len(), 3);
    assert_eq!(kernel.seen.modes, [(kernel.key(), shape::RECORDS)]);
    let mut kernel = Kernel::new(Role::Client);
    let wire = Wire::new(
        &setting,
        &[
            (From::Client, b"EHLO x\r\n".to_vec()),
            (From::Server, b"250 x\r\n".to_vec()),
        ],
    );
    kernel.tell(&wire);
    kernel.carry(&wire, Cut::Headers);
    assert_eq!(kernel.seen.modes, [(kernel.key(), shape::OPAQUE)]);
    assert_eq!(kernel.shard.counters().not_http, 1);
}

#[test]
fn tls_behind_a_tunnels_request_is_read_and_the_tunnel_is_an_exchange_of_its_own() {
    for version in [&TLS12, &TLS13] {
        for role in [Role::Client, Role::Server] {
            let wire = Wire::new(&Setting::of(version), &dialogue());
            let mut kernel = Kernel::new(role);
            kernel.tell(&wire);
            kernel.in_the_open(
                From::Client,
                b"CONNECT shop.example:443 HTTP/1.1\r\nHost: shop.example\r\n\r\n",
            );
            kernel.in_the_open(From::Server, b"HTTP/1.1 200 Connected\r\n\r\n");
            let tunnel = &kernel.seen.exchanges[0];
            let http = tunnel.http().unwrap();
            assert_eq!((http.status, tunnel.incomplete), (Some(200), None));
            assert!(!tunnel.tls);
            // The kernel does not see this in time.
            assert_eq!(kernel.seen.modes, [(kernel.key(), shape::IGNORE)]);
            kernel.seen.exchanges.clear();
            kernel.upgrade();
            kernel.carry(&wire, Cut::Headers);
            kernel.close(false);
            assert_eq!(handshakes(&kernel).len(), 1, "{role:?}");
            assert_dialogue(&kernel, &format!("{role:?}"));
            assert_eq!(kernel.seen.modes[1..], [(kernel.key(), shape::RECORDS)]);
        }
    }
}

#[test]
fn tls_behind_what_no_protocol_knows_is_read() {
    let wire = Wire::new(&Setting::of(&TLS13), &dialogue());
    let mut kernel = Kernel::new(Role::Server);
    for line in ["EHLO shop.example\r\n", "STARTTLS\r\n"] {
        kernel.in_the_open(From::Server, b"220 ready\r\n");
        kernel.in_the_open(From::Client, line.as_bytes());
    }
    kernel.in_the_open(From::Server, b"220 go ahead\r\n");
    assert!(kernel.seen.modes.is_empty());
    kernel.upgrade();
    kernel.carry(&wire, Cut::Turns);
    kernel.tell(&wire);
    kernel.close(false);
    assert_dialogue(&kernel, "behind SMTP");
    assert_eq!(kernel.shard.counters().tls.connections_read, 1);
}

#[test]
fn one_older_than_observer_is_left_alone_and_counted() {
    let wire = Wire::new(&Setting::of(&TLS13), &small());
    let mut kernel = Kernel::new(Role::Client);
    kernel.from_start = false;
    kernel.tell(&wire);
    for (from, bytes) in wire.turns.iter().rev().take(4).rev() {
        kernel.turn(*from, bytes, Cut::Headers);
    }
    assert_eq!(kernel.seen.modes, [(kernel.key(), shape::OPAQUE)]);
    assert_eq!(kernel.shard.counters().tls.no_handshake, 1);
    assert!(kernel.seen.exchanges.is_empty());
}

#[test]
fn what_is_lost_costs_the_exchanges_in_it_and_no_status_is_wrong() {
    let said: Vec<_> = (1..=60)
        .flat_map(|number: usize| {
            let answer = if number.is_multiple_of(3) {
                chunked(number, 9_000)
            } else {
                answer(number, number * 300)
            };
            [(From::Client, get(number)), (From::Server, answer)]
        })
        .collect();
    let (mut all, mut whole, mut lost_records) = (0, 0, 0);
    for version in [&TLS12, &TLS13] {
        let wire = Wire::new(&Setting::of(version), &said);
        for role in [Role::Client, Role::Server] {
            for seed in 0..10u64 {
                for cut in [Cut::Turns, Cut::Headers, Cut::Every(1000)] {
                    let mut kernel = Kernel::new(role);
                    let mut state = seed + 1;
                    let lost = std::rc::Rc::new(std::cell::Cell::new(0));
                    let counted = std::rc::Rc::clone(&lost);
                    kernel.loses = Box::new(move |number| {
                        state ^= state << 13;
                        state ^= state >> 7;
                        state ^= state << 17;
                        let loses = number > 12 && state.is_multiple_of(100);
                        counted.set(counted.get() + u64::from(loses));
                        loses
                    });
                    kernel.tell(&wire);
                    kernel.carry(&wire, cut);
                    kernel.close(false);
                    kernel.wait(2_500 * MS);
                    let what = format!("{:?} {role:?} {seed} {cut:?}", version.version);
                    lost_records += lost.get();
                    for exchange in requests(&kernel) {
                        let http = exchange.http().unwrap();
                        if http.method.is_empty() {
                            continue;
                        }
                        let number = number(exchange);
                        if let Some(found) = http.status {
                            assert_eq!(found, status(number), "{what}");
                        }
                        if exchange.incomplete.is_none() {
                            whole += 1;
                            assert!(http.status.is_some(), "{what}");
                            let size = if number.is_multiple_of(3) {
                                9_000
                            } else {
                                number as u64 * 300
                            };
                            assert!(
                                http.response_body_size.is_none_or(|found| found == size),
                                "{what}: {exchange:?}"
                            );
                        }
                    }
                    all += 60;
                    assert!(kernel.seen.active.is_empty(), "{what}");
                    assert_eq!(kernel.shard.kept_ciphertext(), 0, "{what}");
                }
            }
        }
    }
    // A lost record costs an exchange or two.
    assert!(
        whole + 2 * lost_records > all,
        "{whole} of {all} are whole, {lost_records} records were lost"
    );
}

#[test]
fn a_large_upload_that_comes_before_its_key_is_read() {
    let said = [
        (From::Client, post(1, 3_000_000)),
        (From::Server, answer(1, 5)),
        (From::Client, get(2)),
        (From::Server, answer(2, 5)),
    ];
    for version in [&TLS12, &TLS13] {
        let wire = Wire::new(&Setting::of(version), &said);
        let mut kernel = Kernel::new(Role::Server);
        kernel.all = true;
        kernel.carry(&wire, Cut::Headers);
        assert!(kernel.shard.kept_ciphertext() < 1024 * 1024);
        kernel.tell(&wire);
        let found: Vec<_> = requests(&kernel)
            .iter()
            .map(|exchange| {
                let http = exchange.http().unwrap();
                (
                    number(exchange),
                    http.status,
                    http.request_body_size,
                    exchange.incomplete,
                )
            })
            .collect();
        let expected = [
            (1, Some(211), Some(3_000_000), None),
            (2, Some(212), Some(0), None),
        ];
        assert_eq!(found, expected);
    }
}
