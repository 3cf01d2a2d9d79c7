//! What is said over TLS is seen as what is said in the open: every exchange of these programs, with its status and its size, at
//! both ends, and both ends in one trace. Each program is as it is delivered, and knows nothing of it.
#![allow(clippy::unwrap_used, reason = "tests panic, they don't return errors")]

use std::process::Command;

use observer_tests::{
    CONNECTIONS, Certificate, Environment, Folder, Got, Observer, SIZES, Seen, Server, Span,
    exchanges, files, free_port, got, nginx_with, paths, paths_and_uploads, said, sorted, until,
};

#[test]
fn curl_and_nginx_over_tls_1_3_and_1_2() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let certificate = Certificate::new();
    for versions in ["TLSv1.3", "TLSv1.2"] {
        let folder = Folder::new();
        let server = Server::nginx_tls(&folder, &certificate, versions);
        let mut curl = certificate.curl(&server, &paths(), &[]);
        Seen::of(&environment, &server, &mut curl).assert_joined();
    }
}

#[test]
fn curl_that_offers_http_2_to_an_nginx_without() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let (certificate, folder) = (Certificate::new(), Folder::new());
    let server = Server::nginx_tls(&folder, &certificate, "TLSv1.2 TLSv1.3");
    let mut curl = certificate.curl(&server, &paths(), &["--http2"]);
    Seen::of(&environment, &server, &mut curl).assert_joined();
}

#[test]
fn ciphers_of_both_versions() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let (certificate, folder) = (Certificate::new(), Folder::new());
    let server = Server::nginx_tls(&folder, &certificate, "TLSv1.2 TLSv1.3");
    for options in [
        ["--tls13-ciphers", "TLS_AES_128_GCM_SHA256"],
        ["--tls13-ciphers", "TLS_CHACHA20_POLY1305_SHA256"],
    ] {
        let mut curl = certificate.curl(&server, &paths(), &options);
        Seen::of(&environment, &server, &mut curl).assert_joined();
    }
    for cipher in [
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-ECDSA-AES128-SHA256",
        "ECDHE-ECDSA-AES256-SHA",
        "ECDHE-ECDSA-AES128-CCM",
        "ECDHE-ECDSA-AES256-CCM8",
    ] {
        let mut curl = certificate.curl(
            &server,
            &paths(),
            &["--tls-max", "1.2", "--ciphers", cipher],
        );
        Seen::of(&environment, &server, &mut curl).assert_joined();
    }
}

#[test]
fn requests_and_gunicorn() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let certificate = Certificate::new();
    let server = Server::gunicorn_tls(&environment, &certificate);
    for library in ["requests", "fresh"] {
        let mut client = certificate.python(&environment, library, &server, &paths_and_uploads());
        Seen::of(&environment, &server, &mut client).assert_joined();
    }
}

#[test]
fn httpx_and_aiohttp_and_uvicorn() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let certificate = Certificate::new();
    for event_loop in ["uvloop", "asyncio"] {
        let server = Server::uvicorn_tls(&environment, &certificate, event_loop);
        for library in ["httpx", "aiohttp"] {
            let mut client =
                certificate.python(&environment, library, &server, &paths_and_uploads());
            Seen::of(&environment, &server, &mut client).assert_joined_but(CONNECTIONS);
        }
    }
}

#[test]
fn node_at_both_ends() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let certificate = Certificate::new();
    let server = Server::node_tls(&certificate);
    for library in ["https", "fetch"] {
        let mut client = certificate.node(library, &server, &paths_and_uploads());
        Seen::of(&environment, &server, &mut client).assert_joined_but(CONNECTIONS);
    }
}

#[test]
fn go_at_both_ends_and_caddy() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let (certificate, folder) = (Certificate::new(), Folder::new());
    let server = Server::go_tls(&environment, &certificate);
    let mut client = certificate.go(&environment, &server, &paths_and_uploads());
    Seen::of(&environment, &server, &mut client).assert_joined();
    let server = Server::caddy_tls(&environment, &folder, &certificate);
    let mut client = certificate.go(&environment, &server, &paths());
    Seen::of(&environment, &server, &mut client).assert_joined();
}

#[test]
fn apaches_workers() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let (certificate, folder) = (Certificate::new(), Folder::new());
    let server = Server::apache_tls(&folder, &certificate);
    let mut client = certificate.python(&environment, "aiohttp", &server, &paths());
    Seen::of(&environment, &server, &mut client).assert_joined();
}

#[test]
fn wget_which_has_another_library() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let (certificate, folder) = (Certificate::new(), Folder::new());
    // The server would tell the same secrets: it is not looked at.
    let server = Server::nginx_tls(&folder, &certificate, "TLSv1.2 TLSv1.3");
    let observer = Observer::start(&environment, &["--exe=wget", "--span-rate=unlimited"]);
    let wanted: Vec<String> = paths()
        .into_iter()
        .filter(|path| path.starts_with("/bytes/"))
        .collect();
    let mut wget = Command::new("wget");
    wget.args(["--quiet", "--output-document=/dev/null", "--ca-certificate"])
        .arg(certificate.path().join("cert.pem"))
        .args(
            wanted
                .iter()
                .map(|path| format!("https://localhost:{}{path}", server.port())),
        );
    assert!(wget.status().unwrap().success());
    until("all is counted", || {
        let calls = observer
            .page()
            .sum("http_client_request_duration_seconds_count", &[]);
        (calls as usize >= wanted.len()).then_some(())
    });
    let seen: Vec<Got> = exchanges(observer.stop()).iter().map(said).collect();
    let expected = SIZES.iter().map(|size| Got {
        path: format!("/bytes/{size}"),
        status: 200,
        size: *size as u64,
    });
    assert_eq!(sorted(seen), sorted(expected.collect()));
}

/// nginx with a library of its own, static and stripped, and PHP with the system's.
#[test]
fn nginx_with_its_own_library_and_php() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let certificate = Certificate::new();
    for (versions, library) in [("TLSv1.3", "streams"), ("TLSv1.2", "curl")] {
        let folder = Folder::new();
        let server = Server::static_nginx_files(&environment, &certificate, &folder, versions);
        let mut php = certificate.php(library, &server, &paths());
        Seen::of(&environment, &server, &mut php).assert_joined();
    }
}

#[test]
fn php_sends_bodies() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let certificate = Certificate::new();
    let server = Server::gunicorn_tls(&environment, &certificate);
    for library in ["streams", "curl"] {
        let mut php = certificate.php(library, &server, &paths_and_uploads());
        Seen::of(&environment, &server, &mut php).assert_joined();
    }
}

/// What that library has at one end, Debian's own has not: each end is read by itself.
#[test]
fn openssl_1_1_1_at_both_ends() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let Some(at_server) = environment.old_python() else {
        return;
    };
    let (certificate, folder) = (Certificate::new(), Folder::new());
    // Files, in the open: the hop before it speaks TLS.
    let port = free_port();
    files(&folder);
    let mut behind = nginx_with(
        &folder,
        &format!("server {{ listen 127.0.0.1:{port}; root html; }}"),
    );
    let behind = Server::start(&mut behind, port);
    let next = format!("http://127.0.0.1:{}", behind.port());
    let server = Server::tls_hop_by(at_server, &certificate, &next, &["--answer-tls"]);
    for library in ["stdlib", "fresh"] {
        let at_client = environment.old_python().unwrap();
        let mut client = certificate.python_by(at_client, library, &server, &paths());
        Seen::of(&environment, &server, &mut client).assert_joined();
    }
}

/// The other end tells nothing that both could be read by: both are rustls.
fn assert_rustls(environment: &Environment, cryptography: &str) {
    let (certificate, folder) = (Certificate::new(), Folder::new());
    let whole = environment.rustls(cryptography);
    // As it is released: without symbols.
    let stripped = folder.path().join("stripped");
    let strip = Command::new("strip")
        .arg("-o")
        .args([&stripped, &whole])
        .status();
    assert!(strip.unwrap().success());
    for (program, version) in [
        (&whole, "1.3"),
        (&whole, "1.2"),
        (&stripped, "1.3"),
        (&stripped, "1.2"),
    ] {
        let server = Server::rustls(program, &certificate);
        let mut client = certificate.reqwest(program, version, &server, &paths_and_uploads());
        Seen::of(environment, &server, &mut client).assert_joined();
    }
}

#[test]
fn rustls_and_reqwest_with_ring() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    assert_rustls(&environment, "ring");
}

#[test]
fn rustls_and_reqwest_with_aws_lc() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    assert_rustls(&environment, "aws_lc");
}

/// What curl gets from a proxy of this name that asks an nginx: four spans for each answer, both ends of each hop in one trace.
/// The calls of a proxy that serves all on one thread have no parent, or the right one.
fn assert_two_hops(environment: &Environment, name: &str, proxy: &Server, curl: &mut Command) {
    let observer = Observer::start(environment, &["--span-rate=unlimited"]);
    let wanted = got(curl);
    let troubles = observer.settled_page(2 * wanted.len() as u64).troubles();
    let (spans, log) = observer.stop_with_log();
    let mut spans = exchanges(spans);
    // What is behind is asked for the proxy's address, too.
    spans.retain(|span| span.attribute("server.port") == u64::from(proxy.port()));
    let of = |service: &str, kind: &str| -> Vec<Span> {
        let its = spans
            .iter()
            .filter(|span| span.kind() == kind && span.service() == service);
        its.cloned().collect()
    };
    let hops = [
        ("curl", of("curl", "client")),
        ("served", of(name, "server")),
        ("asked", of(name, "client")),
        ("behind", of("nginx", "server")),
    ];
    for (name, spans) in &hops {
        let seen: Vec<Got> = spans.iter().map(said).collect();
        assert_eq!(
            sorted(seen),
            sorted(wanted.clone()),
            "{name}; {troubles}\n{log}"
        );
    }
    assert_eq!(spans.len(), hops.len() * wanted.len());
    for pair in hops.windows(2) {
        for span in &pair[1].1 {
            let Some(id) = span.parent_span_id() else {
                assert_eq!(pair[1].0, "asked", "no parent: {span:?}");
                continue;
            };
            let parent = pair[0].1.iter().find(|parent| parent.span_id() == id);
            let parent = parent.unwrap_or_else(|| panic!("another parent: {span:?}"));
            assert_eq!(parent.target(), span.target());
            assert_eq!(parent.trace_id(), span.trace_id());
        }
    }
}

#[test]
fn haproxy_between_two_hops() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let (certificate, folder, other) = (Certificate::new(), Folder::new(), Folder::new());
    let behind = Server::nginx_tls(&folder, &certificate, "TLSv1.3");
    let server = Server::haproxy_tls(&other, &certificate, &behind);
    let mut curl = certificate.curl(&server, &paths(), &[]);
    assert_two_hops(&environment, "haproxy", &server, &mut curl);
}

#[test]
fn envoy_with_tls_at_both_sides() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let certificate = Certificate::new();
    for versions in ["TLSv1.3", "TLSv1.2"] {
        let (folder, other) = (Folder::new(), Folder::new());
        let behind = Server::nginx_tls(&folder, &certificate, versions);
        let server = Server::envoy_before(&environment, &certificate, &other, &behind);
        let mut curl = certificate.curl(&server, &paths(), &[]);
        assert_two_hops(&environment, "envoy", &server, &mut curl);
    }
}
