//! Both ends of what a client asks a server over TLS, seen, against what the client says it got.

use std::collections::HashMap;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::{Environment, Got, Observer, SIZES, Server, Span, got, patience};

/// Every size once, and what is not there.
pub fn paths() -> Vec<String> {
    SIZES
        .iter()
        .map(|size| format!("/bytes/{size}"))
        .chain(["/missing/1".to_owned(), "/missing/2".to_owned()])
        .collect()
}

/// The same with bodies that are sent.
pub fn paths_and_uploads() -> Vec<String> {
    let uploads = [1, 400, 16_384, 20_000, 100_000];
    let uploads = uploads.iter().map(|size| format!("/echo/{size}"));
    uploads.chain(paths()).collect()
}

/// Connections of a client that has several at once.
pub const CONNECTIONS: usize = 4;

/// Those of HTTP; handshakes have their own.
pub fn exchanges(mut spans: Vec<Span>) -> Vec<Span> {
    spans.retain(|span| span.name() != "TLS handshake");
    spans
}

/// What a span says of its exchange, as the client got it.
pub fn said(span: &Span) -> Got {
    assert!(!span.is_incomplete(), "{span:?}");
    assert_eq!(span.attribute("tls.protocol.name"), "tls", "{span:?}");
    Got {
        path: span.target().to_owned(),
        status: span.status_code().unwrap_or(0),
        size: span
            .attribute("http.response.body.size")
            .as_u64()
            .unwrap_or(u64::MAX),
    }
}

/// In order.
pub fn sorted(mut all: Vec<Got>) -> Vec<Got> {
    all.sort();
    all
}

/// Both ends of what a client asks a server, once it has: as many exchanges as it got answers, all as they were.
pub struct Seen {
    served: Vec<Span>,
    calls: Vec<Span>,
}

impl Seen {
    /// Runs the client. All is traced: a program that connects some milliseconds after its exec is not waited for.
    pub fn of(environment: &Environment, server: &Server, client: &mut Command) -> Self {
        let observer = Observer::start(environment, &["--span-rate=unlimited"]);
        let got = got(client);
        let port = format!("server_port=\"{}\"", server.port());
        let calls = || {
            let page = observer.page();
            page.sum("http_client_request_duration_seconds_count", &[&port]) as usize
        };
        // What does not come is said below, with why.
        let began = Instant::now();
        while calls() < got.len() && began.elapsed() < patience() / 2 {
            std::thread::sleep(Duration::from_millis(20));
        }
        let troubles = observer.settled_page(got.len() as u64).troubles();
        let (spans, log) = observer.stop_with_log();
        let is_its = |span: &Span| span.attribute("server.port") == u64::from(server.port());
        let (served, calls): (Vec<Span>, Vec<Span>) = exchanges(spans)
            .into_iter()
            .filter(is_its)
            .partition(|span| span.kind() == "server");
        let of = |spans: &[Span]| sorted(spans.iter().map(said).collect());
        let got = sorted(got);
        assert_eq!(of(&served), got, "the server's end; {troubles}\n{log}");
        assert_eq!(of(&calls), got, "the client's end; {troubles}\n{log}");
        Self { served, calls }
    }

    /// Each of the server's has its parent at the client.
    pub fn assert_joined(&self) {
        self.assert_joined_but(0);
    }

    /// The same but for so many, which have none: the first of a connection, at servers that read ahead.
    pub fn assert_joined_but(&self, most: usize) {
        let calls: HashMap<&str, &Span> = self
            .calls
            .iter()
            .map(|call| (call.span_id(), call))
            .collect();
        let mut alone = Vec::new();
        for span in &self.served {
            let Some(parent) = span.parent_span_id() else {
                alone.push(span.target());
                continue;
            };
            let call = calls
                .get(parent)
                .unwrap_or_else(|| panic!("nobody's child: {span:?}"));
            assert_eq!(
                call.target(),
                span.target(),
                "{call:?} is no parent of {span:?}"
            );
            assert_eq!(call.trace_id(), span.trace_id());
        }
        assert!(alone.len() <= most, "without a parent: {alone:?}");
    }
}
