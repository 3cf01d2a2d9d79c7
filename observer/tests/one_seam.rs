//! No protocol is told apart outside `src/protocol`.
//!
//! What a protocol is called, which attributes it has and how its exchanges are summed up stands in its own file; all
//! else reads a `Detail` through `Describe`. This reads the sources and says where that is not so.

#![allow(clippy::expect_used)] // Every function here is a test's; clippy sees only those with the attribute.

mod sources;

use std::fs;

/// What gives a protocol away.
const NAMES: &[&str] = &[
    "Detail::",
    "ProtocolId::Http",
    "ProtocolId::Dns",
    "HttpExchange",
    "DnsExchange",
    "conventions::http",
    ".http()",
    "\"http.",
    "\"dns.",
    "\"url.",
];

/// A file that only tests read.
fn is_test(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.ends_with("tests.rs")
        || path.contains("/tests/")
        || matches!(name, "samples.rs" | "script.rs" | "receiver.rs")
}

/// A file's text without its tests, which stand at its end.
fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod ").next().unwrap_or(text)
}

#[test]
fn no_protocol_is_told_apart_outside_its_own_files() {
    let (root, files) = sources::sources();
    let mut read = 0;
    let mut told = Vec::new();
    for file in files {
        let path = file.strip_prefix(&root).unwrap().to_str().unwrap();
        if path.starts_with("protocol/") || is_test(path) {
            continue;
        }
        read += 1;
        let text = fs::read_to_string(&file).unwrap();
        for (at, line) in without_tests(&text).lines().enumerate() {
            let code = line.split("//").next().unwrap_or(line);
            if let Some(name) = NAMES.iter().find(|name| code.contains(**name)) {
                told.push(format!("{path}:{}: {name}", at + 1));
            }
        }
    }
    assert!(read > 100, "only {read} sources were read");
    assert!(told.is_empty(), "{told:#?}");
}
