//! `cargo xtask ebpf`: the kernel programs, built and committed.
//!
//! Comes in: `observer-ebpf/` and `observer-abi/`. Goes out: `observer/ebpf/observer-x86_64.o`, which the daemon
//! embeds so that a plain `cargo build` on stable needs no eBPF toolchain, and `observer-x86_64.digest`, whose first
//! line is the digest of the sources and whose second is the object's. Owns: both files, and the toolchain's set-up.

mod build;
mod difference;
#[path = "../../../observer/ebpf/source_digest.rs"]
mod source_digest;
mod toolchain;
mod wrapper;

pub(crate) use wrapper::run_as_compiler;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::workspace;

/// The processor that the programs are built for: they read its saved registers.
const ARCHITECTURE: &str = "x86_64";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Build again in an empty folder and fail unless the committed object is the same, byte for byte
    #[arg(long)]
    check: bool,
}

/// Builds the object and writes it with its digest, or checks the committed one.
///
/// # Errors
/// When the toolchain can't be prepared, the programs don't compile, or `--check` finds a difference.
pub(crate) fn run(options: &Options) -> Result<()> {
    let compiler = toolchain::Compiler::detect()?;
    toolchain::prepare(&compiler)?;
    if options.check {
        return check(&compiler);
    }
    let object = build::build(&compiler, &workspace::target().join("ebpf"))?;
    let digests = digests(&object)?;
    let folder = committed("o").with_file_name("");
    fs::create_dir_all(&folder)?;
    fs::write(committed("o"), &object)?;
    fs::write(committed("digest"), digests)?;
    eprintln!("{}: {} bytes", shown(&committed("o")), object.len());
    Ok(())
}

fn check(compiler: &toolchain::Compiler) -> Result<()> {
    let read = |extension: &str| {
        let path = committed(extension);
        fs::read(&path).with_context(|| format!("{}: run `cargo xtask ebpf`", shown(&path)))
    };
    let (object, digest) = (read("o")?, read("digest")?);
    let expected = digests(&object)?;
    if digest != expected.as_bytes() {
        bail!(
            "{} does not fit the sources and the object; run `cargo xtask ebpf`\nit says:\n{}\nit should say:\n{expected}",
            shown(&committed("digest")),
            String::from_utf8_lossy(&digest).trim_end(),
        );
    }
    let folder = workspace::target().join(format!("ebpf-check-{}", std::process::id()));
    let built = build::build(compiler, &folder);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let built = built?;
    if built != object {
        bail!(
            "{} is not what the sources give with rustc {}; run `cargo xtask ebpf`\n{}",
            shown(&committed("o")),
            compiler.release,
            difference::describe(&object, &built)
        );
    }
    eprintln!(
        "{} is what the sources give, byte for byte ({} bytes)",
        shown(&committed("o")),
        object.len()
    );
    Ok(())
}

/// The digest file's text for the sources as they are and this object.
fn digests(object: &[u8]) -> Result<String> {
    let sources = source_digest::of_sources(workspace::root()).context("reading the sources")?;
    Ok(format!("{sources}\n{}\n", source_digest::of_bytes(object)))
}

/// SHA-256 of the committed object.
///
/// # Errors
/// When it can't be read.
pub(crate) fn object_digest() -> Result<String> {
    let object = committed("o");
    let bytes = fs::read(&object).with_context(|| shown(&object).to_string())?;
    Ok(source_digest::of_bytes(&bytes))
}

/// SHA-256 over all files below a folder of the work tree.
///
/// # Errors
/// When one can't be read.
pub(crate) fn folder_digest(folder: &str) -> Result<String> {
    source_digest::of_paths(workspace::root(), &[folder]).with_context(|| folder.to_owned())
}

fn committed(extension: &str) -> PathBuf {
    let name = format!("observer-{ARCHITECTURE}.{extension}");
    workspace::root().join("observer/ebpf").join(name)
}

fn shown(path: &Path) -> std::path::Display<'_> {
    path.strip_prefix(workspace::root())
        .unwrap_or(path)
        .display()
}
