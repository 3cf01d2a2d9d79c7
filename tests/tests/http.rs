//! HTTP as it really goes over the wire, from a server that answers exactly what the test says.
#![allow(clippy::unwrap_used, reason = "tests panic, they don't return errors")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use observer_tests::{Environment, Observer, Span, until};

/// What the server's side of a connection does.
type Script = fn(&mut TcpStream);

/// Plays one connection between two threads of this process, which is traced, and returns the server's spans.
fn play(environment: &Environment, server: Script, client: Script, expected: usize) -> Vec<Span> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let observer = Observer::start(environment, &[&format!("--port={}", address.port())]);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            stream
                .set_read_timeout(Some(Duration::from_secs(20)))
                .unwrap();
            server(&mut stream);
        });
        let mut stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        client(&mut stream);
    });
    until("the exchanges are seen", || {
        let seen = observer.page().sum("observer_exchanges", &[]);
        // Both ends are in this process.
        (seen as usize >= 2 * expected).then_some(())
    });
    let mut spans = observer.stop();
    spans.retain(|span| span.kind() == "server");
    spans.sort_by_key(Span::start_unix_nano);
    assert_eq!(spans.len(), expected, "{spans:#?}");
    spans
}

/// Reads until the bytes end with this text.
fn read_to(stream: &mut TcpStream, end: &str) {
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(end.as_bytes()) {
        let read = stream.read(&mut byte).unwrap();
        assert_eq!(read, 1, "the other end closed after {seen:?}");
        seen.extend(byte);
    }
}

fn write(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).unwrap();
}

fn statuses(spans: &[Span]) -> Vec<Option<u64>> {
    spans.iter().map(Span::status_code).collect()
}

#[test]
fn an_interim_response_is_not_the_answer() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let spans = play(
        &environment,
        |stream| {
            read_to(stream, "\r\n\r\n");
            write(stream, "HTTP/1.1 100 Continue\r\n\r\n");
            read_to(stream, "body");
            write(stream, "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
        },
        |stream| {
            write(
                stream,
                "PUT /thing HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n",
            );
            read_to(stream, "Continue\r\n\r\n");
            write(stream, "body");
            read_to(stream, "Length: 0\r\n\r\n");
        },
        1,
    );
    assert_eq!(statuses(&spans), [Some(201)]);
    assert!(!spans[0].is_incomplete(), "{spans:#?}");
}

#[test]
fn chunks_with_trailers_and_the_next_request_stay_apart() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let spans = play(
        &environment,
        |stream| {
            for status in [200, 404] {
                read_to(stream, "\r\n\r\n");
                let head = format!("HTTP/1.1 {status} X\r\nTransfer-Encoding: chunked\r\n\r\n");
                write(stream, &head);
                for chunk in [
                    "5\r\nHTTP/\r\n",
                    "3;ext=1\r\n1.1\r\n",
                    "0\r\nTrailer: yes\r\n\r\n",
                ] {
                    std::thread::sleep(Duration::from_millis(5));
                    write(stream, chunk);
                }
            }
        },
        |stream| {
            for path in ["/one", "/two"] {
                write(stream, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
                read_to(stream, "Trailer: yes\r\n\r\n");
            }
        },
        2,
    );
    assert_eq!(statuses(&spans), [Some(200), Some(404)]);
    assert_eq!((spans[0].path(), spans[1].path()), ("/one", "/two"));
    // Two pauses between the chunks belong to the exchange: it ends with its last byte.
    assert!(
        spans.iter().all(|span| span.milliseconds() >= 10.0),
        "{spans:#?}"
    );
}

#[test]
fn a_body_that_ends_with_the_connection_is_whole() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let spans = play(
        &environment,
        |stream| {
            read_to(stream, "\r\n\r\n");
            write(stream, "HTTP/1.0 200 OK\r\n\r\nuntil the end");
        },
        |stream| {
            write(stream, "GET /old HTTP/1.0\r\n\r\n");
            stream.read_to_end(&mut Vec::new()).unwrap();
        },
        1,
    );
    assert_eq!(statuses(&spans), [Some(200)]);
    assert!(!spans[0].is_incomplete(), "{spans:#?}");
}

#[test]
fn a_request_without_a_response_has_no_invented_status() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let spans = play(
        &environment,
        |stream| read_to(stream, "\r\n\r\n"),
        |stream| {
            write(stream, "GET /lost HTTP/1.1\r\nHost: x\r\n\r\n");
            // Closed or reset, both are no answer.
            let _ = stream.read(&mut [0]);
        },
        1,
    );
    assert_eq!(statuses(&spans), [None]);
    assert_eq!(spans[0].path(), "/lost");
    assert!(spans[0].is_incomplete(), "{spans:#?}");
}

#[test]
fn an_upgraded_connection_is_a_tunnel_afterwards() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let spans = play(
        &environment,
        |stream| {
            read_to(stream, "\r\n\r\n");
            write(
                stream,
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
            );
            read_to(stream, "GET /no HTTP/1.1\r\n\r\n");
            write(stream, "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n");
        },
        |stream| {
            write(
                stream,
                "GET /socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
            );
            read_to(stream, "Upgrade: x\r\n\r\n");
            write(stream, "GET /no HTTP/1.1\r\n\r\n");
            read_to(stream, "Length: 0\r\n\r\n");
        },
        1,
    );
    assert_eq!(statuses(&spans), [Some(101)]);
    assert_eq!(spans[0].path(), "/socket");
}

#[test]
fn pipelined_requests_get_an_exchange_each() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let spans = play(
        &environment,
        |stream| {
            read_to(stream, "/last HTTP/1.1\r\nHost: x\r\n\r\n");
            for status in [200, 201, 202, 203] {
                write(
                    stream,
                    &format!("HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\nok"),
                );
            }
        },
        |stream| {
            let requests: String = ["/a", "/b", "/c", "/last"]
                .iter()
                .map(|path| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
                .collect();
            write(stream, &requests);
            read_to(stream, "203 X\r\nContent-Length: 2\r\n\r\nok");
        },
        4,
    );
    let mut pairs: Vec<(&str, Option<u64>)> = spans
        .iter()
        .map(|span| (span.path(), span.status_code()))
        .collect();
    pairs.sort_unstable();
    let expected = ["/a", "/b", "/c", "/last"]
        .into_iter()
        .zip([200, 201, 202, 203].map(Some));
    assert_eq!(pairs, expected.collect::<Vec<_>>());
}
