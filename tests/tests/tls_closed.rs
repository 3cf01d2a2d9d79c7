//! TLS that stays closed is said and counted, costs who speaks it nothing, and nothing is made up for it.
#![allow(clippy::unwrap_used, reason = "tests panic, they don't return errors")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use observer_tests::{
    Certificate, Environment, Folder, Got, Observer, Page, Server, Span, exchanges, free_port, got,
    until,
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

/// PostgreSQL's programs.
fn postgres(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").unwrap().flatten();
    let mut found: Vec<PathBuf> = versions
        .map(|version| version.path().join("bin").join(name))
        .filter(|path| path.exists())
        .collect();
    found.sort();
    found.pop().unwrap()
}

/// A server that takes TLS alone, as the user `postgres`.
fn start_postgres(folder: &Folder, certificate: &Certificate) -> Server {
    let (port, data) = (free_port(), folder.path().join("data"));
    let as_postgres = |program: &Path| {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=postgres", "--regid=postgres", "--init-groups"])
            .arg(program);
        command
    };
    fs::create_dir(&data).unwrap();
    let owner = Command::new("chown")
        .arg("postgres:postgres")
        .arg(&data)
        .status();
    let opened = Command::new("chmod").arg("755").arg(folder.path()).status();
    assert!(owner.unwrap().success() && opened.unwrap().success());
    let made = as_postgres(&postgres("initdb"))
        .args(["--auth=trust", "--no-sync", "--username=a", "--pgdata"])
        .arg(&data)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    for name in ["cert.pem", "key.pem"] {
        let to = data.join(name);
        fs::copy(certificate.path().join(name), &to).unwrap();
        let owner = Command::new("chown")
            .arg("postgres:postgres")
            .arg(&to)
            .status();
        let private = Command::new("chmod").arg("600").arg(&to).status();
        assert!(owner.unwrap().success() && private.unwrap().success());
    }
    fs::write(
        data.join("pg_hba.conf"),
        "hostssl all all 127.0.0.1/32 trust\n",
    )
    .unwrap();
    let mut server = as_postgres(&postgres("postgres"));
    server
        .arg("-D")
        .arg(&data)
        .args(["-p", &port.to_string()])
        .args([
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "unix_socket_directories=",
        ])
        .args([
            "-c",
            "ssl=on",
            "-c",
            "ssl_cert_file=cert.pem",
            "-c",
            "ssl_key_file=key.pem",
        ])
        .args(["-c", "fsync=off"])
        .stderr(Stdio::null());
    Server::start(&mut server, port)
}

#[test]
fn postgresql_and_drivers_with_their_own_library_tell_secrets_and_nothing_is_made_up() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let (certificate, folder) = (Certificate::new(), Folder::new());
    let server = start_postgres(&folder, &certificate);
    let observer = Observer::start(&environment, &["--span-rate=unlimited"]);
    let address = format!(
        "host=127.0.0.1 port={} sslmode=require user=a dbname=postgres",
        server.port()
    );
    let statement = "select version, cipher from pg_stat_ssl where pid = pg_backend_pid()";
    let psql = Command::new(postgres("psql"))
        .args([&address, "--tuples-only", "--command", statement])
        .output()
        .unwrap();
    assert!(psql.status.success(), "{psql:?}");
    let driver = Command::new(environment.python("python3"))
        .arg("-c")
        .arg(format!(
            "import psycopg2\nwith psycopg2.connect('{address}').cursor() as cursor:\n  cursor.execute('{statement}')\n  print(cursor.fetchone())"
        ))
        .output()
        .unwrap();
    assert!(driver.status.success(), "{driver:?}");
    for output in [&psql, &driver] {
        assert!(
            String::from_utf8_lossy(&output.stdout).contains("TLSv1.3"),
            "{output:?}"
        );
    }
    // Both ends of both connections tell theirs, the driver's own library among them. That their bytes are TLS is not known: they
    // begin with a request for it, in the open.
    let told = until("all secrets are told", || {
        let told = observer
            .page()
            .sum("observer_kernel_events", &["event=\"tls_secrets\""]);
        (told >= 16.0).then_some(told)
    });
    assert_eq!(told, 16.0);
    let (spans, log) = observer.stop_with_log();
    let its = |span: &Span| span.attribute("server.port") == u64::from(server.port());
    let made_up: Vec<Span> = spans.into_iter().filter(its).collect();
    assert!(made_up.is_empty(), "{made_up:?}");
    assert!(!log.contains("TLS in"), "{log}");
}
