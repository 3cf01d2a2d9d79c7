//! Services with TLS between them.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::{Environment, Folder, Host, Server, free_port};

/// A certificate and its key, in a folder as `cert.pem` and `key.pem`, made anew so that nobody's secret is kept.
pub struct Certificate(Folder);

impl Certificate {
    /// Makes one for this machine's loopback and for both [`Host`]s.
    ///
    /// # Panics
    /// When openssl is missing.
    #[allow(
        clippy::new_without_default,
        reason = "making a certificate is no default"
    )]
    pub fn new() -> Self {
        Self::of_days(30)
    }

    /// The same that ends in so many days.
    ///
    /// # Panics
    /// As [`Certificate::new`].
    pub fn of_days(days: u32) -> Self {
        let folder = Folder::new();
        let hosts = [Host::Client, Host::Server];
        let addresses: String = hosts
            .iter()
            .map(|host| format!(",IP:{},IP:{}", host.address(), host.address_6()))
            .collect();
        let output = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-noenc", "-days"])
            .arg(days.to_string())
            .args(["-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(["-subj", "/CN=localhost", "-addext"])
            .arg(format!(
                "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1{addresses}"
            ))
            .arg("-keyout")
            .arg(folder.path().join("key.pem"))
            .arg("-out")
            .arg(folder.path().join("cert.pem"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        Self(folder)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Arguments of `programs/tls_hop.py`, of which `options` are more.
    pub fn hop(&self, command: &mut Command, at: (IpAddr, u16), next: &str, options: &[&str]) {
        command
            .arg(Environment::programs().join("tls_hop.py"))
            .args(["--listen", &at.0.to_string(), &at.1.to_string()])
            .args(["--next", next])
            .args(options)
            .arg(self.path());
    }
}

/// `openssl s_client` of one version (`-tls1_3`) on a port of 127.0.0.1, which logs its keys and says what its stdin is given.
///
/// # Panics
/// When openssl is missing.
pub fn openssl_client(port: u16, version: &str, log: &Path) -> Child {
    Command::new("openssl")
        .args(["s_client", version, "-servername", "localhost", "-quiet"])
        .args(["-connect", &format!("127.0.0.1:{port}"), "-keylogfile"])
        .arg(log)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

impl Server {
    /// `programs/tls_hop.py` on loopback, asking `next` for the same path.
    pub fn tls_hop(certificate: &Certificate, next: &str, options: &[&str]) -> Self {
        Self::tls_hop_by(Command::new("python3"), certificate, next, options)
    }

    /// The same by another Python.
    pub fn tls_hop_by(
        mut python: Command,
        certificate: &Certificate,
        next: &str,
        options: &[&str],
    ) -> Self {
        let port = free_port();
        let at = (Ipv4Addr::LOCALHOST.into(), port);
        certificate.hop(&mut python, at, next, options);
        Self::start(&mut python, port)
    }
}
