//! One build of the kernel programs, with the same bytes as result wherever the work tree, cargo's home and the
//! compiler are.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use object::{build::elf, elf::SHT_STRTAB};

use super::toolchain::Compiler;
use super::{ARCHITECTURE, wrapper};
use crate::{command, workspace};

const TARGET: &str = "bpfel-unknown-none";

/// Builds `observer-ebpf` with `folder` as cargo's target folder and returns the object's bytes.
///
/// # Errors
/// When the programs don't compile or link.
pub(super) fn build(compiler: &Compiler, folder: &Path) -> Result<Vec<u8>> {
    let mut cargo = workspace::cargo();
    cargo
        .current_dir(workspace::root().join("observer-ebpf"))
        .args(["build", "--release", "--locked"])
        .args(["-Z", "build-std=core", "--target", TARGET])
        .arg("--target-dir")
        .arg(folder)
        // A stable compiler takes -Z options only with this.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags(compiler, folder)?)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_BUILD_TARGET");
    wrapper::install(&mut cargo)?;
    command::run(&mut cargo)?;
    let object = folder.join(TARGET).join("release/observer");
    let bytes = fs::read(&object).with_context(|| format!("reading {}", object.display()))?;
    without_debug_sections(&bytes).context("taking the debug sections out of the object")
}

/// The linker makes the type information (`.BTF`) from them; after that nobody reads them, and they are most of the file.
fn without_debug_sections(object: &[u8]) -> Result<Vec<u8>> {
    let mut builder = elf::Builder::read(object)?;
    for section in &mut builder.sections {
        let name = String::from_utf8_lossy(&section.name);
        section.delete = name.trim_start_matches(".rel").starts_with(".debug_");
    }
    builder.delete_orphans();
    // LLVM keeps the names of sections and symbols in one table; here each has its own.
    let names = builder.sections.add();
    names.name = b".shstrtab"[..].into();
    names.sh_type = SHT_STRTAB;
    names.data = elf::SectionData::SectionString;
    let mut stripped = Vec::new();
    builder.write(&mut stripped)?;
    Ok(stripped)
}

/// The compiler's flags in cargo's encoding, which lets paths have spaces.
fn flags(compiler: &Compiler, folder: &Path) -> Result<String> {
    let mut flags = vec![
        "-Clinker-plugin-lto".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        "-Clink-arg=--disable-expand-memcpy-in-order".to_owned(),
        format!("--cfg=bpf_target_arch=\"{ARCHITECTURE}\""),
    ];
    // Of several that fit a path the last one wins, so: from the outside in.
    let mut remap = |from: &Path, to: &str| {
        flags.push(format!("--remap-path-prefix={}={to}", from.display()));
    };
    remap(workspace::root(), "/observer");
    remap(&compiler.sysroot, "/rust");
    for registry in registries()? {
        remap(&registry, "/registry");
    }
    remap(folder, "/target");
    Ok(flags.join("\x1f"))
}

/// Where cargo unpacks crates: a folder a registry, its name ends in a hash of the address it was reached by.
fn registries() -> Result<Vec<PathBuf>> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = match home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo"))) {
        Some(home) => home,
        None => return Ok(Vec::new()),
    };
    let sources = home.join("registry/src");
    // On a machine that never built anything the folder comes with this fetch.
    command::run(
        workspace::cargo()
            .current_dir(workspace::root().join("observer-ebpf"))
            .args(["fetch", "--locked", "--quiet"]),
    )?;
    let entries = fs::read_dir(&sources).with_context(|| sources.display().to_string())?;
    let mut folders = Vec::new();
    for entry in entries {
        folders.push(entry?.path());
    }
    folders.sort();
    Ok(folders)
}
