//! `cargo xtask dist`: what is handed out.
//!
//! Comes in: the work tree at its commit. Goes out, below `target/dist-packages/`: a .deb, an .rpm, a tarball, the list of
//! what is in them (CycloneDX), their checksums. Owns: that folder.
//!
//! Made twice from one executable, they are the same to the byte: times are the commit's (`SOURCE_DATE_EPOCH`), owners
//! are root, order is by name.

mod changelog;
pub(crate) mod components;
mod deb;
pub(crate) mod executable;
mod rpm;
pub(crate) mod sbom;
pub(crate) mod source;
pub(crate) mod tree;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::{command, debian, workspace};
use executable::Linking;
use source::Source;
use tree::File;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// This executable instead of a build of this tree, which takes some minutes
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Where everything is put
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// Makes all packages.
///
/// # Errors
/// When something can't be built, or a tool of the formats is missing and can't be installed.
pub(crate) fn run(options: &Options) -> Result<()> {
    debian::install(&[("rpmbuild", "rpm"), ("objdump", "binutils")])?;
    let source = Source::read()?;
    let binary = executable::daemon(options.binary.as_deref(), Linking::Dynamic)?;
    let (out, work) = tree::emptied(options.out.as_deref(), "dist-packages")?;

    let components = components::of_daemon()?;
    let bill = sbom::document(&source, &binary, &components)?;
    let files = files(&source, &binary, &components, &work)?;
    let made = [
        deb::make(&source, &binary, &files, &work, &out)?,
        rpm::make(&source, &files, &work, &out)?,
        tarball(&source, &files, &work, &out)?,
        file(
            &out,
            &format!("observer-{}.cdx.json", source.version),
            &bill,
        )?,
    ];
    let sums = checksums(&made)?;
    fs::write(out.join("SHA256SUMS"), &sums)?;
    fs::remove_dir_all(&work)?;
    eprint!("{sums}");
    eprintln!("all of them are in {}", out.display());
    Ok(())
}

/// What every format installs.
fn files(
    source: &Source,
    binary: &Path,
    components: &components::Components,
    work: &Path,
) -> Result<Vec<File>> {
    let root = workspace::root();
    let shared = "usr/share/doc/observer";
    let mut files = vec![
        File::copied("usr/bin/observer", 0o755, binary),
        File::copied(
            "usr/lib/systemd/system/observer.service",
            0o644,
            &root.join("deploy/systemd/observer.service"),
        ),
        // Keys may stand in it.
        File::copied(
            "etc/observer/observer.yaml",
            0o600,
            &root.join("docs/observer.example.yaml"),
        ),
        File::written(
            &format!("{shared}/copyright"),
            fs::read_to_string(root.join("deploy/packages/copyright"))?,
        ),
        File::written(
            &format!("{shared}/third-party-licences.gz"),
            gzip(components::licences(components)?.as_bytes(), work)?,
        ),
        File::written(
            &format!("{shared}/changelog.gz"),
            gzip(changelog::of_debian(source)?.as_bytes(), work)?,
        ),
    ];
    for page in [
        "operations.md",
        "configuration.md",
        "limitations.md",
        "kernels.md",
    ] {
        let place = format!("{shared}/{page}");
        files.push(File::copied(&place, 0o644, &root.join("docs").join(page)));
    }
    for licence in ["LICENSE-APACHE", "LICENSE-MIT"] {
        let place = format!("{shared}/{licence}");
        files.push(File::copied(&place, 0o644, &root.join(licence)));
    }
    let pages = work.join("manual");
    fs::create_dir_all(&pages)?;
    command::run(Command::new(binary).arg("manual").arg(&pages))?;
    for page in fs::read_dir(&pages)? {
        let page = page?;
        let name = page.file_name().to_string_lossy().into_owned();
        let place = format!("usr/share/man/man1/{name}.gz");
        files.push(File::written(&place, gzip(&fs::read(page.path())?, work)?));
    }
    for (shell, place) in [
        ("bash", "usr/share/bash-completion/completions/observer"),
        ("zsh", "usr/share/zsh/site-functions/_observer"),
        ("fish", "usr/share/fish/vendor_completions.d/observer.fish"),
    ] {
        let script = command::output(Command::new(binary).args(["completions", shell]))?;
        files.push(File::written(place, script));
    }
    Ok(files)
}

/// The same tree below a folder with the version, for `tar -C / --strip-components=1`.
fn tarball(source: &Source, files: &[File], work: &Path, out: &Path) -> Result<PathBuf> {
    let name = format!("observer-{}", source.version);
    let folder = work.join("tarball");
    tree::lay(&folder.join(&name), files, source)?;
    let archive = out.join(format!("{name}-x86_64-linux.tar.gz"));
    tree::archive(&folder, &name, source, &archive.with_extension(""))?;
    command::run(
        Command::new("gzip")
            .arg("-n")
            .arg(archive.with_extension("")),
    )?;
    Ok(archive)
}

/// Compressed with neither name nor time.
pub(crate) fn gzip(bytes: &[u8], work: &Path) -> Result<Vec<u8>> {
    let plain = work.join("plain");
    fs::write(&plain, bytes)?;
    let output = Command::new("gzip")
        .args(["-9", "-n", "-c"])
        .arg(&plain)
        .output()
        .context("starting gzip")?;
    anyhow::ensure!(output.status.success(), "gzip failed: {}", output.status);
    Ok(output.stdout)
}

fn file(out: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = out.join(name);
    fs::write(&path, text)?;
    Ok(path)
}

/// As `sha256sum` writes and checks them.
fn checksums(files: &[PathBuf]) -> Result<String> {
    let mut lines = Vec::new();
    for file in files {
        let name = file.file_name().context("a file has a name")?;
        let sum = sha256(&fs::read(file)?);
        lines.push(format!("{sum}  {}\n", name.to_string_lossy()));
    }
    lines.sort_by(|a, b| a[66..].cmp(&b[66..]));
    Ok(lines.concat())
}

/// In hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}
