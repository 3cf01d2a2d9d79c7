//! gRPC between real libraries: every call seen at both ends, with the status that its caller got, and its messages counted.
#![allow(clippy::unwrap_used, reason = "tests panic, they don't return errors")]

use std::collections::HashMap;
use std::process::{Command, Stdio};

use observer_tests::{Certificate, Environment, Observer, Server, Span, free_port};

fn go(environment: &Environment) -> Command {
    Command::new(environment.go_grpc())
}

fn python(environment: &Environment) -> Command {
    let mut python = Command::new(environment.python("python3"));
    python
        .current_dir(Environment::programs())
        .arg("grpc_service.py")
        .env("PYTHONDONTWRITEBYTECODE", "1");
    python
}

fn serve(mut command: Command, arguments: &[&str]) -> Server {
    let port = free_port();
    command.args(["serve", &port.to_string()]).args(arguments);
    Server::start(&mut command, port)
}

/// What the callers got: how many calls ended with each status.
fn load(mut command: Command, server: &Server, arguments: &[&str]) -> HashMap<String, usize> {
    command.args(["load", &server.port().to_string()]);
    let output = command
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| {
            let (status, count) = line.split_once(' ').unwrap();
            (name(status), count.parse().unwrap())
        })
        .collect()
}

/// gRPC's own name of a status, as Go and Python write it.
fn name(status: &str) -> String {
    match status {
        "NotFound" => "NOT_FOUND".into(),
        "Unimplemented" => "UNIMPLEMENTED".into(),
        other => other.to_uppercase(),
    }
}

/// One call of each kind, many times: what it ends with, messages and bytes each way.
struct Kind {
    name: &'static str,
    status: &'static str,
    messages: [u64; 2],
}

const KINDS: [Kind; 5] = [
    kind("Echo", "OK", [1, 1]),
    kind("Fail", "NOT_FOUND", [1, 0]),
    kind("Chat", "OK", [5, 5]),
    kind("Many", "OK", [1, 10]),
    kind("Nope", "UNIMPLEMENTED", [1, 0]),
];

const fn kind(name: &'static str, status: &'static str, messages: [u64; 2]) -> Kind {
    Kind {
        name,
        status,
        messages,
    }
}

const CALLS: usize = 200;

/// Compares both ends of all calls of each kind with what the callers got.
fn compare(
    environment: &Environment,
    server: &Server,
    ask: impl Fn(&Kind) -> HashMap<String, usize>,
) {
    let observer = Observer::start(environment, &["--span-rate=unlimited"]);
    for kind in &KINDS {
        let got = ask(kind);
        assert_eq!(
            got,
            HashMap::from([(kind.status.to_owned(), CALLS)]),
            "{}",
            kind.name
        );
    }
    observer.settled_page(0);
    let troubles = observer.page().troubles();
    let spans = observer.stop();
    joined(&spans, server);
    for kind in &KINDS {
        for end in ["client", "server"] {
            let prefix = format!("test.Service/{}.", kind.name);
            let its = |span: &&Span| {
                span.name().starts_with(&prefix)
                    && span.kind() == end
                    && span.attribute("server.port") == u64::from(server.port())
            };
            let spans: Vec<&Span> = spans.iter().filter(its).collect();
            assert_eq!(spans.len(), CALLS, "{} {end}: {troubles}", kind.name);
            for span in spans {
                check(span, kind, &troubles);
            }
        }
    }
}

/// Each call's two ends are parent and child, in one trace.
fn joined(spans: &[Span], server: &Server) {
    let by_id: HashMap<&str, &Span> = spans.iter().map(|span| (span.span_id(), span)).collect();
    let its = |span: &&Span| {
        span.kind() == "server"
            && span.attribute("rpc.system.name") == "grpc"
            && span.attribute("server.port") == u64::from(server.port())
    };
    for span in spans.iter().filter(its) {
        let parent = span.parent_span_id().unwrap_or_else(|| panic!("{span:?}"));
        let parent = by_id[parent];
        assert_eq!(parent.kind(), "client");
        assert_eq!(parent.name(), span.name());
        assert_eq!(parent.trace_id(), span.trace_id());
        assert_eq!(span.attribute("observer.parent.method"), "handoff");
        assert!(parent.start_unix_nano() <= span.start_unix_nano());
    }
}

fn check(span: &Span, kind: &Kind, troubles: &str) {
    let number: u64 = span.name().rsplit('.').next().unwrap().parse().unwrap();
    assert_eq!(span.attribute("rpc.system.name"), "grpc");
    assert_eq!(span.attribute("rpc.method"), span.name());
    assert_eq!(
        span.attribute("rpc.response.status_code"),
        kind.status,
        "{span:?}"
    );
    assert!(!span.is_incomplete(), "{span:?}");
    let is_error = !matches!(
        (kind.status, span.kind()),
        ("OK", _) | ("NOT_FOUND", "server")
    );
    assert_eq!(span.status() == "error", is_error, "{span:?}");
    let size = 5 + 10 + number % 100;
    for (way, messages) in ["request", "response"].into_iter().zip(kind.messages) {
        if kind.name == "Nope" && way == "request" {
            // Whether it is sent before the refusal comes is the client's affair.
            continue;
        }
        let counted = span.attribute(&format!("observer.rpc.{way}.messages"));
        assert_eq!(*counted, messages, "{way} of {span:?}: {troubles}");
        let moved = span.attribute(&format!("observer.rpc.{way}.size"));
        assert_eq!(*moved, messages * size, "{way} of {span:?}");
    }
}

#[test]
fn go_at_both_ends() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let server = serve(go(&environment), &[]);
    compare(&environment, &server, |kind| {
        load(
            go(&environment),
            &server,
            &[&CALLS.to_string(), "10", "2", kind.name],
        )
    });
}

#[test]
fn go_over_tls() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let certificate = Certificate::new();
    let mut command = go(&environment);
    command.env("GRPC_TLS_SERVE", certificate.path());
    let server = serve(command, &[]);
    compare(&environment, &server, |kind| {
        let mut command = go(&environment);
        command.env("GRPC_TLS_ASK", certificate.path());
        load(
            command,
            &server,
            &[&CALLS.to_string(), "10", "2", kind.name],
        )
    });
}

#[test]
fn python_asks_go() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let server = serve(go(&environment), &[]);
    compare(&environment, &server, |kind| {
        load(
            python(&environment),
            &server,
            &[&CALLS.to_string(), "10", kind.name],
        )
    });
}

#[test]
fn go_asks_python_with_threads_and_on_asyncio() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    for model in ["sync", "aio"] {
        let server = serve(python(&environment), &[model]);
        compare(&environment, &server, |kind| {
            load(
                go(&environment),
                &server,
                &[&CALLS.to_string(), "10", "2", kind.name],
            )
        });
    }
}

#[test]
fn a_call_that_is_given_up_says_so_and_no_call_has_anothers_parent() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let last = serve(go(&environment), &[]);
    let first = serve(go(&environment), &[&last.port().to_string()]);
    let observer = Observer::start(&environment, &["--span-rate=unlimited"]);
    let got = load(go(&environment), &last, &["100", "10", "1", "Deadline"]);
    assert_eq!(got, HashMap::from([("DEADLINEEXCEEDED".to_owned(), 100)]));
    let got = load(go(&environment), &first, &["500", "16", "2", "Next"]);
    assert_eq!(got, HashMap::from([("OK".to_owned(), 500)]));
    observer.settled_page(0);
    let spans = observer.stop();
    let slow: Vec<&Span> = spans
        .iter()
        .filter(|span| span.name().starts_with("test.Service/Slow.") && span.kind() == "server")
        .collect();
    assert_eq!(slow.len(), 100);
    for span in slow {
        let error = span.attribute("error.type").as_str().unwrap();
        assert!(["CANCEL", "DEADLINE_EXCEEDED"].contains(&error), "{span:?}");
        assert_eq!(span.status(), "error");
        assert!(span.attribute("observer.rpc.timeout").as_f64().unwrap() <= 0.01);
    }
    let by_id: HashMap<&str, &Span> = spans.iter().map(|span| (span.span_id(), span)).collect();
    let tag = |span: &Span| span.name().rsplit('.').next().map(str::to_owned);
    let mut joined = 0;
    for span in &spans {
        let parent = span.parent_span_id().and_then(|id| by_id.get(id));
        if let Some(parent) = parent {
            assert_eq!(tag(span), tag(parent), "{span:?} has the parent {parent:?}");
            joined += 1;
        }
    }
    // Both ends of each call; what a service was asked is not known to be why it asks.
    assert_eq!(joined, 100 + 2 * 500);
}
