//! nginx with one worker, on a port of its own.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::observer::free_address;
use crate::command;

/// A running nginx; ended and its folder removed when dropped.
pub(crate) struct Nginx {
    child: Child,
    folder: PathBuf,
    pub(crate) address: SocketAddr,
    /// It answers over TLS.
    pub(crate) tls: bool,
}

impl Nginx {
    /// Starts it and returns when it accepts connections.
    ///
    /// # Errors
    /// When it can't be started; its own message goes to stderr.
    pub(crate) fn start(tls: bool) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("observer-bench-{}", std::process::id()));
        fs::create_dir_all(folder.join("html"))?;
        fs::write(folder.join("html/index.html"), page())?;
        let address = free_address()?;
        let file = folder.join("nginx.conf");
        if tls {
            certificate(&folder)?;
        }
        fs::write(&file, configuration(address, tls))?;
        let child = Command::new("nginx")
            .arg("-p")
            .arg(&folder)
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .spawn()
            .context("starting nginx")?;
        let mut nginx = Self {
            child,
            folder,
            address,
            tls,
        };
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = nginx.child.try_wait()? {
                bail!("nginx ended with {status}");
            }
            if began.elapsed() > Duration::from_secs(10) {
                bail!("nginx does not accept connections on {address}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(nginx)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGTERM, not SIGKILL: the master ends its worker.
        let _ = terminate(&self.child);
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Sends SIGTERM to a child of ours.
///
/// # Errors
/// When it has ended and was waited for already.
pub(crate) fn terminate(child: &Child) -> Result<()> {
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .context("a child without a process id")?;
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    Ok(())
}

/// As large as nginx's own welcome page.
fn page() -> String {
    "observer ".repeat(68)
}

/// A certificate and its key, which nobody checks.
fn certificate(folder: &Path) -> Result<()> {
    command::output(
        Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-noenc",
                "-subj",
                "/CN=localhost",
            ])
            .args(["-pkeyopt", "ec_paramgen_curve:prime256v1", "-keyout"])
            .arg(folder.join("key.pem"))
            .arg("-out")
            .arg(folder.join("cert.pem")),
    )
    .map(drop)
}

fn configuration(address: SocketAddr, tls: bool) -> String {
    let listen = if tls {
        "ssl; ssl_certificate cert.pem; ssl_certificate_key key.pem"
    } else {
        ""
    };
    format!(
        "daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections 512; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        listen {address} {listen};
        root html;
    }}
}}
"
    )
}
