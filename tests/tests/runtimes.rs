//! What the daemon counts and tells equals what the client saw, whatever the server is written in.
#![allow(clippy::unwrap_used, reason = "tests panic, they don't return errors")]

use observer_tests::{Answer, Client, Environment, Folder, Observer, Server, Span};

/// What one request was, and what the client saw of it.
struct Seen {
    method: &'static str,
    path: String,
    answer: Answer,
}

/// Drives a server and compares every number: exact counts under load, then methods, statuses and durations of
/// single requests.
fn proves(environment: &Environment, server: &Server, requests: &[(&'static str, &str)]) {
    let observer = Observer::watch(environment, server);
    let seen = send(server, requests);
    assert_exact_count(&observer, server, seen.len() as u64);
    let spans: Vec<Span> = observer
        .stop()
        .into_iter()
        .filter(|span| !span.path().starts_with("/bytes/12"))
        .collect();
    assert_eq!(spans.len(), seen.len(), "{spans:#?}");
    for (seen, span) in seen.iter().zip(in_order(spans)) {
        assert_matches(seen, &span);
    }
}

fn send(server: &Server, requests: &[(&'static str, &str)]) -> Vec<Seen> {
    let mut client = Client::connect(server.port()).unwrap();
    let send = |(method, path): &(&'static str, &str)| {
        let answer = match *method {
            "POST" => client.post(path, &[b'x'; 3000]),
            method => client.request(method, path, ""),
        };
        Seen {
            method,
            path: (*path).to_owned(),
            answer: answer.unwrap_or_else(|error| panic!("{method} {path}: {error}")),
        }
    };
    requests.iter().map(send).collect()
}

/// Eight connections, 250 requests each, counted to the last one.
fn assert_exact_count(observer: &Observer, server: &Server, before: u64) {
    const CONNECTIONS: u64 = 8;
    const EACH: u64 = 250;
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                let mut client = Client::connect(server.port()).unwrap();
                for _ in 0..EACH {
                    let path = "/bytes/12";
                    client.request("GET", path, "").unwrap();
                }
            });
        }
    });
    let all = before + CONNECTIONS * EACH;
    let page = observer.page_with(all);
    assert_eq!(page.lost(), 0.0, "{page:?}");
    assert_eq!(page.served(&[]), all);
}

fn in_order(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_by_key(Span::start_unix_nano);
    spans
}

fn assert_matches(seen: &Seen, span: &Span) {
    assert_eq!(span.kind(), "server");
    assert_eq!(span.method(), seen.method);
    assert_eq!(span.path(), seen.path);
    assert_eq!(
        span.status_code(),
        Some(seen.answer.status.into()),
        "{span:?}"
    );
    assert_eq!(
        span.status() == "error",
        seen.answer.status >= 500,
        "{span:?}"
    );
    assert!(!span.is_incomplete(), "{span:?}");
    assert!(!span.service().is_empty());
    assert_eq!((span.trace_id().len(), span.span_id().len()), (32, 16));
    let (server, client) = (span.milliseconds(), seen.answer.milliseconds);
    assert!(
        server <= client,
        "server {server} ms, client {client} ms: {span:?}"
    );
    if seen.path.starts_with("/sleep/") {
        let asked: f64 = seen.path[7..].parse().unwrap();
        assert!(server >= asked, "{server} ms of {asked}: {span:?}");
    }
}

/// For the servers that all answer the same paths.
const SERVICE: [(&str, &str); 9] = [
    ("GET", "/status/200"),
    ("GET", "/bytes/5000"),
    ("POST", "/echo"),
    ("DELETE", "/status/204"),
    ("GET", "/status/404"),
    ("PUT", "/status/201"),
    ("GET", "/sleep/60"),
    ("GET", "/status/500"),
    ("GET", "/bytes/300000"),
];

#[test]
fn nginx_is_counted_to_the_last_request() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let folder = Folder::new();
    std::fs::create_dir_all(folder.path().join("html/bytes")).unwrap();
    std::fs::write(folder.path().join("html/bytes/12"), "twelve bytes").unwrap();
    let server = Server::nginx(&folder);
    let requests = [
        ("GET", "/"),
        ("HEAD", "/"),
        ("GET", "/status/204"),
        ("GET", "/status/404"),
        ("GET", "/status/503"),
        ("GET", "/large"),
        ("DELETE", "/status/201"),
        ("GET", "/"),
    ];
    proves(&environment, &server, &requests);
}

#[test]
fn pythons_standard_library_is_counted_to_the_last_request() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    proves(&environment, &Server::stdlib("threads"), &SERVICE);
}

#[test]
fn gunicorn_is_counted_to_the_last_request() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    proves(&environment, &Server::gunicorn(&environment), &SERVICE);
}

#[test]
fn uvicorn_is_counted_to_the_last_request() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    proves(&environment, &Server::uvicorn(&environment), &SERVICE);
}

#[test]
fn node_is_counted_to_the_last_request() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    proves(&environment, &Server::node(), &SERVICE);
}

#[test]
fn go_is_counted_to_the_last_request() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    proves(&environment, &Server::go(&environment), &SERVICE);
}

#[test]
fn twenty_thousand_requests_at_full_speed_are_counted_to_the_last_one() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let folder = Folder::new();
    let server = Server::nginx(&folder);
    let observer = Observer::watch(&environment, &server);
    let output = std::process::Command::new("ab")
        .args(["-q", "-k", "-n", "20000", "-c", "16"])
        .arg(format!("http://127.0.0.1:{}/", server.port()))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let count = |name: &str| -> Option<u64> {
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.rsplit(' ').next()?.parse().ok()
    };
    assert_eq!(count("Complete requests:"), Some(20_000), "{text}");
    assert_eq!(count("Failed requests:"), Some(0), "{text}");
    let page = observer.page_with(20_000);
    assert_eq!(page.lost(), 0.0, "{page:?}");
    assert_eq!(page.served(&["http_response_status_code=\"200\""]), 20_000);
    assert_eq!(page.served(&[]), 20_000);
}
