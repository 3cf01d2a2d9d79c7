//! WebSocket connections: as many messages, from either end, as the programs count themselves, and how each ended.
#![allow(clippy::unwrap_used, reason = "tests panic, they don't return errors")]

use std::collections::HashMap;
use std::process::Command;
use std::time::{Duration, Instant};

use observer_tests::{Environment, Observer, Server, Span, free_port, patience};
use serde_json::Value;

const CONNECTIONS: usize = 60;

/// What the client counted, by path.
fn load(environment: &Environment, server: &Server, deflates: bool) -> HashMap<String, Value> {
    let mut client = Command::new(environment.python("python3"));
    client
        .arg(Environment::programs().join("websocket_load.py"))
        .args([
            server.port().to_string(),
            CONNECTIONS.to_string(),
            "4".into(),
        ]);
    if deflates {
        client.arg("deflate");
    }
    let output = client.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let counts = said.lines().map(|line| serde_json::from_str(line).unwrap());
    let counts: Vec<Value> = counts.collect();
    let by_path = |counts: Value| (counts["path"].as_str().unwrap().to_owned(), counts);
    counts.into_iter().map(by_path).collect()
}

/// Both ends of all connections, once they are counted.
fn spans(observer: Observer, server: &Server) -> Vec<Span> {
    let began = Instant::now();
    let count = |end: &str| {
        let family = format!("observer_websocket_{end}_connection_duration_seconds_count");
        observer.page().sum(&family, &[]) as usize
    };
    while count("server") < CONNECTIONS || count("client") < CONNECTIONS {
        if began.elapsed() > patience() / 2 {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let page = observer.page();
    let troubles = page.troubles();
    assert_eq!(
        [count("server"), count("client")],
        [CONNECTIONS; 2],
        "{troubles}"
    );
    let port = format!("server_port=\"{}\"", server.port());
    let as_http = page.sum("http_client_request_duration_seconds_count", &[&port]);
    assert_eq!(as_http, 0.0, "they are no requests that somebody waits for");
    let service = "service_name=\"websocket_server\"";
    let open = page.sum("http_server_active_requests", &[service]);
    assert_eq!(open, 0.0, "none is open");
    let mut spans = observer.stop();
    spans.retain(|span| span.attribute("server.port") == u64::from(server.port()));
    spans
}

fn each_message_is_counted(server: impl FnOnce(&Environment, u16) -> Command, deflates: bool) {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let port = free_port();
    let server = Server::start(&mut server(&environment, port), port);
    let observer = Observer::start(
        &environment,
        &["--span-rate=unlimited", "--exe=python3*", "--exe=node"],
    );
    let counts = load(&environment, &server, deflates);
    let spans = spans(observer, &server);
    assert_eq!((spans.len(), counts.len()), (2 * CONNECTIONS, CONNECTIONS));
    let calls: HashMap<&str, &Span> = spans
        .iter()
        .filter(|span| span.kind() == "client")
        .map(|span| (span.span_id(), span))
        .collect();
    let mut doubtful = 0;
    for span in &spans {
        let counted = &counts[span.target()];
        let number = |key: &str| span.attribute(&format!("observer.websocket.{key}")).clone();
        assert_eq!(span.status_code(), Some(101), "{span:?}");
        let is_exact = !number("request.messages").is_null();
        doubtful += usize::from(!is_exact);
        for (said, counts) in [
            ("request.messages", "sent"),
            ("response.messages", "got"),
            ("request.bytes", "sent_bytes"),
            ("response.bytes", "got_bytes"),
        ] {
            if deflates && said.ends_with("bytes") {
                continue;
            }
            if is_exact {
                assert_eq!(number(said), counted[counts], "{counted}, {span:?}");
            } else {
                let at_least = number(&format!("{said}.at_least")).as_u64();
                assert!(at_least <= counted[counts].as_u64(), "{counted}, {span:?}");
            }
        }
        if !is_exact && number("close.code").is_null() {
            continue;
        }
        let (by, code, error) = match counted["end"].as_str().unwrap() {
            "close" => (Some("client"), 1000, None),
            "close 4000" => (Some("client"), 4000, Some("4000")),
            "close 1001" => (Some("server"), 1001, None),
            "close 4001" => (Some("server"), 4001, Some("4001")),
            _ => (None, 1006, Some("connection_")),
        };
        assert_eq!(number("close.code"), code, "{counted}, {span:?}");
        assert_eq!(number("close.by").as_str(), by, "{counted}, {span:?}");
        let found = span.attribute("error.type").as_str();
        assert_eq!(found.is_some(), error.is_some(), "{span:?}");
        assert!(
            found
                .unwrap_or_default()
                .starts_with(error.unwrap_or_default()),
            "{span:?}"
        );
        assert_eq!(span.is_incomplete(), by.is_none(), "{span:?}");
        assert!(span.milliseconds() > 3000.0, "{span:?}");
        assert!(!format!("{span:?}").contains("secret"), "{span:?}");
        if span.kind() == "server" {
            let call = calls[span.parent_span_id().unwrap()];
            assert_eq!(call.target(), span.target());
        }
    }
    // Of a message that is sent bit by bit just when the kernel is told to look for frames.
    assert!(doubtful <= CONNECTIONS / 10, "{doubtful} are not exact");
}

fn node(port: u16) -> Command {
    let mut node = Command::new("node");
    node.arg(Environment::programs().join("websocket_server.js"))
        .arg(port.to_string())
        .env("NODE_PATH", "/usr/share/nodejs");
    node
}

fn python(environment: &Environment, port: u16) -> Command {
    let mut python = Command::new(environment.python("python3"));
    python
        .arg(Environment::programs().join("websocket_server.py"))
        .arg(port.to_string());
    python
}

#[test]
fn each_message_of_a_server_on_node_is_counted() {
    each_message_is_counted(|_, port| node(port), false);
}

#[test]
fn each_message_of_a_server_on_python_is_counted() {
    each_message_is_counted(python, false);
}

#[test]
fn each_compressed_message_is_counted() {
    let deflates = |_: &Environment, port| {
        let mut node = node(port);
        node.arg("deflate");
        node
    };
    each_message_is_counted(deflates, true);
}
