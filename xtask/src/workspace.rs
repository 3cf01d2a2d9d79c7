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
///
/// It gets the environment that a person's cargo has. What `cargo run` told us of our own package would make build
/// scripts that read it (ring's does) run again, and all that depends on them be compiled again, each time when somebody
/// builds by hand in between.
pub(crate) fn cargo() -> std::process::Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = std::process::Command::new(program);
    command.current_dir(root());
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(is_of_our_package) {
            command.env_remove(name);
        }
    }
    command
}

/// A variable that cargo sets for a program that it runs.
fn is_of_our_package(variable: &str) -> bool {
    variable.starts_with("CARGO_PKG_") || variable.starts_with("CARGO_MANIFEST_")
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
            self::binary(profile)
        }
    };
    if !binary.is_file() {
        bail!("{} is no file", binary.display());
    }
    Ok(binary)
}

/// Where a build of the daemon is.
pub(crate) fn binary(profile: Profile) -> PathBuf {
    target().join(profile.name()).join("observer")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cargo_that_we_start_knows_nothing_of_our_package() {
        // cargo set it for this test.
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
        let cargo = cargo();
        let removed = |name: &str| cargo.get_envs().any(|it| it == (name.as_ref(), None));
        for name in [
            "CARGO_MANIFEST_DIR",
            "CARGO_PKG_NAME",
            "CARGO_PKG_VERSION_MAJOR",
        ] {
            assert!(removed(name), "{name}");
        }
        assert!(!removed("CARGO_HOME") && !removed("CARGO_TARGET_DIR") && !removed("PATH"));
    }
}
