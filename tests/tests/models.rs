//! However a server divides its work over processes and threads, and whoever was there first.
#![allow(clippy::unwrap_used, reason = "tests panic, they don't return errors")]

use std::time::{Duration, Instant};

use observer_tests::{Client, Environment, Folder, Observer, Server, Span, get, until};
use rustix::process::{Pid, Signal, kill_process};

/// Requests over many connections, four at a time, one of them kept alive: every span is there and whole.
fn assert_complete(environment: &Environment, server: &Server) {
    const CONNECTIONS: usize = 10;
    let observer = Observer::watch(environment, server);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for connection in 0..CONNECTIONS {
                    let path = format!("/bytes/{}", 100 * thread + connection);
                    let answer = get(server.port(), &path).unwrap();
                    assert_eq!(answer.body.len(), 100 * thread + connection);
                }
            });
        }
    });
    observer.page_with(4 * CONNECTIONS as u64);
    let mut paths: Vec<String> = whole(&observer.stop());
    let mut expected: Vec<String> = (0..4)
        .flat_map(|thread| (0..CONNECTIONS).map(move |i| format!("/bytes/{}", 100 * thread + i)))
        .collect();
    paths.sort();
    expected.sort();
    assert_eq!(paths, expected);
}

fn whole(spans: &[Span]) -> Vec<String> {
    let check = |span: &Span| {
        assert!(!span.is_incomplete(), "{span:?}");
        assert_eq!(span.status_code(), Some(200), "{span:?}");
        span.path().to_owned()
    };
    spans.iter().map(check).collect()
}

#[test]
fn a_fork_for_every_connection_gives_complete_spans() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    assert_complete(&environment, &Server::stdlib("fork"));
}

#[test]
fn a_pre_forked_server_gives_complete_spans() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    assert_complete(&environment, &Server::stdlib("prefork"));
}

#[test]
fn a_thread_pool_gives_complete_spans() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    assert_complete(&environment, &Server::stdlib("pool"));
}

#[test]
fn an_epoll_loop_gives_complete_spans() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    assert_complete(&environment, &Server::node());
}

#[test]
fn a_connection_older_than_the_daemon_is_traced_from_its_next_request() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let server = Server::stdlib("threads");
    let mut client = Client::connect(server.port()).unwrap();
    client.request("GET", "/bytes/1", "").unwrap();
    let observer = Observer::watch(&environment, &server);
    for size in 2..5 {
        client
            .request("GET", &format!("/bytes/{size}"), "")
            .unwrap();
    }
    observer.page_with(3);
    let paths = whole(&observer.stop());
    assert_eq!(paths, ["/bytes/2", "/bytes/3", "/bytes/4"]);
}

#[test]
fn a_server_that_starts_after_the_daemon_is_traced_from_its_first_request() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let observer = Observer::start(&environment, &["--exe=node"]);
    let server = Server::node();
    get(server.port(), "/bytes/1").unwrap();
    observer.page_with(1);
    assert_eq!(whole(&observer.stop()), ["/bytes/1"]);
}

/// Ends the first thread of a server of the model `headless`; the others serve on.
fn behead(server: &Server) {
    let pid = i32::try_from(server.pid()).ok().and_then(Pid::from_raw);
    kill_process(pid.unwrap(), Signal::USR1).unwrap();
    let stat = format!("/proc/{}/stat", server.pid());
    until("the server's first thread has ended", || {
        let stat = std::fs::read_to_string(&stat).unwrap();
        stat.contains(") Z ").then_some(())
    });
}

#[test]
fn an_excluded_process_stays_excluded_when_its_first_thread_ends() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let (server, folder) = (Server::stdlib("headless"), Folder::new());
    let control = Server::nginx(&folder);
    let observer = Observer::start(&environment, &["--exclude-exe=python3*"]);
    behead(&server);
    for size in 0..20 {
        get(server.port(), &format!("/bytes/{size}")).unwrap();
    }
    get(control.port(), "/status/503").unwrap();
    until("a later request is counted", || {
        let status = "http_response_status_code=\"503\"";
        (observer.page().served(&[status]) > 0).then_some(())
    });
    let spans = observer.stop();
    let of = |port: u16| {
        let served = spans.iter().filter(|span| span.kind() == "server");
        served
            .filter(|span| span.attribute("server.port") == port)
            .count()
    };
    assert_eq!((of(server.port()), of(control.port())), (0, 1));
}

#[test]
fn a_selected_process_stays_selected_when_its_first_thread_ends() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let server = Server::stdlib("headless");
    let observer = Observer::watch(&environment, &server);
    behead(&server);
    // Long enough for the daemon to look for listeners again.
    let (began, mut sent) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(5) {
        get(server.port(), "/sleep/50").unwrap();
        sent += 1;
    }
    observer.page_with(sent);
    let spans = observer.stop();
    assert_eq!(whole(&spans).len() as u64, sent);
}

#[test]
fn what_is_not_selected_is_not_traced() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let (wanted, other) = (Server::stdlib("threads"), Server::stdlib("threads"));
    let observer = Observer::start(&environment, &[&format!("--pid={}", wanted.pid())]);
    for size in 0..5 {
        get(other.port(), &format!("/bytes/{size}")).unwrap();
    }
    get(wanted.port(), "/status/200").unwrap();
    observer.page_with(1);
    assert_eq!(whole(&observer.stop()), ["/status/200"]);
}

#[test]
fn a_requests_traceparent_is_honoured_in_any_case_and_a_malformed_one_is_not() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let server = Server::stdlib("threads");
    let observer = Observer::watch(&environment, &server);
    let (trace, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let mut client = Client::connect(server.port()).unwrap();
    for name in ["traceparent", "TraceParent", "TRACEPARENT"] {
        let filler = format!("X-Filler: {}\r\n", "0123456789".repeat(10)).repeat(40);
        let headers = format!("{filler}{name}: 00-{trace}-{parent}-01\r\n");
        client.request("GET", "/status/200", &headers).unwrap();
    }
    for malformed in [
        format!("00-{trace}-{parent}"),
        format!("00-{}-{parent}-01", "0".repeat(32)),
        format!("ff-{trace}-{parent}-01"),
        format!("00-{}-{parent}-01", trace.to_uppercase()),
    ] {
        let headers = format!("traceparent: {malformed}\r\n");
        client.request("GET", "/status/404", &headers).unwrap();
    }
    observer.page_with(7);
    let spans = observer.stop();
    assert_eq!(spans.len(), 7);
    for span in spans {
        if span.status_code() == Some(200) {
            assert_eq!(span.trace_id(), trace);
            assert_eq!(span.parent_span_id(), Some(parent));
        } else {
            assert_ne!(span.trace_id(), trace, "{span:?}");
            assert_eq!(span.parent_span_id(), None, "{span:?}");
        }
    }
}

#[test]
fn client_and_server_on_one_host_share_a_trace() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let server = Server::stdlib("threads");
    // curl starts after the daemon, which traces both ends.
    let observer = Observer::start(&environment, &["--exe=curl", "--exe=python3*"]);
    let at = |path: &str| format!("http://127.0.0.1:{}{path}", server.port());
    // The first request is for the daemon to get to know curl: nothing is captured of who is not selected yet.
    let status = std::process::Command::new("curl")
        .args(["-sS", "-o", "/dev/null", &at("/sleep/500")])
        .args(["-o", "/dev/null", &at("/status/404")])
        .status()
        .unwrap();
    assert!(status.success());
    until("both ends are counted", || {
        let page = observer.page();
        let failed = ["http_response_status_code=\"404\""];
        let both = page.served(&failed) >= 1
            && page.sum("http_client_request_duration_seconds_count", &failed) >= 1.0;
        both.then_some(())
    });
    let spans = observer.stop();
    // Python may run on this machine for others, too.
    let here = |span: &&Span| span.attribute("server.port") == server.port();
    let of = |kind: &str| {
        let mut spans = spans.iter().filter(here);
        spans
            .find(|span| span.kind() == kind && span.attribute("http.response.status_code") == 404)
            .unwrap()
    };
    let (client, served) = (of("client"), of("server"));
    assert_eq!(served.trace_id(), client.trace_id());
    assert_eq!(served.parent_span_id(), Some(client.span_id()));
    assert_eq!(client.parent_span_id(), None);
    // 404 is the client's error, not the server's.
    assert_eq!((client.status(), served.status()), ("error", "unset"));
    assert!(served.milliseconds() <= client.milliseconds());
}
