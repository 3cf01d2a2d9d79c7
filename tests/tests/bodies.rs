//! Large bodies, and requests that arrive in odd pieces.
#![allow(clippy::unwrap_used, reason = "tests panic, they don't return errors")]

use std::collections::BTreeSet;
use std::io::{IoSlice, Write};

use observer_tests::{Client, Environment, Folder, Observer, Server, Span};

const LARGE: usize = 20 << 20;

/// Records that the kernel sent for what `work` does, which counts one exchange.
fn records(observer: &Observer, work: impl FnOnce()) -> f64 {
    let before = observer.page_with(0);
    work();
    let after = observer.page_with(before.served(&[]) + 1);
    assert_eq!(after.served(&[]), before.served(&[]) + 1);
    after.sum("observer_records", &[]) - before.sum("observer_records", &[])
}

#[test]
fn a_large_download_costs_no_more_records_than_a_small_one() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let folder = Folder::new();
    // nginx sends its file with sendfile, Python's server copies.
    for (server, path) in [
        (Server::nginx(&folder), "/large".to_owned()),
        (Server::stdlib("threads"), format!("/bytes/{LARGE}")),
    ] {
        let observer = Observer::watch(&environment, &server);
        let mut client = Client::connect(server.port()).unwrap();
        let small = records(&observer, || {
            client.request("GET", "/", "").unwrap();
        });
        let large = records(&observer, || {
            let answer = client.request("GET", &path, "").unwrap();
            assert_eq!(answer.body.len(), LARGE);
        });
        assert!(large <= small + 2.0, "{small} records small, {large} large");
        for span in observer.stop() {
            assert!(!span.is_incomplete(), "{span:?}");
        }
    }
}

#[test]
fn a_large_upload_costs_no_more_records_than_a_small_one() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let server = Server::stdlib("threads");
    let observer = Observer::watch(&environment, &server);
    let mut client = Client::connect(server.port()).unwrap();
    let small = records(&observer, || {
        client.post("/echo", b"little").unwrap();
    });
    let large = records(&observer, || {
        let answer = client.post("/echo", &vec![b'x'; LARGE]).unwrap();
        assert_eq!(answer.body, format!("{LARGE}\n").as_bytes());
    });
    assert!(large <= small + 2.0, "{small} records small, {large} large");
    for span in observer.stop() {
        assert!(!span.is_incomplete(), "{span:?}");
    }
}

#[test]
fn looking_with_msg_peek_first_counts_once() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let server = Server::stdlib("peek");
    let observer = Observer::watch(&environment, &server);
    let mut client = Client::connect(server.port()).unwrap();
    for _ in 0..20 {
        client.request("GET", "/status/200", "").unwrap();
    }
    let page = observer.page_with(20);
    assert_eq!(page.served(&[]), 20);
    let spans = observer.stop();
    assert_eq!(spans.len(), 20);
    assert!(spans.iter().all(|span| !span.is_incomplete()), "{spans:#?}");
}

#[test]
fn a_head_read_a_few_bytes_at_a_time_parses_like_any_other() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let server = Server::stdlib("slow-read");
    let observer = Observer::watch(&environment, &server);
    let (trace, parent) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let mut client = Client::connect(server.port()).unwrap();
    let headers = format!(
        "X-Long: {}\r\ntraceparent: 00-{trace}-{parent}-01\r\n",
        "y".repeat(500)
    );
    for _ in 0..3 {
        client.request("GET", "/status/201", &headers).unwrap();
    }
    observer.page_with(3);
    let spans = observer.stop();
    let ids: BTreeSet<&str> = spans.iter().map(Span::span_id).collect();
    assert_eq!((spans.len(), ids.len()), (3, 3), "{spans:#?}");
    for span in spans {
        assert!(!span.is_incomplete(), "{span:?}");
        assert_eq!(span.status_code(), Some(201));
        assert_eq!(
            (span.trace_id(), span.parent_span_id()),
            (trace, Some(parent))
        );
    }
}

#[test]
fn a_head_sent_byte_by_byte_parses_like_any_other() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let server = Server::node();
    let observer = Observer::watch(&environment, &server);
    let mut client = Client::connect(server.port()).unwrap();
    let head: Vec<[u8; 1]> = b"GET /status/202 HTTP/1.1\r\nHost: localhost\r\n\r\n"
        .iter()
        .map(|byte| [*byte])
        .collect();
    let pieces: Vec<&[u8]> = head.iter().map(|byte| byte.as_slice()).collect();
    assert_eq!(client.exchange("GET", &pieces).unwrap().status, 202);
    observer.page_with(1);
    let spans = observer.stop();
    assert_eq!(spans.len(), 1);
    assert_eq!(
        (spans[0].path(), spans[0].status_code()),
        ("/status/202", Some(202))
    );
}

#[test]
fn head_and_body_in_one_vectored_write_parse_like_any_other() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let server = Server::go(&environment);
    // The client's end, where the write is vectored, is this test itself.
    let own = std::process::id();
    let observer = Observer::start(&environment, &[&format!("--pid={own}")]);
    let mut client = Client::connect(server.port()).unwrap();
    let parts = [
        "POST /echo HTTP/1.1\r\n",
        "Host: localhost\r\nContent-Length: 4000\r\n",
        "\r\n",
        &"z".repeat(4000),
    ];
    let slices: Vec<IoSlice<'_>> = parts
        .iter()
        .map(|part| IoSlice::new(part.as_bytes()))
        .collect();
    let length: usize = parts.iter().map(|part| part.len()).sum();
    assert_eq!(client.stream().write_vectored(&slices).unwrap(), length);
    let (status, body) = client.read_response("POST").unwrap();
    assert_eq!((status, body.as_slice()), (200, b"4000\n".as_slice()));
    observer_tests::until("the client's exchange is counted", || {
        let page = observer.page();
        let counted = page.sum("http_client_request_duration_seconds_count", &[]);
        (counted >= 1.0).then_some(())
    });
    let spans = observer.stop();
    let posts: Vec<_> = spans
        .iter()
        .filter(|span| span.method() == "POST")
        .collect();
    assert_eq!(posts.len(), 1, "{spans:#?}");
    assert_eq!(
        (posts[0].kind(), posts[0].status_code()),
        ("client", Some(200))
    );
    let address = posts[0].attribute("url.full").as_str().unwrap();
    assert!(address.ends_with("/echo"), "{address}");
    assert!(!posts[0].is_incomplete(), "{posts:?}");
}
