//! Whatever a connection is, and however a process came by it.
#![allow(clippy::unwrap_used, reason = "tests panic, they don't return errors")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Command;

use observer_tests::{Environment, Folder, Observer, Server, Span, get};

/// Sends one request that ends the connection; the response's first line.
fn ask(mut stream: impl Read + Write, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text.lines().next().unwrap().to_owned()
}

fn assert_served(spans: &[Span], paths: &[&str]) {
    let mut found: Vec<&str> = spans.iter().map(Span::path).collect();
    found.sort_unstable();
    assert_eq!(found, paths, "{spans:#?}");
    for span in spans {
        assert_eq!((span.kind(), span.status_code()), ("server", Some(200)));
        assert!(!span.is_incomplete(), "{span:?}");
    }
}

#[test]
fn ipv6_and_v4_mapped_connections_are_traced_with_their_addresses() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let server = Server::stdlib("ipv6");
    let observer = Observer::watch(&environment, &server);
    ask(
        TcpStream::connect((Ipv6Addr::LOCALHOST, server.port())).unwrap(),
        "/bytes/6",
    );
    ask(
        TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).unwrap(),
        "/bytes/4",
    );
    observer.page_with(2);
    let spans = observer.stop();
    assert_served(&spans, &["/bytes/4", "/bytes/6"]);
    for span in spans {
        let expected = if span.path() == "/bytes/6" {
            "::1"
        } else {
            "127.0.0.1"
        };
        assert_eq!(span.attribute("network.peer.address"), expected, "{span:?}");
    }
}

#[test]
fn requests_over_a_unix_socket_are_traced() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let folder = Folder::new();
    let socket = folder.path().join("socket");
    let mut python = Command::new("python3");
    python
        .arg(Environment::programs().join("stdlib_server.py"))
        .arg(&socket)
        .arg("unix");
    let accepts = || UnixStream::connect(&socket).is_ok();
    let server = Server::start_when(&mut python, 0, accepts);
    let observer = Observer::start(&environment, &[&format!("--pid={}", server.pid())]);
    for size in 1..4 {
        let status = ask(
            UnixStream::connect(&socket).unwrap(),
            &format!("/bytes/{size}"),
        );
        assert_eq!(status, "HTTP/1.1 200 OK");
    }
    observer.page_with(3);
    let spans = observer.stop();
    assert_served(&spans, &["/bytes/1", "/bytes/2", "/bytes/3"]);
}

#[test]
fn a_connection_passed_to_another_process_is_traced_there() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let server = Server::stdlib("pass");
    let observer = Observer::watch(&environment, &server);
    for size in 1..4 {
        assert_eq!(
            get(server.port(), &format!("/bytes/{size}"))
                .unwrap()
                .status,
            200
        );
    }
    observer.page_with(3);
    assert_served(&observer.stop(), &["/bytes/1", "/bytes/2", "/bytes/3"]);
}
