//! TLS key points of real programs: what `observer doctor --tls` names is where their secrets pass.
//!
//! The proof is a debugger's breakpoint at the place that is named: what it sees in the registers that belong to the point,
//! the peer's own key log says, too, and nothing else is seen. None of the programs logs keys.
#![allow(clippy::unwrap_used, reason = "tests panic, they don't return errors")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use observer_tests::{Certificate, Environment, Folder, Server, openssl_client, packaged, until};
use serde_json::Value;

/// Label and secret in hex.
type Secrets = BTreeSet<(String, String)>;

/// A key point, as it is reported.
struct Point {
    file: PathBuf,
    offset: u64,
    kind: String,
    found_by: String,
}

fn doctor(environment: &Environment, file: &Path) -> Value {
    let output = Command::new(environment.binary())
        .args(["doctor", "--json", "--tls"])
        .arg(file)
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let found = &report["files"][0];
    let any = found["points"][0].is_object();
    assert_eq!(output.status.code(), Some(i32::from(!any)), "{report}");
    found.clone()
}

/// The only point of a file.
fn point(environment: &Environment, file: &Path) -> Point {
    let file = fs::canonicalize(file).unwrap();
    let found = doctor(environment, &file);
    let text = |name: &str| {
        found["points"][0][name]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    assert_eq!(found["points"].as_array().map(Vec::len), Some(1), "{found}");
    // Each label is where it is said to be.
    let bytes = fs::read(&file).unwrap();
    let labels = found["labels"].as_array().unwrap();
    assert!(labels.len() >= 5, "{found}");
    for label in labels {
        let offset = label["offset"].as_u64().unwrap() as usize;
        let label = label["label"].as_str().unwrap();
        assert!(bytes[offset..].starts_with(label.as_bytes()), "{label}");
    }
    eprintln!("{}: {} ms", file.display(), found["milliseconds"]);
    Point {
        offset: found["points"][0]["offset"].as_u64().unwrap(),
        kind: text("kind"),
        found_by: text("found_by"),
        file,
    }
}

/// A debugger at a point.
struct Debugger {
    child: Child,
    seen: Arc<Mutex<Secrets>>,
    reader: JoinHandle<()>,
}

impl Debugger {
    fn at(point: &Point, pid: u32) -> Self {
        let registers = match point.kind.as_str() {
            "secrets with labels" => ["rsi", "-", "rdx", "rcx"],
            "secrets with labels (Go)" => ["rbx", "rcx", "r9", "r10"],
            other => panic!("{other}"),
        };
        let mut child = Command::new("python3")
            .arg(Environment::programs().join("key_point.py"))
            .arg(pid.to_string())
            .arg(&point.file)
            .arg(point.offset.to_string())
            .args(registers)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        let seen = Arc::new(Mutex::new(Secrets::new()));
        let to = Arc::clone(&seen);
        let reader = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                to.lock()
                    .unwrap()
                    .extend(secrets(line.split_once(' ').into_iter()));
            }
        });
        Self {
            child,
            seen,
            reader,
        }
    }

    /// How many secrets it has seen.
    fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// Ends it: what it saw.
    fn end(mut self) -> Secrets {
        drop(self.child.stdin.take());
        self.reader.join().unwrap();
        assert!(self.child.wait().unwrap().success());
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

/// Go tells no exporter's secret; nothing is read with it.
fn secrets<'a>(lines: impl Iterator<Item = (&'a str, &'a str)>) -> Secrets {
    lines
        .filter(|(label, _)| *label != "EXPORTER_SECRET" && !label.starts_with('#'))
        .map(|(label, secret)| (label.to_owned(), secret.to_lowercase()))
        .collect()
}

/// What a key log says: label, client's random, secret.
fn logged(log: &Path) -> Secrets {
    let text = fs::read_to_string(log).unwrap_or_default();
    secrets(text.lines().filter_map(|line| {
        let (label, rest) = line.split_once(' ')?;
        Some((label, rest.split_once(' ')?.1))
    }))
}

/// Those of a handshake of TLS 1.3 without 0-RTT, but for the exporter's, and the one of TLS 1.2.
const EXPECTED: usize = 4 + 1;

/// All that was seen was logged, and the reverse. (Secrets are in no test's output.)
fn assert_same(seen: &Secrets, logged: &Secrets) {
    let labels = |secrets: &Secrets| -> Vec<String> {
        secrets.iter().map(|(label, _)| label.clone()).collect()
    };
    assert!(seen == logged, "{:?} {:?}", labels(seen), labels(logged));
    assert_eq!(seen.len(), EXPECTED, "{:?}", labels(seen));
}

/// Handshakes of both versions with a server, whose thread that serves them is in the process `pid`.
fn prove_server(environment: &Environment, file: &Path, port: u16, pid: u32) -> Point {
    let point = point(environment, file);
    let folder = Folder::new();
    let log = folder.path().join("log");
    let debugger = Debugger::at(&point, pid);
    for (version, count) in [("-tls1_3", 4), ("-tls1_2", EXPECTED)] {
        let mut client = openssl_client(port, version, &log);
        let mut input = client.stdin.take().unwrap();
        let _ = input.write_all(b"GET / HTTP/1.0\r\n\r\n");
        until("both ends told their secrets", || {
            (logged(&log).len() >= count && debugger.count() >= count).then_some(())
        });
        drop(input);
        let _ = client.kill();
        client.wait().unwrap();
    }
    assert_same(&debugger.end(), &logged(&log));
    point
}

/// A handshake of each version by a client, which `command` starts with a port; `library` is mapped by then.
fn prove_client(
    environment: &Environment,
    library: &Path,
    options: &[&str],
    command: impl Fn(u16) -> Command,
) -> Point {
    let point = point(environment, library);
    let certificate = Certificate::new();
    let log = certificate.path().join("log");
    let mut seen = Secrets::new();
    for version in ["1.3", "1.2"] {
        let mut server = Command::new("python3")
            .arg(Environment::programs().join("tls_late.py"))
            .arg(certificate.path())
            .arg(&log)
            .arg(version)
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
        let port = lines.next().unwrap().unwrap().parse().unwrap();
        let mut client = command(port)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), "connected");
        let debugger = Debugger::at(&point, client.id());
        server.stdin.take().unwrap().write_all(b"\n").unwrap();
        server.wait().unwrap();
        seen.extend(debugger.end());
        let _ = client.kill();
        client.wait().unwrap();
    }
    assert_same(&seen, &logged(&log));
    point
}

/// The library of this name that a process has loaded.
fn loaded(pid: u32, name: &str) -> PathBuf {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let path = maps
        .lines()
        .filter_map(|line| line.split_ascii_whitespace().nth(5))
        .find(|path| path.rsplit('/').next().unwrap().starts_with(name));
    PathBuf::from(path.unwrap_or_else(|| panic!("no {name} in {maps}")))
}

#[test]
fn debians_openssl_in_python_tells_its_secrets_where_it_is_said() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let (certificate, folder) = (Certificate::new(), Folder::new());
    let nginx = Server::nginx(&folder);
    let next = format!("http://127.0.0.1:{}", nginx.port());
    let server = Server::tls_hop(&certificate, &next, &["--answer-tls"]);
    let library = loaded(server.pid(), "libssl.so");
    let point = prove_server(&environment, &library, server.port(), server.pid());
    assert!(point.found_by.contains("label"), "{}", point.found_by);
    // The same by the process, whose other files have nothing to do with TLS.
    let output = Command::new(environment.binary())
        .args(["doctor", "--tls", &server.pid().to_string()])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let place = format!("at file offset {:#x}", point.offset);
    assert!(
        text.contains(&place) && text.contains("other files"),
        "{text}"
    );
}

#[test]
fn a_static_stripped_openssl_in_nginx_tells_its_secrets_where_it_is_said() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let (certificate, folder) = (Certificate::new(), Folder::new());
    let (program, server) = Server::static_nginx(&environment, &certificate, &folder);
    let point = prove_server(&environment, &program, server.port(), server.pid());
    assert!(point.found_by.contains("label"), "{}", point.found_by);
}

#[test]
fn a_static_stripped_boringssl_in_envoy_tells_its_secrets_where_it_is_said() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let (certificate, folder) = (Certificate::new(), Folder::new());
    let (program, server) = Server::envoy(&environment, &certificate, &folder);
    let point = prove_server(&environment, &program, server.port(), server.pid());
    assert!(point.found_by.contains("7 labels"), "{}", point.found_by);
}

#[test]
fn a_stripped_go_program_tells_its_secrets_where_it_is_said() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let (certificate, folder) = (Certificate::new(), Folder::new());
    let (program, server) = Server::caddy(&environment, &certificate, &folder);
    let point = prove_server(&environment, &program, server.port(), server.pid());
    assert_eq!(point.found_by, "by the table of functions");
}

#[test]
fn node_tells_its_secrets_where_it_is_said() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let certificate = Certificate::new();
    let server = Server::node_tls(&certificate);
    // Debian's links the system's library, others have their own.
    let shared = Command::new("node")
        .args(["-p", "process.config.variables.node_shared_openssl"])
        .output()
        .unwrap();
    let program = fs::read_link(format!("/proc/{}/exe", server.pid())).unwrap();
    if shared.stdout.starts_with(b"true") {
        let found = doctor(&environment, &program);
        assert!(found["why_not"].is_string(), "{found}");
        let library = loaded(server.pid(), "libssl.so");
        prove_server(&environment, &library, server.port(), server.pid());
    } else {
        let point = prove_server(&environment, &program, server.port(), server.pid());
        assert_eq!(point.found_by, "by its symbol");
    }
}

#[test]
fn gnutls_tells_its_secrets_where_it_is_said() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let listed = Command::new("ldconfig").arg("-p").output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let library = listed
        .lines()
        .find(|line| line.contains("libgnutls.so.30") && line.contains("x86-64"))
        .and_then(|line| line.split("=> ").nth(1))
        .unwrap_or_else(|| panic!("wget brings GnuTLS"));
    let point = prove_client(&environment, Path::new(library), &[], |port| {
        let mut wget = Command::new("wget");
        wget.args(["-q", "-O", "/dev/null", "--no-check-certificate", "-t", "1"]);
        wget.arg(format!("https://127.0.0.1:{port}/"));
        wget
    });
    assert!(point.found_by.contains("label"), "{}", point.found_by);
}

#[test]
fn a_drivers_own_openssl_tells_its_secrets_where_it_is_said() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let library = packaged(&environment, "psycopg2_binary.libs", "libssl");
    let point = prove_client(&environment, &library, &["postgres"], |port| {
        let mut python = Command::new(environment.python("python"));
        python.arg("-c").arg(format!(
            "import psycopg2; psycopg2.connect('host=127.0.0.1 port={port} sslmode=require user=a dbname=b')"
        ));
        python
    });
    assert!(point.found_by.contains("label"), "{}", point.found_by);
}

#[test]
fn what_has_no_key_point_is_said_to_have_none() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let folder = Folder::new();
    let text = folder.file("text", "no program");
    let found = doctor(&environment, &text);
    assert_eq!(
        found["why_not"],
        "not a 64-bit x86 program or library, or cut short"
    );
    let crypto = Command::new("python3")
        .args([
            "-c",
            "import ssl, os; os.system(f'grep libcrypto /proc/{os.getpid()}/maps')",
        ])
        .output()
        .unwrap();
    let maps = String::from_utf8(crypto.stdout).unwrap();
    let library = maps
        .lines()
        .next()
        .unwrap()
        .split_ascii_whitespace()
        .nth(5)
        .unwrap();
    let found = doctor(&environment, Path::new(library));
    assert_eq!(
        found["why_not"], "no TLS library inside that is known",
        "{library}"
    );
}
