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

/// How the daemon is built.
#[derive(Clone, Copy)]
pub(crate) enum Profile {
    /// As somebody builds it from a checkout: quickly.
    Release,
    /// As it is packaged: small and fast.
    Dist,
}

impl Profile {
    /// Its name, which is its folder's below `target/`, too.
    fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Dist => "dist",
        }
    }
}

/// The daemon to run: the one that was named, else a build of this tree.
///
/// # Errors
/// When it can't be built, or what was named is no file.
pub(crate) fn daemon(named: Option<&Path>, profile: Profile) -> Result<PathBuf> {
    let binary = match named {
        Some(binary) => std::path::absolute(binary)?,
        None => {
            command::run(&mut build_daemon(profile))?;
            target().join(profile.name()).join("observer")
        }
    };
    if !binary.is_file() {
        bail!("{} is no file", binary.display());
    }
    Ok(binary)
}

/// Begins a build of the daemon.
pub(crate) fn build_daemon(profile: Profile) -> std::process::Command {
    let mut cargo = cargo();
    cargo.args([
        "build",
        "--profile",
        profile.name(),
        "--package",
        "observer",
    ]);
    cargo
}
