//! TLS that begins in a connection's middle: behind a database's or a mail server's request for it, and in a proxy's tunnel.
#![allow(clippy::unwrap_used, reason = "tests panic, they don't return errors")]

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use observer_tests::{
    Certificate, Environment, Folder, Observer, Page, Server, Span, exchanges, free_port, got,
    paths, said, sorted, until,
};

fn of_tls(page: &Page, event: &str) -> u64 {
    page.sum("observer_tls", &[&format!("event=\"{event}\"")]) as u64
}

/// Handshakes that went well, at both ends.
fn handshakes(page: &Page) -> u64 {
    page.sum(
        "observer_tls_handshake_duration_seconds_count",
        &["tls_protocol_version=\"1.3\""],
    ) as u64
}

/// So many ends of connections are read, from their handshake on, and nothing of what they say stays closed.
fn assert_read(observer: &Observer, ends: u64) -> Page {
    until("all handshakes are told", || {
        let page = observer.page();
        (handshakes(&page) >= ends && of_tls(&page, "connections_read") >= ends).then_some(())
    });
    let page = observer.settled_page(0);
    assert_eq!(handshakes(&page), ends, "{}", page.troubles());
    for (event, count) in [
        ("connections", ends),
        ("connections_read", ends),
        ("handshakes_failed", 0),
        ("no_key", 0),
        ("no_handshake", 0),
        ("records_no_key", 0),
        ("records_lost", 0),
        ("records_unproven", 0),
    ] {
        assert_eq!(of_tls(&page, event), count, "{event}: {}", page.troubles());
    }
    page
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output
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
fn postgresql_asked_for_tls_by_its_own_library_and_by_a_drivers() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let (certificate, folder) = (Certificate::new(), Folder::new());
    let server = start_postgres(&folder, &certificate);
    let observer = Observer::start(
        &environment,
        &[
            "--exe=postgres",
            "--exe=psql",
            "--exe=python3*",
            "--span-rate=unlimited",
        ],
    );
    let address = format!(
        "host=127.0.0.1 port={} sslmode=require user=a dbname=postgres",
        server.port()
    );
    let statement = "select version, cipher from pg_stat_ssl where pid = pg_backend_pid()";
    let mut psql = Command::new(postgres("psql"));
    psql.args([&address, "--tuples-only", "--command", statement]);
    let mut driver = Command::new(environment.python("python3"));
    driver.arg("-c").arg(format!(
        "import psycopg2\nwith psycopg2.connect('{address}').cursor() as cursor:\n  cursor.execute('{statement}')\n  print(cursor.fetchone())"
    ));
    for client in [&mut psql, &mut driver] {
        for _ in 0..5 {
            let output = run(client);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(text.contains("TLSv1.3"), "{text}");
        }
    }
    assert_read(&observer, 20);
    // What is inside is not known, and nothing is made up for it.
    let (spans, log) = observer.stop_with_log();
    let its = |span: &Span| span.attribute("server.port") == u64::from(server.port());
    let made_up: Vec<Span> = spans.into_iter().filter(its).collect();
    assert!(made_up.is_empty(), "{made_up:?}");
    assert!(!log.contains("TLS in"), "{log}");
}

#[test]
fn a_mail_server_that_begins_in_the_open() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let (certificate, port) = (Certificate::new(), free_port());
    let program = |name: &str| {
        let mut python = Command::new(environment.python("python3"));
        python
            .arg(Environment::programs().join(name))
            .arg(certificate.path())
            .arg(port.to_string());
        python
    };
    let _server = Server::start(&mut program("mail_server.py"), port);
    let observer = Observer::start(&environment, &["--exe=python3*", "--span-rate=unlimited"]);
    run(program("mail_client.py").arg("5"));
    assert_read(&observer, 10);
    let spans = exchanges(observer.stop());
    assert!(spans.is_empty(), "{spans:?}");
}

#[test]
fn a_client_that_begins_without_an_answer_to_its_request_for_tls() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let (certificate, port) = (Certificate::new(), free_port());
    let observer = Observer::start(&environment, &["--exe=python3*", "--span-rate=unlimited"]);
    run(Command::new(environment.python("python3"))
        .arg(Environment::programs().join("tls_asked.py"))
        .arg(certificate.path())
        .args([port.to_string(), "10".to_owned()]));
    until("all handshakes are told", || {
        let page = observer.page();
        (handshakes(&page) >= 10 && of_tls(&page, "connections_read") >= 10).then_some(())
    });
    let page = observer.settled_page(0);
    let troubles = page.troubles();
    // Of those that do not go on with a hello nothing is read, and nothing said.
    for (event, count) in [
        ("connections_read", 10),
        ("handshakes", 10),
        ("handshakes_failed", 0),
    ] {
        assert_eq!(of_tls(&page, event), count, "{event}: {troubles}");
    }
    assert_eq!(handshakes(&page), 10, "{troubles}");
    let spans = observer.stop();
    assert!(spans.is_empty(), "{spans:?}");
}

#[test]
fn what_is_said_in_a_proxys_tunnel_is_said_by_its_ends() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let (certificate, folder, port) = (Certificate::new(), Folder::new(), free_port());
    let mut proxy = Command::new("python3");
    proxy
        .arg(Environment::programs().join("connect_proxy.py"))
        .arg(port.to_string());
    let proxy = Server::start(&mut proxy, port);
    for versions in ["TLSv1.3", "TLSv1.2"] {
        let server = Server::nginx_tls(&folder, &certificate, versions);
        let observer = Observer::start(
            &environment,
            &[
                "--exe=nginx",
                "--exe=curl",
                "--exe=python3*",
                "--span-rate=unlimited",
            ],
        );
        let through = format!("http://127.0.0.1:{}", proxy.port());
        let got = got(&mut certificate.curl(&server, &paths(), &["--proxy", &through]));
        // The proxy's ends are read, too: with the secrets that the tunnel's ends told.
        let page = observer.settled_page(2 * got.len() as u64 + 1);
        let (spans, log) = observer.stop_with_log();
        let (tunnels, spans): (Vec<Span>, Vec<Span>) = exchanges(spans)
            .into_iter()
            .partition(|span| span.method() == "CONNECT");
        assert_eq!(tunnels.len(), 2, "{tunnels:?}");
        for tunnel in &tunnels {
            assert_eq!(tunnel.status_code(), Some(200), "{tunnel:?}");
            assert!(tunnel.attribute("tls.protocol.name").is_null());
        }
        let twice = sorted([got.clone(), got.clone()].concat());
        for kind in ["server", "client"] {
            let of_kind = spans.iter().filter(|span| span.kind() == kind);
            let found = sorted(of_kind.map(said).collect());
            let troubles = page.troubles();
            assert_eq!(found, twice, "{versions}, {kind}; {troubles}\n{log}");
        }
        // Each is the next one's parent: client, proxy, proxy, server.
        let by_id: HashMap<&str, &Span> = spans.iter().map(|span| (span.span_id(), span)).collect();
        let lengths = spans.iter().map(|span| {
            let mut next = Some(span);
            std::iter::from_fn(|| {
                let this = next?;
                assert_eq!(this.target(), span.target());
                next = this.parent_span_id().and_then(|id| by_id.get(id).copied());
                Some(())
            })
            .count()
        });
        let mut lengths: Vec<usize> = lengths.collect();
        lengths.sort_unstable();
        let expected: Vec<usize> = (1..=4).flat_map(|hop| vec![hop; got.len()]).collect();
        assert_eq!(lengths, expected, "{spans:?}");
    }
}

#[test]
fn a_clients_hello_in_a_body_is_no_tls() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let server = Server::gunicorn(&environment);
    let observer = Observer::start(
        &environment,
        &[
            "--exe=python3*",
            "--exe=gunicorn",
            "--exe=curl",
            "--span-rate=unlimited",
        ],
    );
    let folder = Folder::new();
    // As OpenSSL would send it: head alone, then body, and behind a 100 Continue, where the body begins a run.
    let hello = run(Command::new(environment.python("python3"))
        .arg("-c")
        .arg(concat!(
            "import ssl, sys\n",
            "out = ssl.MemoryBIO()\n",
            "context = ssl.create_default_context()\n",
            "tls = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname='localhost')\n",
            "try: tls.do_handshake()\n",
            "except ssl.SSLWantReadError: pass\n",
            "sys.stdout.buffer.write(out.read())",
        )));
    let hello = folder.file("hello", hello.stdout);
    let url = format!("http://127.0.0.1:{}/echo/5", server.port());
    for expect in ["Expect:", "Expect: 100-continue"] {
        run(Command::new("curl")
            .args(["-sS", "-H", expect, "--data-binary"])
            .arg(format!("@{}", hello.display()))
            .args([&url, &url])
            .stdout(Stdio::null()));
    }
    let page = observer.page_with(4);
    assert_eq!(of_tls(&page, "connections"), 0, "{}", page.troubles());
    let spans = observer.stop();
    assert_eq!(spans.len(), 8, "{spans:?}");
    let size = fs::metadata(&hello).unwrap().len();
    for span in &spans {
        assert_eq!(span.attribute("http.request.body.size"), size, "{span:?}");
        assert!(!span.is_incomplete());
    }
}
