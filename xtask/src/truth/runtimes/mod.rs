//! The services that a chain can consist of: how each is built and started, and what is asked of observer there.
//!
//! Comes in: the prepared machine, a port to listen on and the port of the next service. Goes out: a command that
//! serves `path.rs` there. Owns: nothing.

mod go;
mod java;
mod node;
mod proxies;
mod python;
mod ruby;
mod tls;
mod tokio;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::case::Case;

/// One kind of service.
pub(super) struct Runtime {
    pub(super) name: &'static str,
    /// For people, in the report.
    pub(super) about: &'static str,
    /// What it can do, with the least share of parents that must be right.
    pub(super) cases: &'static [(&'static Case, f64)],
    /// Installs and builds what the command needs, beyond what all tests need.
    pub(super) prepare: fn(&Machine) -> Result<()>,
    pub(super) command: fn(&Machine, &Place) -> Result<Command>,
}

/// Where things are.
pub(super) struct Machine {
    /// The folder that `cargo xtask test` prepares, with `venv/` and what is built.
    pub(super) environment: PathBuf,
    /// The sources of the services.
    pub(super) programs: PathBuf,
}

/// Where in a chain a service stands.
pub(super) struct Place {
    /// The port that it listens on, of 127.0.0.1.
    pub(super) port: u16,
    /// The port that it asks.
    pub(super) next: u16,
    /// A folder of its own, to write to.
    pub(super) folder: PathBuf,
    /// The first of the chain, not the second. Matters where the way between is TLS.
    pub(super) is_first: bool,
}

impl Place {
    /// The two ports as arguments.
    fn ports(&self) -> [String; 2] {
        [self.port.to_string(), self.next.to_string()]
    }
}

/// All of them, in the order of the report.
pub(super) fn all() -> impl Iterator<Item = &'static Runtime> {
    PLAIN.iter().chain(tls::ALL)
}

/// Whether the first service of such a chain asks the second over TLS, where nothing can be read.
pub(super) fn is_over_tls(name: &str) -> bool {
    tls::ALL.iter().any(|runtime| runtime.name == name)
}

const PLAIN: &[Runtime] = &[
    python::THREADS,
    python::PREFORK,
    python::THREAD_POOL,
    proxies::NGINX,
    proxies::HAPROXY,
    go::NET_HTTP,
    go::PROXY,
    node::AGENT,
    node::SMALL,
    node::FETCH,
    node::SMALL_FETCH,
    python::AIOHTTP,
    python::HTTPX,
    java::BLOCKING,
    java::SELECTOR,
    ruby::PUMA,
    ruby::CLUSTER,
    tokio::MULTI_THREAD,
    tokio::SMALL,
];

fn nothing(_: &Machine) -> Result<()> {
    Ok(())
}

/// A program of the machine, run on a source file.
fn script(program: impl AsRef<Path>, source: &Path) -> Command {
    let mut command = Command::new(program.as_ref());
    command.arg(source);
    command
}
