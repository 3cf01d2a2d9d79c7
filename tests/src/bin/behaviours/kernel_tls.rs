//! Kernel TLS: what processes write and read is plain, and the kernel encrypts it.

use std::process::Command;

use observer_tests::{Client, Environment, Folder, Server, Span, free_port, nginx_with};
use rcgen::{CertifiedKey, generate_simple_self_signed};

use crate::behaviour::{Behaviour, Drive, Evidence, assert_exact};
use crate::stage::Stage;

pub(crate) const BEHAVIOURS: &[Behaviour] = &[
    Behaviour {
        name: "kernel TLS",
        drive: answers,
    },
    Behaviour {
        name: "kernel TLS: sendfile",
        drive: files,
    },
    Behaviour {
        name: "one trace over kernel TLS",
        drive: trace,
    },
];

/// Bytes of nginx's file: more than the socket's buffers hold.
const LARGE: usize = 3 << 20;

/// Servers with kernel TLS.
pub(crate) struct Secure {
    /// Python's.
    python: Server,
    /// Plain, and asks `python`.
    gateway: Server,
    nginx: Server,
    folder: Folder,
}

impl Secure {
    /// What they need, in a folder; the error is why the kernel can't.
    pub(crate) fn prepare() -> Result<Folder, String> {
        let folder = Folder::new();
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        folder.file("pair.pem", signing_key.serialize_pem() + &cert.pem());
        let check = program(&folder, &["check"]).output().unwrap();
        if !check.status.success() {
            return Err(String::from_utf8_lossy(&check.stderr).trim().to_owned());
        }
        Ok(folder)
    }

    /// Starts them; the error is why the kernel can't.
    pub(crate) fn start() -> Result<Self, String> {
        let folder = Self::prepare()?;
        let ports = [free_port(), free_port(), free_port()];
        let [python, gateway, nginx] = ports.map(|port| port.to_string());
        std::fs::create_dir_all(folder.path().join("html")).unwrap();
        std::fs::write(folder.path().join("html/large"), vec![b'x'; LARGE]).unwrap();
        let mut command = nginx_with(&folder, &configuration(&nginx));
        Ok(Self {
            python: Server::start(&mut program(&folder, &["server", &python]), ports[0]),
            gateway: Server::start(
                &mut program(&folder, &["gateway", &gateway, &python]),
                ports[1],
            ),
            nginx: Server::start(&mut command, ports[2]),
            folder,
        })
    }

    pub(crate) fn servers(&self) -> [&Server; 3] {
        [&self.python, &self.gateway, &self.nginx]
    }

    /// Python's server.
    pub(crate) fn server(&self) -> &Server {
        &self.python
    }

    /// Asks for these paths on one connection; statuses and sizes of the answers, a line each.
    pub(crate) fn get(&self, server: &Server, paths: &[String]) -> String {
        let mut client = program(&self.folder, &["get", &server.port().to_string()]);
        let client = client.args(paths).output().unwrap();
        assert!(client.status.success(), "{client:?}");
        String::from_utf8(client.stdout).unwrap()
    }
}

fn program(folder: &Folder, arguments: &[&str]) -> Command {
    let mut python = Command::new("python3");
    python
        .arg(Environment::programs().join("kernel_tls.py"))
        .arg(folder.path().join("pair.pem"))
        .args(arguments);
    python
}

fn configuration(port: &str) -> String {
    format!(
        "sendfile on;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate pair.pem;
        ssl_certificate_key pair.pem;
        ssl_protocols TLSv1.2;
        ssl_conf_command Options KTLS;
        root html;
        location = /status/204 {{ return 204; }}
    }}"
    )
}

/// Drives the servers, where there are any.
fn with(stage: &Stage, drive: impl FnOnce(&Secure) -> Drive) -> Drive {
    match &stage.secure {
        Ok(secure) => drive(secure),
        Err(reason) => Drive::Skip(reason.clone()),
    }
}

/// Small answers and one of many records, on one connection.
fn answers(stage: &Stage) -> Drive {
    with(stage, |secure| {
        let (server, sizes) = (&secure.python, [5, 70_000, 1]);
        let paths = sizes.map(|size| format!("/bytes/{size}"));
        let got = secure.get(server, &paths);
        assert_eq!(got, "200 5\n200 70000\n200 1\n");
        let port = server.port();
        Drive::check(paths.len(), move |evidence| {
            let spans = evidence.served(port, "/bytes");
            assert_exact(&spans, &paths, 200);
            for (span, size) in spans.iter().zip(sizes) {
                assert_eq!(span.attribute("http.response.body.size"), size, "{span:?}");
                assert_eq!(span.attribute("url.scheme"), "https", "{span:?}");
            }
        })
    })
}

/// nginx hands a file to the kernel, then answers from memory on the same connection.
fn files(stage: &Stage) -> Drive {
    with(stage, |secure| {
        let paths = ["/large", "/status/204"].map(str::to_owned);
        let got = secure.get(&secure.nginx, &paths);
        assert_eq!(got, format!("200 {LARGE}\n204 0\n"));
        let port = secure.nginx.port();
        Drive::check(paths.len(), move |evidence| {
            let spans = evidence.served(port, "/");
            let found: Vec<_> = spans
                .iter()
                .map(|span| {
                    assert!(!span.is_incomplete(), "{span:?}");
                    (span.path(), span.status_code())
                })
                .collect();
            assert_eq!(found, [("/large", Some(200)), ("/status/204", Some(204))]);
            assert_eq!(spans[0].attribute("http.response.body.size"), LARGE);
        })
    })
}

const CALLS: usize = 10;

/// A gateway asks a server, both with kernel TLS: one trace, each the parent of the next.
fn trace(stage: &Stage) -> Drive {
    with(stage, |secure| {
        let mut client = Client::connect(secure.gateway.port()).unwrap();
        for call in 0..CALLS {
            let answer = client.request("GET", &format!("/ask/{call}"), "");
            assert_eq!(answer.unwrap().status, 200);
        }
        drop(client);
        let (gateway, server) = (secure.gateway.port(), secure.python.port());
        Drive::check(2 * CALLS, move |evidence| {
            for call in 0..CALLS {
                let asked = only(evidence.served(gateway, &format!("/ask/{call}")));
                let told = only(evidence.served(server, &format!("/told/{call}")));
                let asks = only(calls(evidence, server, call));
                for (child, parent) in [(asks, asked), (told, asks)] {
                    let joined = child.trace_id() == parent.trace_id()
                        && child.parent_span_id() == Some(parent.span_id());
                    assert!(joined, "call {call}: {child:?} is not of {parent:?}");
                }
            }
        })
    })
}

/// Client spans of this call.
fn calls(evidence: &Evidence, server: u16, call: usize) -> Vec<&Span> {
    let url = format!("https://localhost:{server}/told/{call}");
    let is_it = |span: &&Span| span.kind() == "client" && *span.attribute("url.full") == url;
    evidence.spans.iter().filter(is_it).collect()
}

fn only(spans: Vec<&Span>) -> &Span {
    assert_eq!(spans.len(), 1, "{spans:?}");
    spans[0]
}
