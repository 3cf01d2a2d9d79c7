//! The traced service comes first: whatever happens to the daemon or comes over the wire.
#![allow(clippy::unwrap_used, reason = "tests panic, they don't return errors")]

use std::io::Write;
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};

use observer_tests::{
    Client, Environment, Folder, InKernel, Observer, Server, get, left_in_kernel, until,
};

#[test]
fn killing_the_daemon_under_load_fails_no_request_and_leaves_nothing_behind() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let folder = Folder::new();
    let server = Server::nginx(&folder);
    let mut all = InKernel::new();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = Client::connect(server.port()).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    let answer = client.request("GET", "/", "").unwrap();
                    assert_eq!((answer.status, answer.body.len()), (200, 612));
                }
            });
        }
        for _ in 0..3 {
            let observer = Observer::watch(&environment, &server);
            observer.page_with_some();
            let its = observer.in_kernel();
            assert!(
                its.iter().any(|(kind, _)| *kind == "prog"),
                "no program is loaded"
            );
            all.extend(its);
            observer.kill();
        }
        stop.store(true, Ordering::Relaxed);
    });
    // The kernel frees them after a grace period.
    until("programs and maps of the daemon are gone", || {
        left_in_kernel(&all).is_empty().then_some(())
    });
}

/// Sends bytes that are no request and nothing after them, and reads what comes back.
fn send_garbage(port: u16, bytes: &[u8]) {
    let mut client = Client::connect(port).unwrap();
    // The server may close before it has read everything.
    let _ = client.stream().write_all(bytes);
    let _ = client.stream().shutdown(Shutdown::Write);
    let _ = client.read_response("GET");
}

/// Bytes without a pattern, the same in every run.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn garbage_on_the_wire_harms_neither_the_daemon_nor_its_counts() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let server = Server::go(&environment);
    let mut observer = Observer::watch(&environment, &server);
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(1 << 20));
    let header = format!(
        "GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n",
        "b".repeat(1 << 20)
    );
    let garbage: [&[u8]; 9] = [
        &noise(100_000),
        &[0; 5000],
        b"GET ",
        b"GET / HTTP/1.1\r\nHost",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        long.as_bytes(),
        header.as_bytes(),
    ];
    for bytes in garbage {
        send_garbage(server.port(), bytes);
    }
    // Slow ones that never finish, open while the rest is counted.
    let slow: Vec<Client> = (0..20)
        .map(|_| {
            let mut client = Client::connect(server.port()).unwrap();
            client
                .stream()
                .write_all(b"GET /status/200 HTTP/1.1\r\nHost: ")
                .unwrap();
            client
        })
        .collect();
    for _ in 0..50 {
        assert_eq!(get(server.port(), "/status/203").unwrap().status, 203);
    }
    let count = |observer: &Observer| {
        let page = observer.page();
        page.served(&["http_response_status_code=\"203\""])
    };
    until("the good requests are counted", || {
        (count(&observer) >= 50).then_some(())
    });
    assert_eq!(count(&observer), 50);
    assert!(observer.is_alive());
    drop(slow);
    let good = observer.stop();
    let good = good.iter().filter(|span| span.status_code() == Some(203));
    assert_eq!(good.count(), 50);
}

#[test]
fn a_response_that_splits_itself_is_not_taken_for_two_exchanges_of_one_request() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let server = Server::node();
    let observer = Observer::watch(&environment, &server);
    let mut client = Client::connect(server.port()).unwrap();
    // A body that looks like a request stays a body.
    let inner = b"GET /status/500 HTTP/1.1\r\nHost: x\r\n\r\n";
    let answer = client.post("/echo", inner).unwrap();
    assert_eq!(answer.body, format!("{}\n", inner.len()).as_bytes());
    client.request("GET", "/status/200", "").unwrap();
    let page = observer.page_with(2);
    assert_eq!(page.served(&[]), 2);
    let paths: Vec<String> = observer
        .stop()
        .iter()
        .map(|span| span.path().to_owned())
        .collect();
    assert_eq!(paths, ["/echo", "/status/200"]);
}
