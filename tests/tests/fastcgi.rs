//! nginx and php-fpm: one trace from the one's client to what the other calls, whichever socket lies between them.
#![allow(clippy::unwrap_used, reason = "tests panic, they don't return errors")]

use std::collections::HashMap;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use observer_tests::{
    Client, Environment, Folder, Observer, Server, Span, free_port, nginx_with, patience,
};

/// Where php-fpm listens.
#[derive(Clone, Copy)]
enum Over {
    Tcp,
    Unix,
}

/// nginx in front of php-fpm, and what that calls.
struct Site {
    _folder: Folder,
    backend: Server,
    _php: Server,
    nginx: Server,
}

/// php-fpm, by whatever version its program is called.
fn php_fpm() -> Command {
    let named = std::fs::read_dir("/usr/sbin").unwrap();
    let mut named = named.map(|entry| entry.unwrap().path());
    let is_it = |path: &std::path::PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with("php-fpm"))
    };
    Command::new(named.find(is_it).unwrap())
}

impl Site {
    /// `keeps` connections are kept open by nginx; with none a worker ends after three requests. (With both, nginx writes requests to
    /// connections that end, and sends them again.)
    fn start(over: Over, keeps: usize) -> Self {
        let folder = Folder::new();
        let backend = Server::stdlib("threads");
        let (fpm_port, port) = (free_port(), free_port());
        let socket = folder.path().join("fpm.sock");
        let listens = match over {
            Over::Tcp => format!("127.0.0.1:{fpm_port}"),
            Over::Unix => socket.display().to_string(),
        };
        let ends_after = if keeps == 0 { 3 } else { 0 };
        let pool = format!(
            "[global]
daemonize = no
error_log = {log}
[www]
user = root
listen = {listens}
pm = static
pm.max_children = 4
pm.max_requests = {ends_after}
clear_env = no
php_admin_value[error_log] =
php_admin_flag[log_errors] = on
",
            log = folder.path().join("fpm.log").display(),
        );
        let pool = folder.file("fpm.conf", pool);
        let mut php = php_fpm();
        php.args(["--nodaemonize", "--allow-to-run-as-root", "--fpm-config"])
            .arg(pool)
            .env("BACKEND", backend.port().to_string());
        let php = match over {
            Over::Tcp => Server::start(&mut php, fpm_port),
            Over::Unix => Server::start_when(&mut php, 0, || UnixStream::connect(&socket).is_ok()),
        };
        let upstream = match over {
            Over::Tcp => listens,
            Over::Unix => format!("unix:{listens}"),
        };
        let kept = match keeps {
            0 => String::new(),
            keeps => format!("keepalive {keeps};"),
        };
        let keeps_on = if keeps == 0 { "off" } else { "on" };
        let http = format!(
            "upstream php {{ server {upstream}; {kept} }}
    client_max_body_size 64m;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            fastcgi_pass php;
            fastcgi_keep_conn {keeps_on};
            fastcgi_param SCRIPT_FILENAME {script};
            fastcgi_param REQUEST_METHOD $request_method;
            fastcgi_param REQUEST_URI $request_uri;
            fastcgi_param QUERY_STRING $query_string;
            fastcgi_param CONTENT_TYPE $content_type;
            fastcgi_param CONTENT_LENGTH $content_length;
            fastcgi_param SERVER_PROTOCOL $server_protocol;
        }}
    }}",
            script = Environment::programs().join("fastcgi.php").display(),
        );
        let nginx = Server::start(&mut nginx_with(&folder, &http), port);
        Self {
            _folder: folder,
            backend,
            _php: php,
            nginx,
        }
    }
}

/// All that takes part, and this test.
fn observe(environment: &Environment) -> Observer {
    let programs =
        ["nginx", "php-fpm*", "python3*", "fastcgi*"].map(|name| format!("--exe={name}"));
    let programs = programs.iter().map(String::as_str);
    let arguments: Vec<&str> = std::iter::once("--span-rate=unlimited")
        .chain(programs)
        .collect();
    Observer::start(environment, &arguments)
}

fn is_fastcgi(span: &Span) -> bool {
    span.attribute("network.protocol.name") == "fastcgi"
}

/// The status of either protocol.
fn status(span: &Span) -> Option<u64> {
    if is_fastcgi(span) {
        assert!(span.attribute("http.request.method").is_null(), "{span:?}");
        span.attribute("fastcgi.response.status_code").as_u64()
    } else {
        span.status_code()
    }
}

/// What a span is called in a chain.
fn part(span: &Span) -> String {
    let protocol = if is_fastcgi(span) { "fastcgi" } else { "http" };
    format!("{protocol} {}", span.kind())
}

/// Those of these requests by their path, from the first to the last.
fn chains(spans: &[Span]) -> HashMap<String, Vec<&Span>> {
    let by_parent: HashMap<&str, &Span> = spans
        .iter()
        .filter_map(|span| Some((span.parent_span_id()?, span)))
        .collect();
    let mut chains = HashMap::new();
    for first in spans {
        if first.kind() == "client" && first.parent_span_id().is_none() && !is_fastcgi(first) {
            let mut chain = vec![first];
            while let Some(next) = by_parent.get(chain.last().unwrap().span_id()) {
                assert_eq!(next.trace_id(), first.trace_id());
                chain.push(next);
            }
            let before = chains.insert(first.target().to_owned(), chain);
            assert!(before.is_none(), "twice: {first:?}");
        }
    }
    chains
}

const CONNECTIONS: usize = 4;
const EACH: usize = 30;
const WHOLE: [&str; 6] = [
    "http client",
    "http server",
    "fastcgi client",
    "fastcgi server",
    "http client",
    "http server",
];

/// How many exchanges of FastCGI are counted at either end, once there are at least `all`, and so many calls of HTTP, or when they
/// have not come for half of the patience.
fn counted(observer: &Observer, all: usize, calls: usize) -> [usize; 2] {
    let began = Instant::now();
    loop {
        let page = observer.page();
        let count =
            |name: &str| page.sum(&format!("{name}_request_duration_seconds_count"), &[]) as usize;
        let ends = [count("fastcgi_client"), count("fastcgi_server")];
        let is_all = ends.iter().all(|end| *end >= all) && count("http_client") >= calls;
        if is_all || began.elapsed() > patience() / 2 {
            return ends;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Requests over several connections at once, and all spans.
fn load(environment: &Environment, site: &Site) -> Vec<Span> {
    let observer = observe(environment);
    std::thread::scope(|scope| {
        for connection in 0..CONNECTIONS {
            scope.spawn(move || {
                let mut client = Client::connect(site.nginx.port()).unwrap();
                for request in 0..EACH {
                    let id = connection * EACH + request;
                    let answer = client
                        .request("GET", &format!("/call/{id}?secret=1"), "")
                        .unwrap();
                    assert_eq!((answer.status, answer.body), (200, id.to_string().into()));
                }
            });
        }
    });
    let all = CONNECTIONS * EACH;
    let counted = counted(&observer, all, 2 * all);
    assert_eq!(counted, [all, all], "{}", observer.page().troubles());
    let spans = observer.stop();
    let ports = [site.nginx.port(), site.backend.port()].map(u64::from);
    let of_these = |span: &Span| {
        let port = span.attribute("server.port").as_u64();
        is_fastcgi(span) || port.is_some_and(|port| ports.contains(&port))
    };
    spans.into_iter().filter(of_these).collect()
}

fn each_request_is_one_trace(over: Over, keeps: usize) {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let site = Site::start(over, keeps);
    let spans = load(&environment, &site);
    let all = CONNECTIONS * EACH;
    assert_eq!(spans.len(), 6 * all);
    let chains = chains(&spans);
    assert_eq!(chains.len(), all);
    for id in 0..all {
        let chain = &chains[&format!("/call/{id}")];
        let parts: Vec<String> = chain.iter().map(|span| part(span)).collect();
        assert_eq!(parts, WHOLE, "{chain:#?}");
        for span in &chain[..4] {
            assert_eq!(span.target(), format!("/call/{id}"), "{span:?}");
        }
        for span in &chain[4..] {
            assert_eq!(span.target(), format!("/bytes/{id}"), "{span:?}");
        }
        for span in chain {
            assert_eq!(status(span), Some(200), "{span:?}");
            assert!(!span.is_incomplete(), "{span:?}");
            assert!(!format!("{span:?}").contains("secret"), "{span:?}");
        }
        for span in &chain[2..4] {
            assert_eq!(span.attribute("fastcgi.request.method"), "GET");
            assert_eq!(span.attribute("fastcgi.request.body.size"), 0, "{span:?}");
            let size = id.to_string().len();
            assert_eq!(span.attribute("fastcgi.response.body.size"), size);
            assert_eq!(span.attribute("fastcgi.app_status"), 0);
            assert_eq!(span.attribute("url.domain"), "localhost");
            let script = span.attribute("fastcgi.script_filename").as_str().unwrap();
            assert!(script.ends_with("/fastcgi.php"), "{span:?}");
        }
    }
}

#[test]
fn each_request_over_tcp_is_one_trace() {
    each_request_is_one_trace(Over::Tcp, 0);
}

#[test]
fn each_request_over_a_unix_socket_is_one_trace() {
    each_request_is_one_trace(Over::Unix, 0);
}

#[test]
fn each_request_over_kept_connections_is_one_trace() {
    each_request_is_one_trace(Over::Tcp, 4);
}

#[test]
fn outcomes_bodies_and_ends_are_as_they_were() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    for over in [Over::Tcp, Over::Unix] {
        let site = Site::start(over, 0);
        let observer = observe(&environment);
        let mut client = Client::connect(site.nginx.port()).unwrap();
        let mut asked = Vec::new();
        for code in [201, 404, 500] {
            let path = format!("/status/{code}");
            assert_eq!(client.request("GET", &path, "").unwrap().status, code);
            asked.push((path, Some(u64::from(code)), 0, 0));
        }
        for size in [1, 3000, 300_000] {
            let path = format!("/bytes/{size}");
            let answer = client.request("GET", &path, "").unwrap();
            assert_eq!(answer.body.len(), size);
            asked.push((path, Some(200), 0, size));
        }
        for size in [1, 1000, 100_000] {
            let path = format!("/echo/{size}");
            let answer = client.post(&path, &vec![b'x'; size]).unwrap();
            assert_eq!(answer.body, size.to_string().as_bytes());
            asked.push((path, Some(200), size, size.to_string().len()));
        }
        assert_eq!(client.request("GET", "/complain", "").unwrap().status, 200);
        asked.push(("/complain".into(), Some(200), 0, 0));
        let answer = client.request("GET", "/finish/7", "").unwrap();
        assert_eq!(answer.body, b"7");
        asked.push(("/finish/7".into(), Some(200), 0, 1));
        // A client that does not wait. Of a Unix socket nobody tells the end.
        let leaves = matches!(over, Over::Tcp);
        if leaves {
            let mut client = TcpStream::connect(("127.0.0.1", site.nginx.port())).unwrap();
            client
                .write_all(b"GET /sleep/1500 HTTP/1.1\r\nHost: h\r\n\r\n")
                .unwrap();
            std::thread::sleep(Duration::from_millis(300));
        }
        let all = asked.len() + usize::from(leaves);
        let counted = counted(&observer, all, 0);
        let troubles = observer.page().troubles();
        let spans = observer.stop();
        let told: Vec<&str> = spans.iter().map(Span::path).collect();
        assert_eq!(counted, [all, all], "{troubles}; {told:?}");
        for (path, code, sent, got) in asked {
            let ends: Vec<&Span> = spans
                .iter()
                .filter(|span| is_fastcgi(span) && span.path() == path)
                .collect();
            assert_eq!(ends.len(), 2, "{path}: {ends:#?}");
            for span in ends {
                assert_eq!(status(span), code, "{span:?}");
                assert_eq!(
                    span.attribute("fastcgi.request.body.size"),
                    sent,
                    "{span:?}"
                );
                assert_eq!(
                    span.attribute("fastcgi.response.body.size"),
                    got,
                    "{span:?}"
                );
                let complains = span.attribute("fastcgi.stderr.size").as_u64();
                assert_eq!(complains.is_some(), path == "/complain", "{span:?}");
                let fails = code >= Some(500) || (code >= Some(400) && span.kind() == "client");
                assert_eq!(span.status() == "error", fails, "{span:?}");
                assert!(!span.is_incomplete(), "{span:?}");
            }
        }
        // What is called when the answer has gone out belongs to nobody.
        let late = spans
            .iter()
            .find(|span| span.kind() == "client" && span.target() == "/bytes/7")
            .unwrap();
        assert_eq!(late.parent_span_id(), None, "{late:?}");
        if !leaves {
            continue;
        }
        // nginx gave it up; php-fpm finds nobody to answer, when it does.
        let given_up: Vec<&Span> = spans
            .iter()
            .filter(|span| is_fastcgi(span) && span.path() == "/sleep/1500")
            .collect();
        assert_eq!(given_up.len(), 2, "{given_up:#?}");
        let client = given_up
            .iter()
            .find(|span| span.kind() == "client")
            .unwrap();
        assert_eq!(client.status(), "error", "{client:?}");
        assert_eq!(status(client), None, "{client:?}");
        assert!(client.milliseconds() < 1400.0, "{client:?}");
    }
}

/// One thread serves all that it reads at once, of which no web server here sends more than one request: whose its calls are cannot
/// be told then. Where one comes at a time, they are that one's.
#[test]
fn calls_for_requests_that_share_a_connection_at_once_have_no_parent() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    const ROUNDS: usize = 20;
    for at_once in [1, 3] {
        let backend = Server::stdlib("threads");
        let observer = observe(&environment);
        let mut both = Command::new("python3");
        both.arg(Environment::programs().join("fastcgi_at_once.py"))
            .args([usize::from(backend.port()), at_once, ROUNDS].map(|it| it.to_string()));
        assert!(both.status().unwrap().success());
        let all = ROUNDS * at_once;
        let counted = counted(&observer, all, all);
        assert_eq!(counted, [all, all], "{}", observer.page().troubles());
        let spans = observer.stop();
        let by_id: HashMap<&str, &Span> = spans.iter().map(|span| (span.span_id(), span)).collect();
        let name = |span: &Span| span.target().rsplit('/').next().unwrap().to_owned();
        let mut parents = 0;
        for span in &spans {
            let is_call = span.kind() == "client"
                && span.attribute("server.port") == u64::from(backend.port());
            let parent = span.parent_span_id().and_then(|parent| by_id.get(parent));
            if is_call && let Some(parent) = parent {
                assert_eq!(
                    name(parent),
                    name(span),
                    "{parent:?} is no parent of {span:?}"
                );
                parents += 1;
            }
            if is_fastcgi(span) {
                assert_eq!(status(span), Some(200), "{span:?}");
                assert!(!span.is_incomplete(), "{span:?}");
            }
        }
        let expected = if at_once == 1 { ROUNDS } else { 0 };
        assert_eq!(parents, expected, "{at_once} at once");
    }
}
