//! The daemon as it is handed out, and what it asks of the machine that runs it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{command, workspace};

/// How the C library is linked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Linking {
    /// For packages: names are resolved as the host's `nsswitch.conf` says, by modules that only its own library loads.
    Dynamic,
    /// For the image, which has no library in it.
    Static,
}

/// Features of what is shipped.
pub(crate) const FEATURES: &str = "kubernetes";

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The executable that was named, else one that is built: the `dist` profile, with no path of this machine inside.
///
/// # Errors
/// When it can't be built, or is linked otherwise.
pub(crate) fn daemon(named: Option<&Path>, linking: Linking) -> Result<PathBuf> {
    let binary = match named {
        Some(binary) => std::path::absolute(binary)?,
        None => build(linking)?,
    };
    let needed = Needed::of(&binary)?;
    if (linking == Linking::Static) != needed.libraries.is_empty() {
        bail!(
            "{} needs these libraries, which is not what it is for: {:?}",
            binary.display(),
            needed.libraries
        );
    }
    Ok(binary)
}

fn build(linking: Linking) -> Result<PathBuf> {
    let (name, static_flag) = match linking {
        Linking::Dynamic => ("dynamic", ""),
        Linking::Static => ("static", " -C target-feature=+crt-static"),
    };
    let folder = workspace::target().join("packaged").join(name);
    let home = std::env::var("CARGO_HOME").or_else(|_| {
        std::env::var("HOME")
            .map(|home| format!("{home}/.cargo"))
            .context("neither CARGO_HOME nor HOME is set")
    })?;
    let rust = command::output(Command::new("rustc").args(["--print", "sysroot"]))?;
    let flags = format!(
        "--remap-path-prefix={}=/observer --remap-path-prefix={home}=/cargo --remap-path-prefix={}=/rust{static_flag}",
        workspace::root().display(),
        rust.trim_end()
    );
    command::run(
        workspace::cargo()
            .args(["build", "--profile", "dist", "--locked"])
            .args(["--package", "observer", "--bin", "observer"])
            .args(["--features", FEATURES])
            .args(["--target", TARGET, "--target-dir"])
            .arg(&folder)
            .env("RUSTFLAGS", flags),
    )?;
    Ok(folder.join(TARGET).join("dist/observer"))
}

/// What an executable asks of the dynamic linker.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Needed {
    pub(crate) libraries: BTreeSet<String>,
    /// The newest version of the C library that one of its symbols has, as (2, 34).
    pub(crate) libc: Option<(u32, u32)>,
}

impl Needed {
    /// # Errors
    /// When `objdump` can't read it.
    pub(crate) fn of(binary: &Path) -> Result<Self> {
        let text = command::output(Command::new("objdump").arg("-p").arg(binary))?;
        Ok(Self::in_text(&text))
    }

    fn in_text(text: &str) -> Self {
        let words = || text.lines().map(str::split_whitespace);
        let libraries = words()
            .filter_map(|mut line| (line.next()? == "NEEDED").then(|| line.next())?)
            .map(str::to_owned)
            .collect();
        let versions = words().filter_map(|line| {
            let (major, minor) = line.last()?.strip_prefix("GLIBC_")?.split_once('.')?;
            let minor = minor.split('.').next()?;
            Some((major.parse().ok()?, minor.parse().ok()?))
        });
        Self {
            libraries,
            libc: versions.max(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_that_a_symbol_has_is_what_is_needed() {
        let text = "
Dynamic Section:
  NEEDED               libm.so.6
  NEEDED               libc.so.6
  INIT                 0x0000000000043000
Version References:
  required from libm.so.6:
    0x06969189 0x00 04 GLIBC_2.29
  required from libc.so.6:
    0x09691a75 0x00 02 GLIBC_2.2.5
    0x069691b4 0x00 03 GLIBC_2.34
    0x06969194 0x00 05 GLIBC_2.4
";
        let needed = Needed::in_text(text);
        assert_eq!(needed.libc, Some((2, 34)));
        let libraries: Vec<_> = needed.libraries.iter().map(String::as_str).collect();
        assert_eq!(libraries, ["libc.so.6", "libm.so.6"]);
    }

    #[test]
    fn a_static_executable_needs_nothing() {
        let needed = Needed::in_text("\n/bin/x:     file format elf64-x86-64\n\nProgram Header:\n");
        assert_eq!(needed.libc, None);
        assert!(needed.libraries.is_empty());
    }
}
