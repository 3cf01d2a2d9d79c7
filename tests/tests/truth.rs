//! The truth harness on few rows: chains of real services whose true parents are known (`cargo xtask truth`).
#![allow(clippy::unwrap_used, reason = "tests panic, they don't return errors")]

use std::process::Command;

use observer_tests::Environment;

/// Runs a runtime's chain at 1, 8 and 64 requests at once. A wrong parent, a malformed span or a failed request fails it;
/// too few right parents do, unless `--no-floors` is among the arguments.
fn assert_true(runtime: &str, arguments: &[&str]) {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let output = Command::new(environment.xtask())
        .args(["truth", "--quick", "--requests=60", "--runtime", runtime])
        .args([
            "--case=calls",
            "--case=proxy",
            "--case=after",
            "--case=timer",
        ])
        .arg("--binary")
        .arg(environment.binary())
        .args(arguments)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn every_parent_in_a_thread_per_request_service_is_found() {
    assert_true("python-threads", &[]);
}

#[test]
fn every_parent_in_a_prefork_service_is_found() {
    assert_true("gunicorn-sync", &[]);
}

#[test]
fn no_parent_in_an_epoll_proxy_is_wrong() {
    assert_true("nginx", &["--no-floors"]);
}

#[test]
fn no_parent_in_node_is_wrong() {
    assert_true("node-http", &["--no-floors", "--case=pieces"]);
}

#[test]
fn no_parent_in_go_is_wrong() {
    assert_true("go", &["--no-floors"]);
}

#[test]
fn every_parent_in_puma_is_found_whoever_read_the_request() {
    assert_true("puma", &[]);
}

#[test]
fn no_parent_in_tokio_is_wrong() {
    assert_true("tokio-4", &["--no-floors"]);
}

#[test]
fn no_parent_in_asyncio_is_wrong() {
    assert_true("asyncio-aiohttp", &["--no-floors"]);
}
