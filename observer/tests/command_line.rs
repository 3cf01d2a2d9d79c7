//! The binary as a person meets it: exit codes, messages, and the demo's services.

#![allow(clippy::unwrap_used)] // Every function here is a test's; clippy sees only those with the attribute.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::process::ExitStatusExt,
    process::{self, Child, Command, Output, Stdio},
    thread,
};

fn observer() -> Command {
    Command::new(env!("CARGO_BIN_EXE_observer"))
}

fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = observer().args(arguments).output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[test]
fn a_refused_flag_exits_2_and_says_what_is_accepted() {
    let (code, said) = run(&["run", "--port", "90-80"]);
    assert_eq!(code, Some(2));
    assert!(
        said.contains("N or N-M with 1 <= N <= M <= 65535"),
        "{said}"
    );
    assert_eq!(run(&["trace"]).0, Some(2));
    assert_eq!(run(&[]).0, Some(2));
}

#[test]
fn a_refused_file_exits_2_and_names_file_and_line() {
    let path = std::env::temp_dir().join(format!("observer-refused-{}.yaml", process::id()));
    fs::write(&path, "tier: socket\nlimits:\n  ring_bytes: 5000\n").unwrap();
    let path = path.to_str().unwrap();
    let (code, said) = run(&["run", "--config", path]);
    fs::remove_file(path).unwrap();
    assert_eq!(code, Some(2));
    let expected = format!(
        "observer: {path}:3:15: `5000` is not a ring size: write a power of two from 64KiB to 256MiB, e.g. 4MiB\n"
    );
    assert_eq!(said, expected);
    assert_eq!(run(&["run", "--config", "/nonexistent"]).0, Some(2));
}

#[test]
fn without_capabilities_it_names_them_and_exits_1() {
    // Root may give its capabilities up; where the tests don't run as root there are none to begin with.
    let setpriv = Command::new("setpriv")
        .args([
            "--bounding-set=-perfmon,-bpf,-sys_admin",
            "--inh-caps=-perfmon,-bpf,-sys_admin",
        ])
        .args([env!("CARGO_BIN_EXE_observer"), "run"])
        .output();
    let Ok(Output { status, stderr, .. }) = setpriv else {
        eprintln!("skipped: there is no setpriv");
        return;
    };
    let said = String::from_utf8(stderr).unwrap();
    if said.contains("setpriv:") {
        eprintln!("skipped: {said}");
        return;
    }
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(
        said.contains("CAP_BPF ") && said.contains("CAP_PERFMON ") && said.contains("What to do:"),
        "{said}"
    );
}

#[test]
fn a_refused_variable_exits_2_and_is_named() {
    let Output { status, stderr, .. } = observer()
        .args(["run", "--prometheus", "off", "--duration", "1s"])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "nonsense")
        .output()
        .unwrap();
    let said = String::from_utf8(stderr).unwrap();
    if said.contains("cannot trace: this process lacks") {
        eprintln!("skipped: privileges come first");
        return;
    }
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(
        said.contains("OTEL_EXPORTER_OTLP_ENDPOINT=\"nonsense\""),
        "{said}"
    );
}

fn service(arguments: &[&str]) -> (Child, String) {
    let parent = process::id().to_string();
    let mut child = observer()
        .args(["demo-service", "--parent", &parent])
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    (child, line.trim_end().to_owned())
}

#[test]
fn the_demo_services_answer_and_keep_connections_alive() {
    let (mut catalog, catalog_address) = service(&["catalog"]);
    let (mut payments, payments_address) = service(&["payments"]);
    let (mut gateway, address) = service(&["gateway", &catalog_address, &payments_address]);
    let mut stream = TcpStream::connect(&address).unwrap();
    for (request, statuses) in [
        ("GET /health", ["200"].as_slice()),
        ("GET /orders/1234", &["200", "502"]),
        ("POST /orders", &["201", "502"]),
        (
            "GET /users/1e7f0b7e-0000-4000-8000-000000000000",
            &["200", "404"],
        ),
        ("GET /favicon.ico", &["404"]),
    ] {
        write!(
            stream,
            "{request} HTTP/1.1\r\nHost: shop\r\nContent-Length: 2\r\n\r\n{{}}"
        )
        .unwrap();
        let mut answer = [0; 4096];
        let length = stream.read(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
        assert!(
            statuses
                .iter()
                .any(|status| answer.starts_with(&format!("HTTP/1.1 {status} "))),
            "{request}: {answer}"
        );
    }
    for child in [&mut gateway, &mut payments, &mut catalog] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn the_demo_services_end_with_the_thread_that_started_them() {
    let mut child = thread::spawn(|| service(&["catalog"]).0).join().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
}
