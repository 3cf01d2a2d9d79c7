//! What `cargo xtask test` prepared, and the right to trace, one test at a time.

use std::fs::File;
use std::path::{Path, PathBuf};

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

    /// The folder of servers written for these tests.
    pub fn programs() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("programs")
    }
}
