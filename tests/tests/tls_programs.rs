//! What is said over TLS is seen as what is said in the open: every exchange of these programs, with its status and its size, at
//! both ends, and both ends in one trace. Each program is as it is delivered, and knows nothing of it.
#![allow(clippy::unwrap_used, reason = "tests panic, they don't return errors")]

use std::collections::HashMap;
use std::process::Command;

use observer_tests::{
    Certificate, Environment, Folder, Got, Observer, SIZES, Server, Span, got, until,
};

/// Every size once, and what is not there.
fn paths() -> Vec<String> {
    SIZES
        .iter()
        .map(|size| format!("/bytes/{size}"))
        .chain(["/missing/1".to_owned(), "/missing/2".to_owned()])
        .collect()
}

/// The same with bodies that are sent.
fn paths_and_uploads() -> Vec<String> {
    let uploads = [1, 400, 16_384, 20_000, 100_000];
    let uploads = uploads.iter().map(|size| format!("/echo/{size}"));
    uploads.chain(paths()).collect()
}

/// Connections of a client that has several at once.
const CONNECTIONS: usize = 4;

/// Those of HTTP; handshakes have their own.
fn exchanges(mut spans: Vec<Span>) -> Vec<Span> {
    spans.retain(|span| span.name() != "TLS handshake");
    spans
}

/// What a span says of its exchange, as the client got it.
fn said(span: &Span) -> Got {
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

fn sorted(mut all: Vec<Got>) -> Vec<Got> {
    all.sort();
    all
}

/// Both ends of what a client asks a server, once it has: as many exchanges as it got answers, all as they were.
struct Seen {
    served: Vec<Span>,
    calls: Vec<Span>,
}

impl Seen {
    /// Runs the client. All is traced: a program that connects some milliseconds after its exec is not waited for.
    fn of(environment: &Environment, server: &Server, client: &mut Command) -> Self {
        let observer = Observer::start(environment, &["--span-rate=unlimited"]);
        let got = got(client);
        let port = format!("server_port=\"{}\"", server.port());
        until("the client's end is counted", || {
            let calls = observer
                .page()
                .sum("http_client_request_duration_seconds_count", &[&port]);
            (calls as usize >= got.len()).then_some(())
        });
        let troubles = observer.page_with(got.len() as u64).troubles();
        let is_its = |span: &Span| span.attribute("server.port") == u64::from(server.port());
        let (served, calls): (Vec<Span>, Vec<Span>) = exchanges(observer.stop())
            .into_iter()
            .filter(is_its)
            .partition(|span| span.kind() == "server");
        let of = |spans: &[Span]| sorted(spans.iter().map(said).collect());
        let got = sorted(got);
        assert_eq!(of(&served), got, "the server's end; {troubles}");
        assert_eq!(of(&calls), got, "the client's end; {troubles}");
        Self { served, calls }
    }

    /// Each of the server's has its parent at the client.
    fn assert_joined(&self) {
        self.assert_joined_but(0);
    }

    /// The same but for so many, which have none: the first of a connection, at servers that read ahead.
    fn assert_joined_but(&self, most: usize) {
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

#[test]
fn curl_and_nginx_over_tls_1_3_and_1_2() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let certificate = Certificate::new();
    for versions in ["TLSv1.3", "TLSv1.2"] {
        let folder = Folder::new();
        let server = Server::nginx_tls(&folder, &certificate, versions);
        let mut curl = certificate.curl(&server, &paths(), &[]);
        Seen::of(&environment, &server, &mut curl).assert_joined();
    }
}

#[test]
fn ciphers_of_both_versions() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let (certificate, folder) = (Certificate::new(), Folder::new());
    let server = Server::nginx_tls(&folder, &certificate, "TLSv1.2 TLSv1.3");
    for options in [
        ["--tls13-ciphers", "TLS_AES_128_GCM_SHA256"],
        ["--tls13-ciphers", "TLS_CHACHA20_POLY1305_SHA256"],
    ] {
        let mut curl = certificate.curl(&server, &paths(), &options);
        Seen::of(&environment, &server, &mut curl).assert_joined();
    }
    for cipher in [
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-ECDSA-AES128-SHA256",
        "ECDHE-ECDSA-AES256-SHA",
        "ECDHE-ECDSA-AES128-CCM",
        "ECDHE-ECDSA-AES256-CCM8",
    ] {
        let mut curl = certificate.curl(
            &server,
            &paths(),
            &["--tls-max", "1.2", "--ciphers", cipher],
        );
        Seen::of(&environment, &server, &mut curl).assert_joined();
    }
}

#[test]
fn requests_and_gunicorn() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let certificate = Certificate::new();
    let server = Server::gunicorn_tls(&environment, &certificate);
    for library in ["requests", "fresh"] {
        let mut client = certificate.python(&environment, library, &server, &paths_and_uploads());
        Seen::of(&environment, &server, &mut client).assert_joined();
    }
}

#[test]
fn httpx_and_aiohttp_and_uvicorn() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let certificate = Certificate::new();
    for event_loop in ["uvloop", "asyncio"] {
        let server = Server::uvicorn_tls(&environment, &certificate, event_loop);
        for library in ["httpx", "aiohttp"] {
            let mut client =
                certificate.python(&environment, library, &server, &paths_and_uploads());
            Seen::of(&environment, &server, &mut client).assert_joined_but(CONNECTIONS);
        }
    }
}

#[test]
fn node_at_both_ends() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let certificate = Certificate::new();
    let server = Server::node_tls(&certificate);
    for library in ["https", "fetch"] {
        let mut client = certificate.node(library, &server, &paths_and_uploads());
        Seen::of(&environment, &server, &mut client).assert_joined_but(CONNECTIONS);
    }
}

#[test]
fn go_at_both_ends_and_caddy() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let (certificate, folder) = (Certificate::new(), Folder::new());
    let server = Server::go_tls(&environment, &certificate);
    let mut client = certificate.go(&environment, &server, &paths_and_uploads());
    Seen::of(&environment, &server, &mut client).assert_joined();
    let server = Server::caddy_tls(&environment, &folder, &certificate);
    let mut client = certificate.go(&environment, &server, &paths());
    Seen::of(&environment, &server, &mut client).assert_joined();
}

#[test]
fn apaches_workers() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let (certificate, folder) = (Certificate::new(), Folder::new());
    let server = Server::apache_tls(&folder, &certificate);
    let mut client = certificate.python(&environment, "aiohttp", &server, &paths());
    Seen::of(&environment, &server, &mut client).assert_joined();
}

#[test]
fn wget_which_has_another_library() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let (certificate, folder) = (Certificate::new(), Folder::new());
    // The server would tell the same secrets: it is not looked at.
    let server = Server::nginx_tls(&folder, &certificate, "TLSv1.2 TLSv1.3");
    let observer = Observer::start(&environment, &["--exe=wget", "--span-rate=unlimited"]);
    let wanted: Vec<String> = paths()
        .into_iter()
        .filter(|path| path.starts_with("/bytes/"))
        .collect();
    let mut wget = Command::new("wget");
    wget.args(["--quiet", "--output-document=/dev/null", "--ca-certificate"])
        .arg(certificate.path().join("cert.pem"))
        .args(
            wanted
                .iter()
                .map(|path| format!("https://localhost:{}{path}", server.port())),
        );
    assert!(wget.status().unwrap().success());
    until("all is counted", || {
        let calls = observer
            .page()
            .sum("http_client_request_duration_seconds_count", &[]);
        (calls as usize >= wanted.len()).then_some(())
    });
    let seen: Vec<Got> = exchanges(observer.stop()).iter().map(said).collect();
    let expected = SIZES.iter().map(|size| Got {
        path: format!("/bytes/{size}"),
        status: 200,
        size: *size as u64,
    });
    assert_eq!(sorted(seen), sorted(expected.collect()));
}

#[test]
fn haproxy_between_two_hops() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let (certificate, folder, other) = (Certificate::new(), Folder::new(), Folder::new());
    let behind = Server::nginx_tls(&folder, &certificate, "TLSv1.3");
    let server = Server::haproxy_tls(&other, &certificate, &behind);
    let mut curl = certificate.curl(&server, &paths(), &[]);
    // haproxy's own calls are what nginx serves.
    let observer = Observer::start(
        &environment,
        &[
            &format!("--port={}", server.port()),
            &format!("--port={}", behind.port()),
            "--span-rate=unlimited",
        ],
    );
    let wanted = got(&mut curl);
    observer.page_with(2 * wanted.len() as u64);
    let spans = exchanges(observer.stop());
    for service in ["haproxy", "nginx"] {
        for kind in ["server", "client"] {
            let seen = spans
                .iter()
                .filter(|span| span.service() == service && span.kind() == kind);
            let seen: Vec<Got> = seen.map(said).collect();
            if (service, kind) == ("nginx", "client") {
                assert!(seen.is_empty());
            } else {
                assert_eq!(sorted(seen), sorted(wanted.clone()), "{service} {kind}");
            }
        }
    }
}
