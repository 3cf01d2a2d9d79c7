//! The servers that behaviours talk to, and the daemon that watches them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use observer_tests::{
    Certificate, Client, Environment, Folder, Observer, Server, free_port, nginx,
};

use crate::behaviour::Evidence;
use crate::daemon::Load;
use crate::identity::{self, Container};
use crate::kernel_tls::Secure;
use crate::lookups::Resolving;
use crate::namespace;
use crate::rings;

/// Bytes of nginx's file `/large`: more than the socket's buffers hold.
pub(crate) const LARGE: usize = 8 << 20;

/// Everything that is there before the first behaviour is driven. Servers end before the folders that they use.
pub(crate) struct Stage {
    observer: RefCell<Option<Observer>>,
    /// Python's server, a thread a connection, dual-stack: IPv4 peers are v4-mapped. In a container, if it may.
    pub(crate) python: Server,
    /// Python's server in four processes on one socket.
    pub(crate) prefork: Server,
    /// Python's pool of threads, which asks `prefork`.
    pub(crate) gateway: Server,
    /// Python's server that asks another of its kind over TLS, which asks `prefork` in the open.
    pub(crate) tls_gateway: Server,
    pub(crate) tls_ender: Server,
    /// Python's server on the Unix socket `socket`.
    pub(crate) _unix: Server,
    pub(crate) nginx: Server,
    /// nginx on the same port of another network namespace's loopback; the error is why there is none.
    pub(crate) elsewhere: Result<Server, String>,
    /// The control group that `python` is in; the error is why it is in none.
    pub(crate) container: Result<Container, String>,
    /// A connection to `python` that has carried a request before the daemon began.
    pub(crate) older: RefCell<Client>,
    pub(crate) socket: PathBuf,
    /// Servers that make exactly these system calls, by their ways; the error is why the kernel can't.
    pub(crate) raw: BTreeMap<&'static str, Result<Server, String>>,
    /// Servers with kernel TLS; the error is why there are none.
    pub(crate) secure: Result<Secure, String>,
    /// A name server, and who asks it; the error is why there is none.
    pub(crate) resolving: Result<Resolving, String>,
    _folders: [Folder; 3],
    _certificate: Certificate,
}

impl Stage {
    /// Starts the servers, then the daemon, which knows them by their ports.
    pub(crate) fn set(environment: &Environment) -> Self {
        let folders = [Folder::new(), Folder::new(), Folder::new()];
        let socket = folders[2].path().join("socket");
        let (nginx_port, python_port) = (free_port(), free_port());
        let mut command = nginx(&folders[0], nginx_port);
        std::fs::write(folders[0].path().join("html/large"), vec![b'x'; LARGE]).unwrap();
        let nginx = Server::start(&mut command, nginx_port);
        let elsewhere = namespace::nginx(&folders[1], nginx_port);
        let mut command = python(&python_port.to_string(), "ipv6");
        let python_server = Server::start(
            command.env("OTEL_SERVICE_NAME", identity::SERVICE),
            python_port,
        );
        let container = Container::around(python_server.pid());
        let prefork = Server::stdlib("prefork");
        let gateway = Server::stdlib_gateway("pool", &prefork);
        let certificate = Certificate::new();
        let next = format!("http://127.0.0.1:{}", prefork.port());
        let tls_ender = Server::tls_hop(&certificate, &next, &["--answer-tls"]);
        let next = format!("https://127.0.0.1:{}", tls_ender.port());
        let tls_gateway = Server::tls_hop(&certificate, &next, &[]);
        let accepts = || std::os::unix::net::UnixStream::connect(&socket).is_ok();
        let mut command = python(&socket.to_string_lossy(), "unix");
        let unix = Server::start_when(&mut command, 0, accepts);
        let mut older = Client::connect(python_port).unwrap();
        older.request("GET", "/bytes/0", "").unwrap();

        let ways = ["peek", "cold", "together"].into_iter().chain(rings::WAYS);
        let raw: BTreeMap<_, _> = ways.map(|way| (way, raw_server(way))).collect();
        let secure = Secure::start();
        let resolving = Resolving::start();
        let mut arguments = vec![
            "--span-rate=unlimited".to_owned(),
            "--log-level=debug".to_owned(),
            format!("--exe={}", executable().display()),
            format!("--pid={}", unix.pid()),
        ];
        let by_port = [
            &python_server,
            &prefork,
            &gateway,
            &nginx,
            &tls_gateway,
            &tls_ender,
        ];
        for server in by_port {
            arguments.push(format!("--port={}", server.port()));
        }
        if let Ok(resolving) = &resolving {
            for server in resolving.servers() {
                arguments.push(format!("--pid={}", server.pid()));
            }
        }
        for server in secure.iter().flat_map(Secure::servers) {
            arguments.push(format!("--port={}", server.port()));
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let observer = Observer::start(environment, &arguments);
        Self {
            observer: RefCell::new(Some(observer)),
            python: python_server,
            prefork,
            gateway,
            tls_gateway,
            tls_ender,
            _unix: unix,
            nginx,
            elsewhere,
            container,
            older: RefCell::new(older),
            socket,
            raw,
            secure,
            resolving,
            _folders: folders,
            _certificate: certificate,
        }
    }

    /// Waits until the daemon has counted so many exchanges of servers, and ends it.
    pub(crate) fn end(&self, driven: u64) -> (Evidence, Load) {
        let observer = self.observer.take().expect("a daemon");
        let page = observer.settled_page(driven);
        let log = observer.said().to_owned();
        let begun = Instant::now();
        let mut spans = observer.stop();
        let load = Load::read(&log, begun.elapsed());
        spans.sort_by_key(observer_tests::Span::start_unix_nano);
        let evidence = Evidence {
            spans,
            page,
            driven,
        };
        (evidence, load)
    }

    /// Exchanges of servers with these labels that the daemon has counted.
    pub(crate) fn counted(&self, labels: &[&str]) -> u64 {
        let observer = self.observer.borrow();
        observer.as_ref().expect("a daemon").page().served(labels)
    }
}

/// Starts a server that makes the system calls of this way; the error is why the kernel can't.
pub(crate) fn raw_server(way: &str) -> Result<Server, String> {
    let check = Command::new(executable()).args(["check", way]).output();
    let check = check.unwrap();
    if !check.status.success() {
        return Err(String::from_utf8_lossy(&check.stderr).trim().to_owned());
    }
    let port = free_port();
    let mut command = Command::new(executable());
    Ok(Server::start(command.args([&port.to_string(), way]), port))
}

/// `raw_server`, built beside this program.
fn executable() -> PathBuf {
    std::env::current_exe()
        .unwrap()
        .with_file_name("raw_server")
}

fn python(address: &str, model: &str) -> Command {
    let mut python = Command::new("python3");
    python
        .arg(Environment::programs().join("stdlib_server.py"))
        .args([address, model]);
    python
}
