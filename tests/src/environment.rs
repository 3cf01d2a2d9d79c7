//! What `cargo xtask test` prepared, and the right to trace, one test at a time.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The machine as the tests need it. While it lives no other test traces: they would see each other's programs and
/// compete for two cores.
pub struct Environment {
    binary: PathBuf,
    xtask: PathBuf,
    folder: PathBuf,
    _lock: File,
}

impl Environment {
    /// Waits for its turn. `None`, after saying so loudly, where `cargo xtask test` did not prepare the machine or
    /// found that its kernel can't trace; the test then returns.
    pub fn enter() -> Option<Self> {
        let variable = |name| std::env::var_os(name).map(PathBuf::from);
        let (Some(binary), Some(xtask), Some(folder)) = (
            variable("OBSERVER_TEST_BINARY"),
            variable("OBSERVER_TEST_XTASK"),
            variable("OBSERVER_TEST_ENV"),
        ) else {
            eprintln!(
                "!!! SKIPPED: end-to-end tests run by `cargo xtask test`, as root, where the kernel can trace"
            );
            return None;
        };
        let lock = File::create(folder.join("lock")).unwrap();
        lock.lock().unwrap();
        Some(Self {
            binary,
            xtask,
            folder,
            _lock: lock,
        })
    }

    /// The daemon's executable.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// The executable of a daemon that knows a protocol that nobody speaks, too.
    ///
    /// # Panics
    /// When nobody built one: `cargo xtask test` does.
    pub fn made_up(&self) -> PathBuf {
        let binary = std::env::var_os("OBSERVER_TEST_MADE_UP");
        binary.expect("OBSERVER_TEST_MADE_UP is not set").into()
    }

    /// The project's own commands, as `cargo xtask` runs them.
    pub fn xtask(&self) -> &Path {
        &self.xtask
    }

    /// A program of the Python environment, such as `gunicorn`.
    pub fn python(&self, program: &str) -> PathBuf {
        self.folder.join("venv/bin").join(program)
    }

    /// The test service built by Go.
    pub fn go_server(&self) -> PathBuf {
        self.folder.join("go_server")
    }

    /// The test service on gRPC's Go library, and its callers.
    pub fn go_grpc(&self) -> PathBuf {
        self.folder.join("go_grpc")
    }

    /// The test service on rustls, and its client, with the cryptography of `ring` or `aws_lc`.
    pub fn rustls(&self, cryptography: &str) -> PathBuf {
        self.folder.join(format!("rustls_{cryptography}"))
    }

    /// Python with OpenSSL 1.1.1, as Debian 11 had it; none, after saying so, where that could not be had.
    pub fn old_python(&self) -> Option<Command> {
        let root = self.folder.join("bullseye");
        let program = root.join("usr/bin/python3.9");
        if !program.exists() {
            eprintln!("!!! SKIPPED: Debian 11 with OpenSSL 1.1.1 could not be had");
            return None;
        }
        let mut python = Command::new(program);
        python
            .env("PYTHONHOME", root.join("usr"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("LD_LIBRARY_PATH", root.join("usr/lib/x86_64-linux-gnu"));
        Some(python)
    }

    /// The folder of servers written for these tests.
    pub fn programs() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("programs")
    }
}
