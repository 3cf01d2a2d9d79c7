//! The test service over TLS, in many programs; and clients that say what they got.
//!
//! Each server answers `/bytes/N` with N bytes and what it does not know with 404; those that are marked so take `POST /echo/N`, too.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Certificate, Environment, Folder, Server, free_port, nginx_with};

/// Sizes of the answers that are asked for: each is its path's only one. Some end where records do (16,384 bytes).
pub const SIZES: &[usize] = &[
    1, 2, 100, 400, 511, 512, 513, 1_000, 1_300, 4_000, 4_096, 8_000, 16_000, 16_383, 16_384,
    16_385, 17_000, 33_000, 70_000, 300_000,
];

/// One answer, as the client got it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Got {
    /// Its request's path.
    pub path: String,
    /// The status.
    pub status: u64,
    /// Bytes of the body.
    pub size: u64,
}

/// What `command` got: its lines are status, size and path or address.
///
/// # Panics
/// When it fails.
pub fn got(command: &mut Command) -> Vec<Got> {
    let output = command.stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", output.status);
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| {
            let [status, size, path] = *line.split(' ').collect::<Vec<_>>() else {
                panic!("{command:?} wrote {line:?}");
            };
            // curl 7.88 has no name for an address' path.
            let path = path
                .split_once("://localhost:")
                .map_or(path, |(_, rest)| &rest[rest.find('/').unwrap()..]);
            Got {
                path: path.to_owned(),
                status: status.parse().unwrap(),
                size: size.parse().unwrap(),
            }
        })
        .collect()
}

/// The folder of a server of files, with `bytes/N` in it for each of [`SIZES`].
pub fn files(folder: &Folder) -> PathBuf {
    let root = folder.path().join("html");
    std::fs::create_dir_all(root.join("bytes")).unwrap();
    for size in SIZES {
        std::fs::write(root.join(format!("bytes/{size}")), vec![b'x'; *size]).unwrap();
    }
    root
}

/// nginx's configuration for [`nginx_with`]: files over TLS of these versions on a port.
pub fn nginx_files(
    folder: &Folder,
    certificate: &Certificate,
    port: u16,
    versions: &str,
) -> String {
    files(folder);
    let keys = certificate.path().display();
    format!(
        "server {{ listen 127.0.0.1:{port} ssl; root html; ssl_protocols {versions};
            ssl_certificate {keys}/cert.pem; ssl_certificate_key {keys}/key.pem; }}"
    )
}

impl Server {
    /// nginx with files over TLS of these versions (`TLSv1.2 TLSv1.3`).
    pub fn nginx_tls(folder: &Folder, certificate: &Certificate, versions: &str) -> Self {
        let port = free_port();
        Self::start(
            &mut nginx_with(folder, &nginx_files(folder, certificate, port, versions)),
            port,
        )
    }

    /// gunicorn as [`gunicorn`](Self::gunicorn), over TLS; takes `/echo`.
    pub fn gunicorn_tls(environment: &Environment, certificate: &Certificate) -> Self {
        let port = free_port();
        let mut gunicorn = Command::new(environment.python("gunicorn"));
        gunicorn
            .current_dir(Environment::programs())
            .args(["--workers=2", "--threads=4", "--log-level=error"])
            .arg(format!("--bind=127.0.0.1:{port}"))
            .arg(format!(
                "--certfile={}/cert.pem",
                certificate.path().display()
            ))
            .arg(format!(
                "--keyfile={}/key.pem",
                certificate.path().display()
            ))
            .arg("wsgi_app:app")
            .env("PYTHONDONTWRITEBYTECODE", "1");
        Self::start(&mut gunicorn, port)
    }

    /// uvicorn as [`uvicorn`](Self::uvicorn), over TLS; takes `/echo`. On uvloop or Python's own loop (`asyncio`).
    pub fn uvicorn_tls(
        environment: &Environment,
        certificate: &Certificate,
        event_loop: &str,
    ) -> Self {
        let port = free_port();
        let mut uvicorn = Command::new(environment.python("uvicorn"));
        uvicorn
            .current_dir(Environment::programs())
            .args(["--http=httptools", "--log-level=error"])
            .arg(format!("--loop={event_loop}"))
            .arg(format!("--port={port}"))
            .arg(format!(
                "--ssl-certfile={}/cert.pem",
                certificate.path().display()
            ))
            .arg(format!(
                "--ssl-keyfile={}/key.pem",
                certificate.path().display()
            ))
            .arg("asgi_app:app")
            .env("PYTHONDONTWRITEBYTECODE", "1");
        Self::start(&mut uvicorn, port)
    }

    /// Node's own https module; takes `/echo`.
    pub fn node_tls(certificate: &Certificate) -> Self {
        let port = free_port();
        let mut node = Command::new("node");
        node.arg(Environment::programs().join("node_server.js"))
            .arg(port.to_string())
            .arg(certificate.path());
        Self::start(&mut node, port)
    }

    /// Go's net/http over TLS, HTTP/1.1 alone; takes `/echo`.
    pub fn go_tls(environment: &Environment, certificate: &Certificate) -> Self {
        let port = free_port();
        let mut go = Command::new(environment.go_server());
        go.arg(port.to_string()).arg(certificate.path());
        Self::start(&mut go, port)
    }

    /// The service of `programs/rustls`, which this program is; takes `/echo`.
    pub fn rustls(program: &Path, certificate: &Certificate) -> Self {
        let port = free_port();
        let mut rustls = Command::new(program);
        rustls
            .arg("serve")
            .arg(certificate.path())
            .arg(port.to_string());
        Self::start(&mut rustls, port)
    }

    /// Caddy, a stripped Go program, with files over TLS.
    pub fn caddy_tls(
        environment: &Environment,
        folder: &Folder,
        certificate: &Certificate,
    ) -> Self {
        let port = free_port();
        let (root, at) = (files(folder), certificate.path().display());
        let configuration = format!(
            "{{\n admin off\n auto_https off\n servers {{\n protocols h1\n }}\n}}\nhttps://localhost:{port} {{\n tls {at}/cert.pem {at}/key.pem\n root * {}\n file_server\n}}\n",
            root.display()
        );
        Self::caddy_with(environment, folder, port, configuration)
    }

    /// haproxy that ends TLS and begins it anew towards `next`.
    pub fn haproxy_tls(folder: &Folder, certificate: &Certificate, next: &Server) -> Self {
        let port = free_port();
        let read = |name: &str| std::fs::read_to_string(certificate.path().join(name)).unwrap();
        let both = folder.file("both.pem", read("cert.pem") + &read("key.pem"));
        let configuration = format!(
            "global\n  nbthread 1\ndefaults\n  mode http\n  timeout client 60s\n  timeout server 60s\n  timeout connect 10s\n\
             frontend in\n  bind 127.0.0.1:{port} ssl crt {}\n  default_backend out\n\
             backend out\n  server next 127.0.0.1:{} ssl verify required ca-file {}/cert.pem sni str(localhost) verifyhost localhost\n",
            both.display(),
            next.port(),
            certificate.path().display()
        );
        let mut haproxy = Command::new("haproxy");
        haproxy
            .arg("-f")
            .arg(folder.file("haproxy.cfg", configuration));
        Self::start(&mut haproxy, port)
    }

    /// Apache with mod_ssl and files over TLS, in worker processes of several threads.
    pub fn apache_tls(folder: &Folder, certificate: &Certificate) -> Self {
        let port = free_port();
        let (root, at) = (files(folder), certificate.path().display());
        let modules: String = [
            "mpm_event",
            "authz_core",
            "ssl",
            "socache_shmcb",
            "reqtimeout",
        ]
        .iter()
        .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
        .collect();
        let here = folder.path().display();
        let configuration = format!(
            "{modules}ServerRoot {here}\nPidFile {here}/apache.pid\nServerName localhost\nErrorLog {here}/error.log\nDefaultRuntimeDir {here}\n\
             Mutex file:{here}\nUser www-data\nGroup www-data\nMinSpareThreads 1\nMaxSpareThreads 32\nSSLSessionCache none\nListen 127.0.0.1:{port}\nStartServers 2\nServerLimit 4\nThreadsPerChild 8\nMaxRequestWorkers 32\n\
             MaxKeepAliveRequests 0\nKeepAliveTimeout 60\nDocumentRoot {}\n<Directory />\n  Require all granted\n</Directory>\n\
             SSLEngine on\nSSLCertificateFile {at}/cert.pem\nSSLCertificateKeyFile {at}/key.pem\n",
            root.display()
        );
        let mut apache = Command::new("apache2");
        apache
            .arg("-f")
            .arg(folder.file("apache.conf", configuration))
            .args(["-D", "FOREGROUND"]);
        Self::start(&mut apache, port)
    }
}

/// Clients of servers with a [`Certificate`]: each asks once for each of these paths.
impl Certificate {
    fn arguments(&self, command: &mut Command, server: &Server, paths: &[String]) {
        command
            .arg(self.path())
            .arg(format!("https://localhost:{}", server.port()))
            .args(paths);
    }

    /// One of the libraries of `programs/tls_client.py`.
    pub fn python(
        &self,
        environment: &Environment,
        library: &str,
        server: &Server,
        paths: &[String],
    ) -> Command {
        let python = Command::new(environment.python("python3"));
        self.python_by(python, library, server, paths)
    }

    /// The same by another Python.
    pub fn python_by(
        &self,
        mut python: Command,
        library: &str,
        server: &Server,
        paths: &[String],
    ) -> Command {
        python
            .arg(Environment::programs().join("tls_client.py"))
            .arg(library);
        self.arguments(&mut python, server, paths);
        python
    }

    /// One of the libraries of `programs/tls_client.js`.
    pub fn node(&self, library: &str, server: &Server, paths: &[String]) -> Command {
        let mut node = Command::new("node");
        node.arg(Environment::programs().join("tls_client.js"))
            .arg(library)
            .env("NODE_EXTRA_CA_CERTS", self.path().join("cert.pem"));
        self.arguments(&mut node, server, paths);
        node
    }

    /// reqwest on rustls with one version of TLS (`1.3`), as `programs/rustls` is built.
    pub fn reqwest(
        &self,
        program: &Path,
        version: &str,
        server: &Server,
        paths: &[String],
    ) -> Command {
        let mut reqwest = Command::new(program);
        reqwest.args(["get", version]);
        self.arguments(&mut reqwest, server, paths);
        reqwest
    }

    /// One of the libraries of `programs/tls_client.php`.
    pub fn php(&self, library: &str, server: &Server, paths: &[String]) -> Command {
        let mut php = Command::new("php");
        php.arg(Environment::programs().join("tls_client.php"))
            .arg(library);
        self.arguments(&mut php, server, paths);
        php
    }

    /// Go's net/http.
    pub fn go(&self, environment: &Environment, server: &Server, paths: &[String]) -> Command {
        let mut go = Command::new(environment.go_server());
        go.arg("get");
        self.arguments(&mut go, server, paths);
        go
    }

    /// curl, over one connection; `options` are more. What it offers by ALPN is HTTP/1.1.
    pub fn curl(&self, server: &Server, paths: &[String], options: &[&str]) -> Command {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--http1.1"])
            .args(options)
            .arg("--cacert")
            .arg(self.path().join("cert.pem"));
        for path in paths {
            curl.arg("--output").arg("/dev/null");
            curl.arg(format!("https://localhost:{}{path}", server.port()));
        }
        curl.args([
            "--write-out",
            "%{http_code} %{size_download} %{url_effective}\\n",
        ]);
        curl
    }
}
