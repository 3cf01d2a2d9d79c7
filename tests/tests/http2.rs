//! HTTP/2 as real programs speak it: every stream seen, with its status, its sizes and its path, or none where that is not known.
#![allow(clippy::unwrap_used, reason = "tests panic, they don't return errors")]

use std::process::{Command, Stdio};

use observer_tests::{
    Certificate, Environment, Folder, Observer, Server, Span, free_port, nginx_with,
};

/// A folder with files of these sizes, named after them.
const SIZES: [usize; 5] = [0, 3, 1_000, 20_000, 300_000];

fn files(folder: &Folder) -> std::path::PathBuf {
    let root = folder.path().join("html");
    std::fs::create_dir_all(&root).unwrap();
    for size in SIZES {
        std::fs::write(root.join(size.to_string()), vec![b'x'; size]).unwrap();
    }
    root
}

fn nghttpd(folder: &Folder) -> Server {
    let port = free_port();
    let mut nghttpd = Command::new("nghttpd");
    nghttpd.args(["--no-tls", "--address=127.0.0.1", "-d"]);
    nghttpd.arg(files(folder)).arg(port.to_string());
    Server::start(&mut nghttpd, port)
}

fn nginx(folder: &Folder) -> Server {
    let port = free_port();
    files(folder);
    let http = format!(
        "keepalive_requests 1000000; server {{ listen 127.0.0.1:{port} http2; root html; }}"
    );
    Server::start(&mut nginx_with(folder, &http), port)
}

/// What h2load says of its requests: how many were answered with a status of 2xx and in all.
fn h2load(arguments: &[&str], address: &str) -> (usize, usize) {
    let mut command = Command::new("h2load");
    command.args(arguments).arg(address);
    let output = command.stderr(Stdio::inherit()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let number = |line: &str, before: &str| -> usize {
        let line = text.lines().find(|it| it.starts_with(line)).unwrap();
        let words: Vec<&str> = line.split([' ', ',']).filter(|it| !it.is_empty()).collect();
        let at = words.iter().position(|word| *word == before).unwrap();
        words[at - 1].parse().unwrap()
    };
    (number("status codes:", "2xx"), number("requests:", "done"))
}

/// Of one server.
fn of(server: &Server, mut spans: Vec<Span>) -> Vec<Span> {
    spans.retain(|span| span.attribute("server.port") == u64::from(server.port()));
    spans
}

/// Has h2load ask for a file in these ways, each on connections of its own, and compares with what it says it got.
fn loaded(server: &Server, environment: &Environment, scheme: &str, sizes: [u64; 2]) {
    let observer = Observer::start(
        environment,
        &[
            &format!("--port={}", server.port()),
            "--span-rate=unlimited",
        ],
    );
    let mut asked = 0;
    for size in sizes {
        for (streams, connections) in [(1, 1), (10, 1), (100, 1), (1, 20), (10, 20)] {
            let count = 400;
            let (fine, done) = h2load(
                &[
                    &format!("-n{count}"),
                    &format!("-m{streams}"),
                    &format!("-c{connections}"),
                ],
                &format!("{scheme}://127.0.0.1:{}/{size}", server.port()),
            );
            assert_eq!((fine, done), (count, count), "h2load's own");
            asked += count;
        }
    }
    let page = observer.settled_page(asked as u64);
    let troubles = page.troubles();
    assert_eq!(
        page.served(&["network_protocol_version=\"2\""]),
        asked as u64,
        "{troubles}"
    );
    let spans = of(server, observer.stop());
    assert_eq!(spans.len(), asked, "{troubles}");
    for size in sizes {
        let of_size = |span: &&Span| {
            span.path() == format!("/{size}")
                && span.attribute("http.response.body.size") == size
                && span.attribute("http.request.body.size") == 0
        };
        assert_eq!(
            spans.iter().filter(of_size).count(),
            asked / 2,
            "{troubles}"
        );
    }
    for span in &spans {
        assert_eq!(span.status_code(), Some(200), "{span:?}");
        assert!(!span.is_incomplete(), "{span:?}");
        assert_eq!(span.attribute("network.protocol.version"), "2");
        assert_eq!(span.attribute("url.scheme"), scheme);
    }
}

#[test]
fn nghttpd_is_counted_stream_by_stream() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let folder = Folder::new();
    loaded(&nghttpd(&folder), &environment, "http", [3, 20_000]);
}

#[test]
fn nginx_is_counted_stream_by_stream() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let folder = Folder::new();
    loaded(&nginx(&folder), &environment, "http", [3, 20_000]);
}

#[test]
fn nginx_over_tls_is_counted_stream_by_stream() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let (folder, certificate) = (Folder::new(), Certificate::new());
    let port = free_port();
    files(&folder);
    let keys = certificate.path().display();
    let http = format!(
        "keepalive_requests 1000000; server {{ listen 127.0.0.1:{port} ssl http2; root html;
         ssl_certificate {keys}/cert.pem; ssl_certificate_key {keys}/key.pem; }}"
    );
    let server = Server::start(&mut nginx_with(&folder, &http), port);
    // Of TLS all is shipped, so that much at once may be more than a busy machine reads.
    loaded(&server, &environment, "https", [3, 1_000]);
}

/// curl's own words for what it got: status and size.
fn curl(arguments: &[&str]) -> Vec<(u64, u64)> {
    let mut command = Command::new("curl");
    command.args([
        "-s",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code} %{size_download}\n",
    ]);
    let output = command.args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| {
            let (status, size) = line.split_once(' ').unwrap();
            (status.parse().unwrap(), size.parse().unwrap())
        })
        .collect()
}

#[test]
fn curl_and_nghttpd_are_both_seen_with_what_was_not_there_and_what_was_sent() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let folder = Folder::new();
    let server = nghttpd(&folder);
    let observer = Observer::start(&environment, &["--span-rate=unlimited"]);
    let body = folder.file("body", vec![b'b'; 50_000]);
    let upload = format!("@{}", body.display());
    let mut got = Vec::new();
    for path in ["/3", "/20000", "/300000", "/0", "/missing"] {
        let address = format!("http://127.0.0.1:{}{path}?secret=1", server.port());
        let seen = curl(&["--http2-prior-knowledge", &address]);
        got.push((path, "GET", seen[0], 0));
    }
    let address = format!("http://127.0.0.1:{}/3", server.port());
    let seen = curl(&[
        "--http2-prior-knowledge",
        "--data-binary",
        &upload,
        &address,
    ]);
    got.push(("/3", "POST", seen[0], 50_000));
    let page = observer.settled_page(got.len() as u64);
    let spans = of(&server, observer.stop());
    let ids: Vec<&str> = spans.iter().map(Span::span_id).collect();
    for span in spans.iter().filter(|span| span.kind() == "server") {
        let parent = span.parent_span_id().unwrap_or_else(|| panic!("{span:?}"));
        assert!(ids.contains(&parent), "{span:?}");
    }
    for kind in ["server", "client"] {
        let mut spans: Vec<&Span> = spans.iter().filter(|span| span.kind() == kind).collect();
        spans.sort_by_key(|span| span.start_unix_nano());
        assert_eq!(spans.len(), got.len(), "{kind}: {}", page.troubles());
        for (span, (path, method, (status, size), sent)) in spans.iter().zip(&got) {
            assert_eq!((span.target(), span.method()), (*path, *method), "{span:?}");
            assert_eq!(span.status_code(), Some(*status), "{span:?}");
            assert_eq!(span.attribute("http.response.body.size"), *size, "{span:?}");
            assert_eq!(span.attribute("http.request.body.size"), *sent, "{span:?}");
            assert!(!span.is_incomplete(), "{span:?}");
        }
    }
}

#[test]
fn connections_that_are_older_than_observer_are_read_from_then_on() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let folder = Folder::new();
    let server = nginx(&folder);
    let mut load = Command::new("h2load")
        .args(["-D", "6", "-m", "100", "-c", "2"])
        .arg(format!("http://127.0.0.1:{}/3", server.port()))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_secs(1));
    let observer = Observer::start(&environment, &[&format!("--port={}", server.port())]);
    observer.page_with(2_000);
    load.wait().unwrap();
    let spans = of(&server, observer.stop());
    assert!(!spans.is_empty());
    for span in &spans {
        // Each is the same; what was named before is not known, and never something else.
        let path = span.attribute("url.path");
        assert!(path.is_null() || path == "/3", "{span:?}");
        assert_eq!(span.method(), "GET", "{span:?}");
        if !span.is_incomplete() {
            assert_eq!(span.status_code(), Some(200), "{span:?}");
            assert_eq!(span.attribute("http.response.body.size"), 3, "{span:?}");
        }
    }
    let whole = spans.iter().filter(|span| !span.is_incomplete()).count();
    assert!(
        whole * 100 >= spans.len() * 99,
        "{whole} of {}",
        spans.len()
    );
}
