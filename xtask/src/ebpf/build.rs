//! One build of the kernel programs, with the same bytes as result wherever the work tree, cargo's home and the
//! compiler are.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
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
    without_debug_sections(&bytes).context("taking what is for debugging out of the object")
}

/// The linker makes the type information (`.BTF`) from them; after that nobody reads them, and they are most of the file.
fn without_debug_sections(object: &[u8]) -> Result<Vec<u8>> {
    let mut builder = elf::Builder::read(object)?;
    let mut functions_end = None;
    for section in &mut builder.sections {
        let name = String::from_utf8_lossy(&section.name);
        section.delete = name.trim_start_matches(".rel").starts_with(".debug_");
        match (name.as_ref(), &mut section.data) {
            (".BTF.ext", elf::SectionData::Data(data)) => {
                functions_end = Some(without_lines(data.to_mut())?);
            }
            (".rel.BTF.ext", elf::SectionData::Relocation(places)) => {
                let end = functions_end.context(".rel.BTF.ext stands before .BTF.ext")?;
                places.retain(|place| place.r_offset < end);
            }
            _ => {}
        }
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

/// Takes the lines of the sources out of `.BTF.ext` (`struct btf_ext_header` of libbpf), which are two thirds of the object
/// and which the daemon would keep in memory several times. Only the verifier's log shows them. What is known of functions stays;
/// returns where that ends.
fn without_lines(extended: &mut Vec<u8>) -> Result<u64> {
    let word = |extended: &[u8], at: usize| -> Result<usize> {
        let bytes = extended.get(at..at + 4).context(".BTF.ext is cut")?;
        Ok(u32::from_le_bytes(bytes.try_into()?) as usize)
    };
    let header = word(extended, 4)?;
    let functions = (word(extended, 8)?, word(extended, 12)?);
    let lines = word(extended, 16)?;
    if functions.0 + functions.1 > lines || header < 24 {
        bail!("in .BTF.ext lines do not stand behind functions");
    }
    // Relocations of fields, if there were any, would stand behind the lines.
    if header >= 32 && word(extended, 28)? != 0 {
        bail!(".BTF.ext relocates fields");
    }
    let nothing = functions.0 + functions.1;
    extended.truncate(header + nothing);
    // Where lines and fields stand, and in how many bytes.
    for (at, value) in [(16, nothing), (20, 0), (24, nothing)] {
        if at < header {
            let field = extended.get_mut(at..at + 4).context(".BTF.ext is cut")?;
            field.copy_from_slice(&u32::try_from(value)?.to_le_bytes());
        }
    }
    Ok((header + nothing) as u64)
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
