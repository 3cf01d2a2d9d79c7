//! TLS that stays closed is said and counted, costs who speaks it nothing, and nothing is made up for it.
#![allow(clippy::unwrap_used, reason = "tests panic, they don't return errors")]

use std::fs;
use std::process::Command;

use observer_tests::{
    Certificate, Environment, Got, Observer, Page, Server, Span, exchanges, free_port, got, until,
};

fn of_tls(page: &Page, event: &str) -> u64 {
    page.sum("observer_tls", &[&format!("event=\"{event}\"")]) as u64
}

/// `programs/JavaTls.java`.
fn java(arguments: &[&str], certificate: &Certificate) -> Command {
    let mut java = Command::new("java");
    java.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"])
        .arg(Environment::programs().join("JavaTls.java"))
        .arg(arguments[0])
        .arg(certificate.path())
        .args(&arguments[1..]);
    java
}

#[test]
fn javas_own_library_is_said_to_be_closed() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let (certificate, port) = (Certificate::new(), free_port());
    let port_text = port.to_string();
    let server = Server::start(&mut java(&["serve", &port_text], &certificate), port);
    let observer = Observer::start(&environment, &["--span-rate=unlimited"]);
    let url = format!("https://localhost:{port}");
    let paths = ["/bytes/1", "/bytes/1000", "/bytes/70000", "/missing"];
    let mut arguments = vec!["get", &url];
    arguments.extend(paths);
    let answers = got(&mut java(&arguments, &certificate));
    let expected = [(200, 1), (200, 1000), (200, 70_000), (404, 0)];
    let expected = paths
        .iter()
        .zip(expected)
        .map(|(path, (status, size))| Got {
            path: (*path).to_owned(),
            status,
            size,
        });
    assert_eq!(answers, expected.collect::<Vec<_>>());
    // One connection, both of whose ends are here.
    let page = until("both ends are given up", || {
        let page = observer.page();
        (of_tls(&page, "no_key") >= 2).then_some(page)
    });
    assert_eq!(of_tls(&page, "connections"), 2);
    assert_eq!(of_tls(&page, "connections_read"), 0);
    until("the server is among the unknown", || {
        let unknown = observer.page().sum("observer_tls_unknown_processes", &[]);
        (unknown >= 1.0).then_some(())
    });
    let (spans, log) = observer.stop_with_log();
    let program = fs::read_link(format!("/proc/{}/exe", server.pid())).unwrap();
    let line = format!("TLS in {} is not read", program.display());
    let said = log.lines().filter(|text| text.contains(&line));
    assert_eq!(said.count(), 1, "{log}");
    let its = |span: &Span| span.attribute("server.port") == u64::from(port);
    let made_up: Vec<Span> = exchanges(spans).into_iter().filter(its).collect();
    assert!(made_up.is_empty(), "{made_up:?}");
}
