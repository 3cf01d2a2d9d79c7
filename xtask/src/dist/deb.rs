//! The package for Debian and what comes of it, by `dpkg-deb`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use super::changelog::MAINTAINER;
use super::executable::Needed;
use super::source::Source;
use super::tree::{self, File};
use crate::command;

/// Which package has a library.
const LIBRARIES: [(&str, &str); 4] = [
    ("ld-linux-x86-64.so.2", "libc6"),
    ("libc.so.6", "libc6"),
    ("libgcc_s.so.1", "libgcc-s1"),
    ("libm.so.6", "libc6"),
];

const SCRIPTS: [(&str, &str); 3] = [
    (
        "postinst",
        r#"#!/bin/sh
set -e
# Nothing is started or enabled by an installation: who wants it says `systemctl enable --now observer`.
if [ "$1" = configure ] && [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    # After an upgrade, what ran runs on as the new one.
    if [ -n "$2" ]; then systemctl try-restart observer.service || true; fi
fi
"#,
    ),
    (
        "prerm",
        r#"#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    systemctl disable --now observer.service || true
fi
"#,
    ),
    (
        "postrm",
        r#"#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then systemctl daemon-reload || true; fi
"#,
    ),
];

/// Where Debian's zsh looks for a package's completions; other systems' look where the tree has them.
const ZSH: (&str, &str) = (
    "usr/share/zsh/site-functions/",
    "usr/share/zsh/vendor-completions/",
);

/// Makes the package in `out`.
///
/// # Errors
/// When the executable needs a library that no package is known for, or `dpkg-deb` fails.
pub(super) fn make(
    source: &Source,
    binary: &Path,
    files: &[File],
    work: &Path,
    out: &Path,
) -> Result<PathBuf> {
    let root = work.join("deb");
    let files: Vec<File> = files
        .iter()
        .cloned()
        .map(|file| file.moved(ZSH.0, ZSH.1))
        .collect();
    tree::lay(&root, &files, source)?;
    let control = root.join("DEBIAN");
    fs::create_dir_all(&control)?;
    let kilobytes: u64 = files
        .iter()
        .filter_map(|file| fs::metadata(root.join(&file.place)).ok())
        .map(|file| file.len().div_ceil(1024))
        .sum();
    let depends = depends(&Needed::of(binary)?)?;
    fs::write(
        control.join("control"),
        format!(
            "Package: observer\nVersion: {}\nArchitecture: amd64\nSection: admin\nPriority: optional\n\
             Maintainer: {MAINTAINER}\nInstalled-Size: {kilobytes}\nDepends: {depends}\nRecommends: ca-certificates\n\
             Description: traces services that carry no instrumentation\n \
             Kernel programs see the bytes that processes exchange over sockets; a daemon\n \
             makes spans, traces and metrics of them, as OTLP and for Prometheus.\n",
            source.version
        ),
    )?;
    let is_configuration = |file: &&File| file.place.starts_with("etc/");
    let conffiles: String = files
        .iter()
        .filter(is_configuration)
        .map(|file| format!("/{}\n", file.place))
        .collect();
    fs::write(control.join("conffiles"), conffiles)?;
    fs::write(control.join("md5sums"), md5sums(&root, &files)?)?;
    for (name, script) in SCRIPTS {
        fs::write(control.join(name), script)?;
    }
    tree::age(&control, source)?;
    for entry in fs::read_dir(&control)? {
        let path = entry?.path();
        let is_script = SCRIPTS.iter().any(|(name, _)| path.ends_with(name));
        let mode = if is_script { 0o755 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }
    let package = out.join(format!("observer_{}_amd64.deb", source.version));
    command::run(
        Command::new("dpkg-deb")
            // Every system with the C library that the executable needs knows zstd. How the compressor splits its work
            // among threads shows in the bytes.
            .args(["--root-owner-group", "-Zzstd", "-z10", "--threads-max=1"])
            .arg("--build")
            .arg(&root)
            .arg(&package)
            .env("SOURCE_DATE_EPOCH", source.epoch.to_string()),
    )?;
    Ok(package)
}

/// The value of `Depends`.
fn depends(needed: &Needed) -> Result<String> {
    let mut packages = Vec::new();
    for library in &needed.libraries {
        let Some((_, package)) = LIBRARIES.iter().find(|(known, _)| known == library) else {
            bail!("no package is known that has {library}");
        };
        packages.push(*package);
    }
    packages.sort_unstable();
    packages.dedup();
    let named = packages
        .iter()
        .map(|package| match (*package, needed.libc) {
            ("libc6", Some((major, minor))) => format!("libc6 (>= {major}.{minor})"),
            _ => (*package).to_owned(),
        });
    Ok(named.collect::<Vec<_>>().join(", "))
}

/// By which `dpkg --verify` finds what was changed. Configuration is left out, as dpkg knows it itself.
fn md5sums(root: &Path, files: &[File]) -> Result<String> {
    let mut places: Vec<&str> = files
        .iter()
        .map(|file| file.place.as_str())
        .filter(|place| !place.starts_with("etc/"))
        .collect();
    places.sort_unstable();
    command::output(Command::new("md5sum").args(places).current_dir(root))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn needed(libraries: &[&str]) -> Needed {
        Needed {
            libraries: libraries
                .iter()
                .map(|it| (*it).to_owned())
                .collect::<BTreeSet<_>>(),
            libc: Some((2, 34)),
        }
    }

    #[test]
    fn a_package_depends_on_what_its_executable_needs() {
        let both = needed(&["libc.so.6", "libgcc_s.so.1", "libm.so.6"]);
        assert_eq!(depends(&both).unwrap(), "libc6 (>= 2.34), libgcc-s1");
        let unknown = depends(&needed(&["libfoo.so.1"])).unwrap_err();
        assert!(unknown.to_string().contains("libfoo.so.1"));
    }
}
