//! Many TLS handshakes at once: each connection is read, and none by another's secret.
//!
//! A program of its own, since it keeps all CPUs busy.
#![allow(clippy::unwrap_used, reason = "tests panic, they don't return errors")]

use std::{collections::HashMap, fs, process::Command};

use observer_tests::{
    Certificate, Environment, Folder, Observer, Server, Span, free_port, got, nginx_with,
};

/// Connections of [`every_one_of_many_handshakes_is_bound`]; by hand 10,000.
fn connections() -> usize {
    let asked = std::env::var("OBSERVER_TEST_HANDSHAKES");
    asked.map_or(1_500, |asked| asked.parse().unwrap())
}

/// KiB of memory that are the daemon's own.
fn memory(observer: &Observer) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", observer.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let number = line.unwrap().split_whitespace().nth(1);
    number.unwrap().parse().unwrap()
}

#[test]
fn every_one_of_many_handshakes_is_bound() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let certificate = Certificate::new();
    let (folder, port) = (Folder::new(), free_port());
    let at = certificate.path().display();
    let mut nginx = nginx_with(
        &folder,
        &format!(
            "server {{
               listen 127.0.0.1:{port} ssl; ssl_protocols TLSv1.2 TLSv1.3;
               ssl_certificate {at}/cert.pem; ssl_certificate_key {at}/key.pem;
               location /small {{ return 200 'a text'; }}
             }}"
        ),
    );
    let server = Server::start(&mut nginx, port);
    let selected = format!("--port={}", server.port());
    let observer = Observer::start(
        &environment,
        &[&selected, "--exe=python3*", "--span-rate=unlimited"],
    );
    let mut many = Command::new(environment.python("python3"));
    many.arg(Environment::programs().join("tls_many.py"))
        .arg(certificate.path())
        .args([port.to_string(), connections().to_string()]);
    let truth = got(&mut many);
    assert_eq!(truth.len(), connections());
    let page = observer.settled_page(truth.len() as u64);
    eprintln!("{} KiB are the daemon's own", memory(&observer));
    let mut spans = observer.stop();
    spans.retain(|span| span.attribute("server.port") == u64::from(port));
    let calls: HashMap<&str, &Span> = spans
        .iter()
        .filter(|span| span.kind() == "client")
        .map(|span| (span.target(), span))
        .collect();
    let served: HashMap<&str, &Span> = spans
        .iter()
        .filter(|span| span.kind() == "server")
        .map(|span| (span.target(), span))
        .collect();
    let troubles = page.troubles();
    assert_eq!(spans.len(), 2 * truth.len(), "{troubles}");
    for got in &truth {
        let (call, span) = (calls[&*got.path], served[&*got.path]);
        assert_eq!(span.status_code(), Some(got.status));
        assert_eq!(span.attribute("http.response.body.size"), got.size);
        assert_eq!(span.parent_span_id(), Some(call.span_id()), "{troubles}");
    }
}
