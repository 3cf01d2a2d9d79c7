//! The names that are exported are those of the semantic conventions that the schema says: none that they renamed before.
//!
//! This reads the sources. That every name of today is one of theirs was compared with their registry by hand.

#![allow(clippy::expect_used)] // Every function here is a test's; clippy sees only those with the attribute.

mod sources;

use std::fs;

/// Attributes and metrics that have another name in 1.45, of what this daemon tells or may tell (`schemas/1.45.0`, and the
/// change logs for HTTP and for RPC, whose changes the schemas leave out).
const RENAMED: &[&str] = &[
    "container.runtime",
    "db.client.connection.max",
    "db.name",
    "db.operation",
    "db.sql.table",
    "db.statement",
    "db.system",
    "http.client.duration",
    "http.client_ip",
    "http.flavor",
    "http.method",
    "http.request_content_length",
    "http.response_content_length",
    "http.scheme",
    "http.server.duration",
    "http.status_code",
    "http.target",
    "http.url",
    "http.user_agent",
    "messaging.client_id",
    "messaging.kafka.consumer.group",
    "messaging.kafka.message.offset",
    "messaging.operation",
    "net.host.name",
    "net.host.port",
    "net.peer.name",
    "net.peer.port",
    "net.protocol.name",
    "net.protocol.version",
    "net.sock.peer.addr",
    "net.transport",
    "peer.service",
    "process.open_file_descriptor.count",
    "rpc.client.duration",
    "rpc.grpc.status_code",
    "rpc.server.duration",
    "rpc.system",
    "tls.client.server_name",
];

/// The renamed names that stand in a text, each in quotes.
fn renamed(text: &str) -> Vec<&'static str> {
    let stands = |name: &&&str| text.contains(&format!("\"{name}\""));
    RENAMED.iter().filter(stands).copied().collect()
}

#[test]
fn no_name_is_one_that_the_conventions_renamed() {
    let (_, files) = sources::sources();
    assert!(files.len() > 100, "only {} sources were found", files.len());
    let mut found = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("a source");
        let names = renamed(&text);
        if !names.is_empty() {
            found.push((file, names));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn an_old_name_is_noticed_and_a_longer_one_is_not_taken_for_it() {
    assert_eq!(renamed(r#"out.text("http.method", verb)"#), ["http.method"]);
    assert!(renamed(r#"out.text("rpc.system.name", "grpc")"#).is_empty());
}
