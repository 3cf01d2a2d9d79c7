//! The host's root for the guest: a virtiofsd of its own for each boot.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// A running virtiofsd, ended when dropped.
pub(super) struct Share {
    daemon: Child,
    /// Where qemu connects to it.
    pub(super) socket: PathBuf,
}

impl Share {
    /// Shares `/`. The guest mounts it read-only.
    ///
    /// # Errors
    /// When there is no virtiofsd, or it does not start; its own message goes to `virtiofsd.log` in `folder`.
    pub(super) fn start(folder: &Path) -> Result<Self> {
        let socket = folder.join("virtiofs");
        let log = std::fs::File::create(folder.join("virtiofsd.log"))?;
        let daemon = command(&socket)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("starting virtiofsd")?;
        let mut share = Self { daemon, socket };
        let begun = Instant::now();
        while !share.socket.exists() {
            if let Some(status) = share.daemon.try_wait()? {
                let log = std::fs::read_to_string(folder.join("virtiofsd.log"))?;
                bail!("virtiofsd ended with {status}:\n{log}");
            }
            if begun.elapsed() > Duration::from_secs(10) {
                bail!("virtiofsd does not open its socket");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(share)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// The one in C that comes with qemu 7.
const IN_C: &str = "/usr/lib/qemu/virtiofsd";
/// Its successor in Rust, a package of its own from Debian 13 on.
const IN_RUST: &str = "/usr/libexec/virtiofsd";

/// Whether there is any.
pub(super) fn is_installed() -> bool {
    Path::new(IN_C).is_file() || Path::new(IN_RUST).is_file()
}

fn command(socket: &Path) -> Command {
    let mut daemon = super::dies_with_us();
    let options: &[&str] = if Path::new(IN_C).is_file() {
        daemon.arg(IN_C);
        &["-osource=/", "-ocache=always", "-osandbox=chroot"]
    } else {
        daemon.arg(IN_RUST);
        &["--shared-dir=/", "--cache=always", "--sandbox=chroot"]
    };
    daemon
        .arg(format!("--socket-path={}", socket.display()))
        .args(options)
        // No pool: a request is served where it is read, which is quicker on few cores.
        .arg("--thread-pool-size=0");
    daemon
}
