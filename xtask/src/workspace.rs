//! Where things are in the work tree.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::command;

/// The folder that holds the workspace's `Cargo.toml`.
pub(crate) fn root() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}

/// Cargo's target folder: `CARGO_TARGET_DIR` where that is set, else `target/` of the workspace.
pub(crate) fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}

/// The cargo that started us, so that what we build uses the same toolchain.
pub(crate) fn cargo() -> std::process::Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = std::process::Command::new(program);
    command.current_dir(root());
    command
}

/// The daemon to run: the one that was named, else a release build of this tree.
///
/// # Errors
/// When it can't be built, or what was named is no file.
pub(crate) fn daemon(named: Option<&Path>) -> Result<PathBuf> {
    let binary = match named {
        Some(binary) => std::path::absolute(binary)?,
        None => {
            command::run(cargo().args(["build", "--release", "--package", "observer"]))?;
            target().join("release/observer")
        }
    };
    if !binary.is_file() {
        bail!("{} is no file", binary.display());
    }
    Ok(binary)
}
