//! The secrets of TLS libraries reach the daemon: when the library comes late, when the process has just begun; and nothing else
//! meets a breakpoint. That they are the right ones is proven beside the daemon's library.
#![allow(clippy::unwrap_used, reason = "tests panic, they don't return errors")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use observer_tests::{Certificate, Environment, Folder, Observer, Page, Server, free_port, until};

/// Secrets that one end tells of a handshake of TLS 1.3; the exporter's is none of them.
const OF_ONE_END: u64 = 4;
/// Breakpoints that one end meets in a handshake, at most.
const MOST_HITS: u64 = 12;

fn event(page: &Page, event: &str) -> u64 {
    let label = format!("event=\"{event}\"");
    page.sum("observer_kernel_events", &[&label]) as u64
}

/// A handshake, and requests in it, as many as are asked for; each must be answered.
fn handshake(program: &Path, libraries: &Path, port: u16, requests: usize) {
    let mut client = Command::new(program)
        .args(["s_client", "-tls1_3", "-quiet", "-no_ign_eof", "-connect"])
        .arg(format!("127.0.0.1:{port}"))
        .env("LD_LIBRARY_PATH", libraries)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = client.stdin.take().unwrap();
    let mut lines = BufReader::new(client.stdout.take().unwrap()).lines();
    for _ in 0..requests {
        input
            .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .unwrap();
        let status = lines.find(|line| line.as_ref().unwrap().contains("HTTP/1."));
        assert!(status.unwrap().unwrap().contains("200"));
    }
    drop(input);
    let _ = client.kill();
    client.wait().unwrap();
}

fn openssl() -> &'static Path {
    Path::new("openssl")
}

#[test]
fn a_library_that_is_loaded_late_tells_its_first_handshake() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let (certificate, port) = (Certificate::new(), free_port());
    let mut command = Command::new("python3");
    command
        .arg(Environment::programs().join("tls_after.py"))
        .arg(certificate.path())
        .arg(port.to_string());
    let server = Server::start(&mut command, port);
    let observer = Observer::watch(&environment, &server);
    let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    connection.write_all(b"load").unwrap();
    drop(connection);
    handshake(openssl(), Path::new(""), port, 1);
    until("the server's secrets are told", || {
        (event(&observer.page(), "tls_secrets") >= OF_ONE_END).then_some(())
    });
    let page = observer.page();
    assert_eq!(event(&page, "tls_secrets"), OF_ONE_END);
    assert_eq!(event(&page, "tls_secrets_refused"), 0);
}

#[test]
fn a_handshake_meets_few_breakpoints_and_what_is_read_and_written_none() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let (certificate, folder) = (Certificate::new(), Folder::new());
    let (_, server) = Server::static_nginx(&environment, &certificate, &folder);
    let observer = Observer::watch(&environment, &server);
    handshake(openssl(), Path::new(""), server.port(), 1);
    let hits = || event(&observer.page(), "tls_key_point_hits");
    until("the handshake was seen", || (hits() > 0).then_some(()));
    let one = hits();
    assert!(one <= MOST_HITS, "{one}");
    handshake(openssl(), Path::new(""), server.port(), 200);
    until("the second was, too", || (hits() > one).then_some(()));
    assert_eq!(hits(), 2 * one);
}

#[test]
fn who_has_just_begun_with_a_library_of_its_own_tells_its_first_handshake() {
    const PROCESSES: u64 = 20;
    let Some(environment) = Environment::enter() else {
        return;
    };
    let (certificate, folder) = (Certificate::new(), Folder::new());
    let (_, server) = Server::static_nginx(&environment, &certificate, &folder);
    let program = which("openssl");
    let library = library("libssl.so.3");
    let selected = format!("--exe={}/*", folder.path().display());
    let observer = Observer::start(&environment, &[&selected]);
    // A new file each time: nothing is armed before it is mapped.
    for process in 0..PROCESSES {
        let own = folder.path().join(process.to_string());
        fs::create_dir(&own).unwrap();
        let copy = own.join("openssl");
        fs::copy(&program, &copy).unwrap();
        fs::copy(&library, own.join("libssl.so.3")).unwrap();
        handshake(&copy, &own, server.port(), 1);
    }
    let told = || event(&observer.page(), "tls_secrets");
    let (mut before, mut same) = (0, 0);
    until("no more secrets come", || {
        let now = told();
        same = if now == before { same + 1 } else { 0 };
        before = now;
        (same > 10).then_some(())
    });
    let whole = told() as f64 / (PROCESSES * OF_ONE_END) as f64;
    eprintln!(
        "{:.0} % of the secrets of processes with new files were told",
        100.0 * whole
    );
    assert!(whole <= 1.0);
    // On a machine that is busy with other things.
    assert!(whole >= 0.8, "{whole}");
}

#[test]
fn with_tls_off_nothing_is_attached() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let (certificate, folder) = (Certificate::new(), Folder::new());
    let (_, server) = Server::static_nginx(&environment, &certificate, &folder);
    let port = format!("--port={}", server.port());
    let observer = Observer::start(&environment, &[&port, "--tls=off"]);
    handshake(openssl(), Path::new(""), server.port(), 1);
    // The kernel counts at once what passes.
    let page = observer.page();
    assert_eq!(event(&page, "tls_key_point_hits"), 0);
    let programs = page.series("observer_program_runs", "tls_secret");
    assert_eq!(programs, 0, "{programs} programs are loaded");
}

/// A program's file.
fn which(name: &str) -> std::path::PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    let mut found = std::env::split_paths(&path).map(|folder| folder.join(name));
    fs::canonicalize(found.find(|path| path.exists()).unwrap()).unwrap()
}

/// A library of the system.
fn library(name: &str) -> String {
    let listed = Command::new("ldconfig").arg("-p").output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let line = listed
        .lines()
        .find(|line| line.contains(name) && line.contains("x86-64"));
    line.unwrap().split("=> ").nth(1).unwrap().to_owned()
}

#[test]
fn no_secret_is_in_anything_that_the_daemon_writes_and_none_is_kept() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let (certificate, folder) = (Certificate::new(), Folder::new());
    let (_, server) = Server::static_nginx(&environment, &certificate, &folder);
    let page = free_port();
    let file = |name| fs::File::create(folder.path().join(name)).unwrap();
    let mut daemon = Command::new(environment.binary())
        .args([
            "run",
            "--print=json",
            "--log-level=trace",
            "--log-format=json",
        ])
        .arg(format!("--prometheus=127.0.0.1:{page}"))
        .arg(format!("--port={}", server.port()))
        .stdin(Stdio::null())
        .stdout(file("stdout"))
        .stderr(file("stderr"))
        .spawn()
        .unwrap();
    until("it captures", || {
        (observer_tests::get(page, "/readyz").ok()?.status == 200).then_some(())
    });
    let log = folder.path().join("log");
    let mut client = Command::new("openssl")
        .args(["s_client", "-tls1_3", "-quiet", "-connect"])
        .arg(format!("127.0.0.1:{}", server.port()))
        .arg("-keylogfile")
        .arg(&log)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = client.stdin.take().unwrap();
    input
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    until("its secrets are told", || {
        (event(&Page::fetch(page)?, "tls_secrets") >= OF_ONE_END).then_some(())
    });
    let shown = observer_tests::get(page, "/metrics").unwrap().body;
    drop(input);
    let _ = client.kill();
    client.wait().unwrap();
    let raw: Vec<Vec<u8>> = logged(&log).iter().map(|secret| bytes(secret)).collect();
    // Traffic secrets that no connection claims are kept for half a minute.
    let began = Instant::now();
    while let Some(place) = raw.iter().find_map(|secret| in_memory(daemon.id(), secret)) {
        assert!(
            began.elapsed() < Duration::from_secs(90),
            "a secret is kept: {place}"
        );
        std::thread::sleep(Duration::from_millis(500));
    }
    let id = i32::try_from(daemon.id()).ok();
    let id = id.and_then(rustix::process::Pid::from_raw).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    assert!(daemon.wait().unwrap().success());
    let written = ["stdout", "stderr"].map(|name| fs::read(folder.path().join(name)).unwrap());
    let secrets = logged(&log);
    assert!(secrets.len() >= OF_ONE_END as usize);
    for secret in secrets {
        let raw = bytes(&secret);
        // As Debug would write it, too.
        let listed = raw.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
        let forms = [
            secret.to_lowercase().into_bytes(),
            secret.to_uppercase().into_bytes(),
            listed.into_bytes(),
            raw,
        ];
        for form in forms {
            for output in [&shown, &written[0], &written[1]] {
                // A part is too much.
                let part = &form[..form.len() / 2];
                let found = output.windows(part.len()).any(|window| window == part);
                assert!(!found, "a secret is written");
            }
        }
    }
}

/// The secrets of a key log, in hex.
fn logged(log: &Path) -> Vec<String> {
    let text = fs::read_to_string(log).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.rsplit(' ').next().unwrap().to_owned())
        .collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    pairs.map(byte).collect()
}

/// Whether a part of a secret lies anywhere in a process's memory.
fn in_memory(pid: u32, secret: &[u8]) -> Option<String> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    maps.lines().find_map(|line| {
        let (range, rest) = line.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let number = |text| u64::from_str_radix(text, 16).unwrap();
        let (start, end) = (number(start), number(end));
        if !rest.starts_with('r') || rest.contains("[v") {
            return None;
        }
        let mut bytes = vec![0; (end - start) as usize];
        // What was unmapped meanwhile is not there.
        memory.read_exact_at(&mut bytes, start).ok()?;
        let at = secret
            .chunks_exact(16)
            .find_map(|part| memchr::memmem::find(&bytes, part))?;
        Some(format!("{at:#x} bytes into {line}"))
    })
}
