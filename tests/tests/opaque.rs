//! Traces that go on behind TLS: on one host by the handoff, between two by the TCP option.
//!
//! Each chain is client → gateway ⇒ TLS ⇒ ender → backend. Gateway, ender's call and backend are seen; the two ends of the
//! way between are not where TLS is not read, and the call's parent is the gateway's request. Where it is read, each end's span
//! is the parent of what comes behind it.
#![allow(clippy::unwrap_used, reason = "tests panic, they don't return errors")]

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use observer_tests::{
    Certificate, Client, Environment, Folder, Host, Hosts, Observer, Page, Server, Span, free_port,
    nginx, until,
};

/// How long calls may take to be counted.
const PATIENCE: Duration = Duration::from_secs(15);
const CONNECTIONS: usize = 8;
const EACH: usize = 20;
const ALL: usize = CONNECTIONS * EACH;

/// Requests `/id/N`, each once, over several connections at once.
fn drive(port: u16) {
    std::thread::scope(|scope| {
        for connection in 0..CONNECTIONS {
            scope.spawn(move || {
                let mut client = Client::connect(port).unwrap();
                for request in 0..EACH {
                    let path = format!("/id/{}", connection * EACH + request);
                    assert_eq!(client.request("GET", &path, "").unwrap().status, 200);
                }
            });
        }
    });
}

fn events(page: &Page, event: &str) -> u64 {
    let label = format!("event=\"{event}\"");
    page.sum("observer_kernel_events", &[&label]) as u64
}

/// What the spans say of each call behind TLS.
#[derive(Debug, Default, PartialEq, Eq)]
struct Edges {
    right: usize,
    missing: usize,
    wrong: usize,
}

/// `before` are the spans of the gateway's host, `behind` those of the ender's; they may be the same.
fn edges(before: &[Span], behind: &[Span]) -> Edges {
    let gateway: HashMap<&str, &Span> = before.iter().map(|span| (span.span_id(), span)).collect();
    let mut edges = Edges::default();
    for call in behind.iter().filter(|span| span.kind() == "client") {
        match call.parent_span_id() {
            None => edges.missing += 1,
            Some(id) => {
                let is_right = gateway.get(id).is_some_and(|parent| {
                    parent.kind() == "server"
                        && parent.target() == call.target()
                        && parent.trace_id() == call.trace_id()
                        && parent.start_unix_nano() <= call.start_unix_nano()
                });
                edges.right += usize::from(is_right);
                edges.wrong += usize::from(!is_right);
            }
        }
    }
    edges
}

const RIGHT: Edges = Edges {
    right: ALL,
    missing: 0,
    wrong: 0,
};

fn watch(environment: &Environment, servers: &[&Server]) -> Observer {
    watch_with(environment, servers, "--tls=off")
}

fn watch_with(environment: &Environment, servers: &[&Server], tls: &str) -> Observer {
    let ports: Vec<String> = servers
        .iter()
        .map(|server| format!("--port={}", server.port()))
        .collect();
    let mut arguments: Vec<&str> = ports.iter().map(String::as_str).collect();
    arguments.extend(["--span-rate=unlimited", tls]);
    Observer::start(environment, &arguments)
}

/// Waits until calls and served requests of what is behind TLS and before it are counted.
fn counted(observer: &Observer, calls: usize, served: usize) -> Page {
    until("the calls are counted", || {
        let page = observer.page();
        let seen = page.sum("http_client_request_duration_seconds_count", &[]);
        (seen as usize >= calls).then_some(())
    });
    observer.page_with(served as u64)
}

/// Drives a chain on this host with this gateway and ender; the counters, and every span.
fn chain(environment: &Environment, servers: [&Server; 3]) -> (Page, Vec<Span>) {
    let observer = watch(environment, &servers);
    drive(servers[0].port());
    let page = counted(&observer, ALL, 2 * ALL);
    let spans = observer.stop();
    // No exchange came of what cannot be read.
    assert_eq!(spans.len(), 3 * ALL);
    (page, spans)
}

/// The same where TLS is read: what leads from each call of the ender's to the gateway's request.
fn read_chain(environment: &Environment, servers: [&Server; 3]) -> Edges {
    let observer = watch_with(environment, &servers, "--tls=on");
    drive(servers[0].port());
    let ends = [("http_client", 2 * ALL), ("http_server", 3 * ALL)];
    let mut page = observer.page();
    for (end, all) in ends {
        let name = format!("{end}_request_duration_seconds_count");
        let patient = Instant::now();
        while (page.sum(&name, &[]) as usize) < all {
            let seen = page.sum(&name, &[]);
            assert!(
                patient.elapsed() < PATIENCE,
                "{seen} of {all} {end}: {}",
                page.troubles()
            );
            sleep(Duration::from_millis(20));
            page = observer.page();
        }
    }
    let spans = observer.stop();
    let exchanges: HashMap<&str, &Span> = spans
        .iter()
        .filter(|span| span.name() != "TLS handshake")
        .map(|span| (span.span_id(), span))
        .collect();
    assert_eq!(exchanges.len(), 5 * ALL);
    assert!(exchanges.values().all(|span| !span.is_incomplete()));
    let scheme = |span: &Span| span.attribute("url.scheme").as_str().map(str::to_owned);
    let calls = exchanges.values().filter(|span| {
        let url = span.attribute("url.full");
        span.kind() == "client" && url.as_str().unwrap().starts_with("http://")
    });
    let mut edges = Edges::default();
    for call in calls {
        // The ender's request, the gateway's call over TLS, its request.
        let (mut at, mut kinds) = (*call, Vec::new());
        while let Some(parent) = at.parent_span_id() {
            let Some(parent) = exchanges.get(parent) else {
                kinds.push(("none", None));
                break;
            };
            let fits = parent.target() == call.target() && parent.trace_id() == call.trace_id();
            kinds.push((if fits { parent.kind() } else { "another" }, scheme(parent)));
            at = parent;
        }
        let https = || Some("https".to_owned());
        let http = || Some("http".to_owned());
        let way = [("server", https()), ("client", https()), ("server", http())];
        let told: Vec<_> = kinds
            .into_iter()
            .zip(&way)
            .map(|(found, wanted)| {
                found.0 == wanted.0 && (found.1.is_none() || found.1 == wanted.1)
            })
            .collect();
        edges.right += usize::from(told == [true; 3]);
        edges.missing += usize::from(told.is_empty());
        edges.wrong += usize::from(told != [true; 3] && !told.is_empty());
    }
    edges
}

#[test]
fn where_tls_is_read_each_end_has_a_span_between() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let certificate = Certificate::new();
    let backend = Server::stdlib("threads");
    for options in [
        &[][..],
        &["--fresh"],
        &["--newest", "1.2"],
        &["--offer", "http/1.1"],
    ] {
        let ender = ender(&certificate, &backend, &[]);
        let gateway = Server::tls_hop(&certificate, &url("https", &ender), options);
        let edges = read_chain(&environment, [&gateway, &ender, &backend]);
        assert_eq!(edges, RIGHT, "{options:?}");
    }
}

#[test]
fn nginx_before_and_behind_tls_that_is_read_gives_whole_traces() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let certificate = Certificate::new();
    let (folder, other) = (Folder::new(), Folder::new());
    let backend = Server::stdlib("threads");
    let ender = nginx_hop(&folder, &certificate, true, &url("http", &backend));
    let gateway = nginx_hop(&other, &certificate, false, &url("https", &ender));
    let edges = read_chain(&environment, [&gateway, &ender, &backend]);
    assert_eq!(edges, RIGHT);
}

#[test]
fn who_offers_http_2_over_tls_that_is_read_names_no_wrong_parent() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let certificate = Certificate::new();
    let backend = Server::stdlib("threads");
    let ender = ender(&certificate, &backend, &[]);
    let options = ["--offer", "h2,http/1.1"];
    let gateway = Server::tls_hop(&certificate, &url("https", &ender), &options);
    let edges = read_chain(&environment, [&gateway, &ender, &backend]);
    assert_eq!(edges.wrong, 0, "{edges:?}");
    assert_eq!(edges.right + edges.missing, ALL, "{edges:?}");
}

fn url(scheme: &str, server: &Server) -> String {
    format!("{scheme}://127.0.0.1:{}", server.port())
}

/// The server of a chain: ends TLS, asks the backend.
fn ender(certificate: &Certificate, backend: &Server, options: &[&str]) -> Server {
    let options = [&["--answer-tls"], options].concat();
    Server::tls_hop(certificate, &url("http", backend), &options)
}

#[test]
fn calls_behind_tls_have_the_request_before_it_as_their_parent() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let certificate = Certificate::new();
    let backend = Server::stdlib("threads");
    for options in [
        &[][..],
        &["--fresh"],
        &["--newest", "1.2"],
        &["--newest", "1.2", "--fresh"],
        &["--offer", "http/1.1"],
    ] {
        let ender = ender(&certificate, &backend, &[]);
        let gateway = Server::tls_hop(&certificate, &url("https", &ender), options);
        let (page, spans) = chain(&environment, [&gateway, &ender, &backend]);
        assert_eq!(edges(&spans, &spans), RIGHT, "{options:?}");
        let all = ALL as u64;
        assert_eq!(events(&page, "tls_context_passed"), all, "{options:?}");
        assert_eq!(events(&page, "tls_context_taken"), all, "{options:?}");
        assert_eq!(events(&page, "tls_shared"), 0);
    }
}

#[test]
fn nginx_before_and_behind_tls_gives_whole_traces() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let certificate = Certificate::new();
    let (folder, other) = (Folder::new(), Folder::new());
    let backend = Server::stdlib("threads");
    let ender = nginx_hop(&folder, &certificate, true, &url("http", &backend));
    let gateway = nginx_hop(&other, &certificate, false, &url("https", &ender));
    let (_, spans) = chain(&environment, [&gateway, &ender, &backend]);
    assert_eq!(edges(&spans, &spans), RIGHT);
}

/// nginx that asks `next`, and answers over TLS or not.
fn nginx_hop(folder: &Folder, certificate: &Certificate, tls: bool, next: &str) -> Server {
    let port = free_port();
    let mut command = nginx(folder, port);
    let file = folder.path().join("nginx.conf");
    let text = std::fs::read_to_string(&file).unwrap();
    let at = format!("listen 127.0.0.1:{port};");
    let keys = certificate.path().display();
    let listen = if tls {
        format!(
            "listen 127.0.0.1:{port} ssl; ssl_certificate {keys}/cert.pem; ssl_certificate_key {keys}/key.pem;"
        )
    } else {
        at.clone()
    };
    let text = text.replace(
        &at,
        &format!("{listen} proxy_http_version 1.1; location /id/ {{ proxy_pass {next}; }}"),
    );
    std::fs::write(file, text).unwrap();
    Server::start(&mut command, port)
}

#[test]
fn who_offers_http_2_passes_nothing_over_tls() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let certificate = Certificate::new();
    let backend = Server::stdlib("threads");
    let ender = ender(&certificate, &backend, &[]);
    let options = ["--offer", "h2,http/1.1"];
    let gateway = Server::tls_hop(&certificate, &url("https", &ender), &options);
    let (page, spans) = chain(&environment, [&gateway, &ender, &backend]);
    let missing = ALL;
    assert_eq!(
        edges(&spans, &spans),
        Edges {
            missing,
            ..Edges::default()
        }
    );
    assert_eq!(events(&page, "tls_connections"), 0);
}

#[test]
fn a_connection_that_requests_share_names_no_wrong_parent() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let certificate = Certificate::new();
    let backend = Server::stdlib("threads");
    let port = free_port();
    let mut python = std::process::Command::new("python3");
    shared(
        &mut python,
        &certificate,
        "server",
        port,
        ("127.0.0.1", backend.port()),
    );
    let ender = Server::start(&mut python, port);
    let port = free_port();
    let mut python = std::process::Command::new("python3");
    shared(
        &mut python,
        &certificate,
        "client",
        port,
        ("127.0.0.1", ender.port()),
    );
    let gateway = Server::start(&mut python, port);
    let (page, spans) = chain(&environment, [&gateway, &ender, &backend]);
    assert_none_wrong(&edges(&spans, &spans));
    assert!(events(&page, "tls_shared") >= 1);
}

#[test]
fn both_ends_follow_the_same_records() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let certificate = Certificate::new();
    let backend = Server::stdlib("threads");
    for options in [&[][..], &["--newest", "1.2"]] {
        let ender = ender(&certificate, &backend, &[]);
        let gateway = Server::tls_hop(&certificate, &url("https", &ender), options);
        let observer = watch(&environment, &[&gateway, &ender]);
        // Open until they are compared: what an end writes when it closes, nobody reads.
        let mut clients: Vec<Client> = (0..CONNECTIONS)
            .map(|_| Client::connect(gateway.port()).unwrap())
            .collect();
        for request in 0..EACH {
            for client in &mut clients {
                let path = format!("/id/{request}");
                assert_eq!(client.request("GET", &path, "").unwrap().status, 200);
            }
        }
        let page = observer.page_with(ALL as u64);
        let (sent, received) = (
            events(&page, "frames_sent"),
            events(&page, "frames_received"),
        );
        assert_eq!(sent, received, "{options:?}");
        // A request, an answer, and the handshake.
        assert!(
            sent as usize > 2 * ALL + 4 * CONNECTIONS,
            "{sent} {options:?}"
        );
        assert_eq!(events(&page, "frame_gaps"), 0, "{options:?}");
        observer.stop();
    }
}

/// `programs/tls_shared.py`. The client connects when it is asked for the first time.
fn shared(
    python: &mut std::process::Command,
    certificate: &Certificate,
    role: &str,
    port: u16,
    next: (&str, u16),
) {
    python
        .arg(Environment::programs().join("tls_shared.py"))
        .args([role, &port.to_string(), next.0, &next.1.to_string()])
        .arg(certificate.path());
}

/// Requests that had the connection to themselves may have one, before the others came.
fn assert_none_wrong(found: &Edges) {
    assert_eq!(found.wrong, 0, "{found:?}");
    assert_eq!(found.right + found.missing, ALL);
    assert!(found.missing > ALL / 2, "{found:?}");
}

#[test]
fn a_connection_that_requests_share_between_hosts_names_no_wrong_parent() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let certificate = Certificate::new();
    let hosts = Hosts::new();
    let backend = hosts.stdlib();
    let mut python = hosts.command(Host::Server, "python3");
    let next = ("127.0.0.1", backend.port());
    shared(&mut python, &certificate, "server", ENDS_TLS, next);
    let ender = on(&hosts, Host::Server, &mut python, ENDS_TLS);
    let mut python = hosts.command(Host::Client, "python3");
    let address = Host::Server.address().to_string();
    shared(
        &mut python,
        &certificate,
        "client",
        GATEWAY,
        (&address, ENDS_TLS),
    );
    let gateway = on(&hosts, Host::Client, &mut python, GATEWAY);
    let (asking, answering) = daemons(&environment, &gateway, [&ender, &backend]);
    hosts.run(Host::Client, || drive(gateway.port()));
    counted(&answering, ALL, ALL);
    let page = asking.page_with(ALL as u64);
    assert!(events(&page, "tls_shared") >= 1);
    let (before, behind) = (asking.stop(), answering.stop());
    assert_none_wrong(&edges(&before, &behind));
}

#[test]
fn a_trace_that_came_by_a_header_goes_on_behind_tls() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let certificate = Certificate::new();
    let backend = Server::stdlib("threads");
    let ender = ender(&certificate, &backend, &[]);
    let gateway = Server::tls_hop(&certificate, &url("https", &ender), &[]);
    let observer = watch(&environment, &[&gateway, &ender, &backend]);
    let mut client = Client::connect(gateway.port()).unwrap();
    let header = format!("traceparent: 00-{TRACE}-00f067aa0ba902b7-01\r\n");
    client.request("GET", "/id/0", &header).unwrap();
    counted(&observer, 1, 2);
    let spans = observer.stop();
    assert_eq!(spans.len(), 3);
    assert!(
        spans.iter().all(|span| span.trace_id() == TRACE),
        "{spans:?}"
    );
    let right = Edges {
        right: 1,
        ..Edges::default()
    };
    assert_eq!(edges(&spans, &spans), right);
}

/// A gateway on the client's host, ender and backend on the server's; a daemon for each host.
fn between_hosts(environment: &Environment, make: impl Fn(&Hosts, IpAddr, &Server) -> Chain) {
    let hosts = Hosts::new();
    let backend = hosts.stdlib();
    for address in [
        IpAddr::from(Host::Server.address()),
        IpAddr::from(Host::Server.address_6()),
    ] {
        let chain = make(&hosts, address, &backend);
        let (asking, answering) = daemons(environment, &chain.gateway, [&chain.ender, &backend]);
        hosts.run(Host::Client, || drive(chain.gateway.port()));
        let page = counted(&answering, ALL, ALL);
        asking.page_with(ALL as u64);
        assert_eq!(events(&page, "tcp_option_found"), ALL as u64);
        assert_eq!(events(&page, "tls_context_taken"), ALL as u64);
        let written = events(&asking.page(), "tcp_option_written");
        assert_eq!(written, ALL as u64);
        let (before, behind) = (asking.stop(), answering.stop());
        assert_eq!(edges(&before, &behind), RIGHT, "{address}");
    }
}

/// A daemon for each host, that of the gateway first.
fn daemons(
    environment: &Environment,
    gateway: &Server,
    others: [&Server; 2],
) -> (Observer, Observer) {
    let start = |servers: &[&Server]| {
        let mut arguments = vec![
            "--tcp-option-peers=10.77.0.0/24,fd77::/64".to_owned(),
            "--span-rate=unlimited".to_owned(),
            "--tls=off".to_owned(),
        ];
        arguments.extend(servers.iter().map(|it| format!("--pid={}", it.pid())));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Observer::start(environment, &arguments)
    };
    (start(&[gateway]), start(&others))
}

struct Chain {
    gateway: Server,
    ender: Server,
    /// What they use, until they have ended.
    _folder: Option<Folder>,
}

/// Starts a server on one of the hosts.
fn on(hosts: &Hosts, host: Host, command: &mut std::process::Command, port: u16) -> Server {
    let reached = || {
        hosts.run(host, || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
                || TcpStream::connect((Ipv6Addr::LOCALHOST, port)).is_ok()
        })
    };
    Server::start_when(command, port, reached)
}

const ENDS_TLS: u16 = 8443;
const GATEWAY: u16 = 8000;

fn python_gateway(
    hosts: &Hosts,
    certificate: &Certificate,
    ender: IpAddr,
    options: &[&str],
) -> Server {
    let mut python = hosts.command(Host::Client, "python3");
    let next = match ender {
        IpAddr::V4(address) => format!("https://{address}:{ENDS_TLS}"),
        IpAddr::V6(address) => format!("https://[{address}]:{ENDS_TLS}"),
    };
    let at = (Ipv4Addr::LOCALHOST.into(), GATEWAY);
    certificate.hop(&mut python, at, &next, options);
    on(hosts, Host::Client, &mut python, GATEWAY)
}

#[test]
fn two_hosts_with_tls_between_them_make_one_trace() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let certificate = Certificate::new();
    for options in [&[][..], &["--fresh"], &["--newest", "1.2"]] {
        between_hosts(&environment, |hosts, address, backend| {
            let next = format!("http://127.0.0.1:{}", backend.port());
            let mut python = hosts.command(Host::Server, "python3");
            let any = match address {
                IpAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
                IpAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
            };
            certificate.hop(&mut python, (any, ENDS_TLS), &next, &["--answer-tls"]);
            Chain {
                ender: on(hosts, Host::Server, &mut python, ENDS_TLS),
                gateway: python_gateway(hosts, &certificate, address, options),
                _folder: None,
            }
        });
    }
}

#[test]
fn nginx_on_another_host_that_ends_tls_goes_on_with_the_trace() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let certificate = Certificate::new();
    between_hosts(&environment, |hosts, address, backend| {
        let folder = Folder::new();
        let mut nginx = hosts.command(Host::Server, "nginx");
        let keys = certificate.path().display();
        let configuration = format!(
            "daemon off; master_process off; user root; pid nginx.pid; error_log stderr crit;
events {{ worker_connections 512; }}
http {{
    access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    server {{
        listen {ENDS_TLS} ssl; listen [::]:{ENDS_TLS} ssl;
        ssl_certificate {keys}/cert.pem; ssl_certificate_key {keys}/key.pem;
        location / {{ proxy_pass http://127.0.0.1:{}; }}
    }}
}}",
            backend.port()
        );
        let file = folder.file("nginx.conf", configuration);
        nginx.arg("-p").arg(folder.path()).arg("-c").arg(file);
        Chain {
            ender: on(hosts, Host::Server, &mut nginx, ENDS_TLS),
            gateway: python_gateway(hosts, &certificate, address, &["--offer", "http/1.1"]),
            _folder: Some(folder),
        }
    });
}
