//! HTTP/1 inside TLS, read at the wire: the exchanges are those that the programs had, at both ends.
#![allow(clippy::unwrap_used, reason = "tests panic, they don't return errors")]

use std::{
    collections::HashMap,
    fs,
    process::{Command, Stdio},
};

use observer_tests::{
    Certificate, Environment, Folder, Observer, Page, Server, Span, free_port, nginx_with, until,
};

/// An nginx that answers over TLS: `/small` with a text, `/large` with a megabyte, `/up` takes what it is sent. It logs each
/// request as method, path, status and bytes of the body.
struct Nginx {
    server: Server,
    folder: Folder,
}

impl Nginx {
    fn start(certificate: &Certificate, versions: &str) -> Self {
        let folder = Folder::new();
        let (at, port) = (certificate.path().display(), free_port());
        let content = folder.path().display().to_string();
        folder.file("large", vec![b'x'; LARGE]);
        let mut nginx = nginx_with(
            &folder,
            &format!(
                "log_format facts '$request_method $uri $status $body_bytes_sent $request_length';
                 server {{
                   listen 127.0.0.1:{port} ssl; ssl_protocols {versions};
                   ssl_certificate {at}/cert.pem; ssl_certificate_key {at}/key.pem;
                   access_log {content}/access.log facts;
                   client_max_body_size 100m;
                   location /small {{ return 200 'a text'; }}
                   location /missing {{ return 404 'none'; }}
                   location /large {{ root {content}; }}
                   location /up {{ return 204; }}
                 }}"
            ),
        );
        Self {
            server: Server::start(nginx.args(["-g", "master_process off;"]), port),
            folder,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.server.port())
    }

    /// Method, path, status and bytes of each request that was served.
    fn log(&self) -> Vec<(String, String, u64, u64)> {
        let text = fs::read_to_string(self.folder.path().join("access.log")).unwrap();
        let fact = |line: &str| {
            let words: Vec<_> = line.split(' ').collect();
            let number = |at: usize| words[at].parse().unwrap();
            (
                words[0].to_owned(),
                words[1].to_owned(),
                number(2),
                number(3),
            )
        };
        text.lines().map(fact).collect()
    }
}

const LARGE: usize = 1_000_000;

fn curl(certificate: &Certificate, arguments: &[&str]) {
    let output = Command::new("curl")
        .args(["-sS", "--http1.1", "--cacert"])
        .arg(certificate.path().join("cert.pem"))
        .args(arguments)
        .stdout(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// (By a port, a process is selected once it was looked at, which takes longer than curl lives.)
fn watch(environment: &Environment, client: &str) -> Observer {
    let client = format!("--exe={client}");
    Observer::start(
        environment,
        &["--exe=nginx", &client, "--span-rate=unlimited"],
    )
}

/// What it saw of that server.
fn of_server(observer: Observer, port: u16) -> Vec<Span> {
    let mut spans = observer.stop();
    spans.retain(|span| span.attribute("server.port") == u64::from(port));
    spans
}

fn facts(span: &Span) -> (String, String, u64, u64) {
    let size = span.attribute("http.response.body.size").as_u64();
    (
        span.method().to_owned(),
        span.target().to_owned(),
        span.status_code().unwrap(),
        size.unwrap_or(0),
    )
}

/// Every request of the access log has both ends' spans, in one trace, and nothing else has.
fn assert_is_log(nginx: &Nginx, spans: &[Span], page: &Page) {
    let mut expected = nginx.log();
    expected.sort();
    for kind in ["server", "client"] {
        let of_kind = spans.iter().filter(|span| span.kind() == kind);
        let mut found: Vec<_> = of_kind.map(facts).collect();
        found.sort();
        assert_eq!(found, expected, "{kind}: {}", page.troubles());
    }
    let calls: HashMap<&str, &Span> = spans
        .iter()
        .filter(|span| span.kind() == "client")
        .map(|span| (span.span_id(), span))
        .collect();
    for span in spans {
        assert!(!span.is_incomplete(), "{span:?}");
        assert_eq!(span.attribute("tls.protocol.name"), "tls", "{span:?}");
        assert_eq!(span.attribute("server.address"), "localhost", "{span:?}");
        if span.kind() == "server" {
            assert_eq!(span.attribute("url.scheme"), "https");
            let parent = span.parent_span_id().and_then(|id| calls.get(id));
            let parent = parent.unwrap_or_else(|| panic!("no call for {span:?}"));
            assert_eq!(parent.trace_id(), span.trace_id());
            assert_eq!(facts(parent), facts(span));
        }
    }
}

#[test]
fn curl_and_nginx_say_what_the_access_log_says() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let certificate = Certificate::new();
    for version in ["1.2", "1.3"] {
        let nginx = Nginx::start(&certificate, &format!("TLSv{version}"));
        let observer = watch(&environment, "curl");
        let up = nginx.folder.file("up", vec![b'u'; 300_000]);
        let up = format!("@{}", up.display());
        for _ in 0..5 {
            curl(&certificate, &[&nginx.url("/small")]);
            curl(
                &certificate,
                &[
                    &nginx.url("/large"),
                    &nginx.url("/small"),
                    &nginx.url("/missing"),
                ],
            );
            curl(&certificate, &["--data-binary", &up, &nginx.url("/up")]);
        }
        // It logs an answer behind its last byte.
        let served = 25;
        until("all is logged", || {
            (nginx.log().len() == served).then_some(())
        });
        let page = observer.page_with(served as u64);
        let handshakes = page.sum("observer_tls_handshake_duration_seconds_count", &[]);
        assert_eq!(handshakes as usize, 2 * 15, "{}", page.troubles());
        let spans = of_server(observer, nginx.server.port());
        assert_is_log(&nginx, &spans, &page);
        for span in &spans {
            assert_eq!(span.attribute("tls.protocol.version"), version);
        }
    }
}

#[test]
fn session_tickets_between_a_head_and_its_body_begin_no_request() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let (certificate, port) = (Certificate::new(), free_port());
    let observer = Observer::start(&environment, &["--exe=python3*", "--span-rate=unlimited"]);
    let status = Command::new(environment.python("python3"))
        .arg(Environment::programs().join("tls_split.py"))
        .arg(certificate.path())
        .args([port.to_string(), "10".to_owned()])
        .status()
        .unwrap();
    assert!(status.success());
    let page = observer.page_with(30);
    let spans = of_server(observer, port);
    let of_kind = |kind: &str| -> Vec<&Span> {
        let mut found: Vec<&Span> = spans.iter().filter(|span| span.kind() == kind).collect();
        found.sort_by_key(|span| span.target());
        found
    };
    let (calls, served) = (of_kind("client"), of_kind("server"));
    assert_eq!((calls.len(), served.len()), (30, 30), "{}", page.troubles());
    for (call, span) in calls.iter().zip(&served) {
        assert_eq!(call.target(), span.target());
        assert_eq!(span.parent_span_id(), Some(call.span_id()), "{span:?}");
        assert_eq!(call.trace_id(), span.trace_id());
    }
}

/// When the certificate ends, as openssl says: in seconds since 1970, and as spans say it.
fn end_of(certificate: &Certificate) -> (f64, String) {
    let output = Command::new("sh")
        .arg("-c")
        .arg("end=$(openssl x509 -enddate -noout -in cert.pem | cut -d= -f2); date -d \"$end\" -u '+%s %Y-%m-%dT%H:%M:%SZ'")
        .current_dir(certificate.path())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (seconds, written) = text.trim().split_once(' ').unwrap();
    (seconds.parse().unwrap(), written.to_owned())
}

#[test]
fn when_a_certificate_ends_is_told_and_said_where_that_is_soon() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    for (version, days) in [("1.2", 3), ("1.3", 3), ("1.3", 60)] {
        let certificate = Certificate::of_days(days);
        let nginx = Nginx::start(&certificate, &format!("TLSv{version}"));
        let observer = watch(&environment, "curl");
        for _ in 0..3 {
            curl(&certificate, &[&nginx.url("/small")]);
        }
        let page = observer.page_with(3);
        let (end, written) = end_of(&certificate);
        let port = format!("server_port=\"{}\"", nginx.server.port());
        for (role, service) in [("client", "curl"), ("server", "nginx")] {
            let labels = [
                port.as_str(),
                "server_address=\"localhost\"",
                &format!("observer_role=\"{role}\""),
                &format!("service_name=\"{service}\""),
            ];
            let told = page.sum("observer_tls_certificate_not_after_seconds", &labels);
            assert_eq!(told, end, "{version}, {role}: {}", page.troubles());
        }
        let (mut spans, log) = observer.stop_with_log();
        spans.retain(|span| span.attribute("server.port") == u64::from(nginx.server.port()));
        assert_eq!(spans.len(), 6, "{spans:?}");
        for span in &spans {
            assert_eq!(
                span.attribute("tls.server.not_after"),
                &*written,
                "{span:?}"
            );
        }
        let line = format!(
            "the certificate of localhost:{} ends in 2 days, {written}",
            nginx.server.port()
        );
        let said = log.lines().filter(|text| text.contains(&line)).count();
        assert_eq!(said, usize::from(days == 3), "{log}");
        assert_eq!(log.matches("the certificate of").count(), said, "{log}");
    }
}
