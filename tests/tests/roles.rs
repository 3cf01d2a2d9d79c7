//! Which end of a connection a process is, where only its bytes can tell: the connection is older than observer.
#![allow(clippy::unwrap_used, reason = "tests panic, they don't return errors")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use observer_tests::{Environment, Observer, Span, until};

/// Both ends of a connection between two threads of this process, which is traced from then on.
fn older(environment: &Environment) -> (TcpStream, TcpStream, Observer) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let client = TcpStream::connect(address).unwrap();
    let server = listener.accept().unwrap().0;
    for stream in [&client, &server] {
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
    }
    let observer = Observer::start(environment, &[&format!("--port={}", address.port())]);
    (client, server, observer)
}

fn pass(from: &mut TcpStream, to: &mut TcpStream, text: &str) {
    from.write_all(text.as_bytes()).unwrap();
    let mut read = vec![0; text.len()];
    to.read_exact(&mut read).unwrap();
    assert_eq!(read, text.as_bytes());
}

#[test]
fn text_that_looks_like_a_request_does_not_make_a_client_a_server() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    for text in [
        "VALUE hello 0 5\r\nhello\r\nEND\r\n",
        "VALUE /hello 0 5\r\nhello\r\nEND\r\n",
    ] {
        let (mut client, mut server, observer) = older(&environment);
        pass(&mut server, &mut client, text);
        pass(
            &mut client,
            &mut server,
            "GET /real HTTP/1.1\r\nHost: x\r\n\r\n",
        );
        pass(
            &mut server,
            &mut client,
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        );
        until("both ends' exchanges are seen", || {
            (observer.page().sum("observer_exchanges", &[]) as usize >= 2).then_some(())
        });
        let mut seen: Vec<(String, String, Option<u64>)> =
            observer.stop().iter().map(told).collect();
        seen.sort();
        let real = |kind: &str| (kind.to_owned(), "GET".to_owned(), Some(200));
        assert_eq!(seen, [real("client"), real("server")], "after {text:?}");
    }
}

fn told(span: &Span) -> (String, String, Option<u64>) {
    (
        span.kind().to_owned(),
        span.method().to_owned(),
        span.status_code(),
    )
}
