// One text for two programs, so that they can't disagree: `cargo xtask ebpf` writes the digest, and the daemon's
// build script checks it. Both take this file in with `#[path]`.

use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// What the kernel programs are built from, relative to the workspace. Folders count with all that is below them.
const SOURCES: [&str; 6] = [
    "observer-abi/Cargo.toml",
    "observer-abi/src",
    "observer-ebpf/.cargo",
    "observer-ebpf/Cargo.lock",
    "observer-ebpf/Cargo.toml",
    "observer-ebpf/src",
];

/// The paths whose change should make cargo run the build script again: those that are there, since cargo takes a path
/// that is missing for one that has changed, and would build the daemon anew each time.
#[allow(dead_code, reason = "the build script needs it, xtask does not")]
pub(crate) fn watched(root: &Path) -> Vec<PathBuf> {
    let sources = SOURCES.iter().map(|source| root.join(source));
    sources.filter(|source| source.exists()).collect()
}

/// SHA-256, as lowercase hex, over the sorted relative paths and contents of all sources. A source that is not
/// there counts as no file.
///
/// # Errors
/// When a file that is there can't be read.
pub(crate) fn of_sources(root: &Path) -> io::Result<String> {
    of_paths(root, &SOURCES)
}

/// The same over any files and folders, relative to `root`.
///
/// # Errors
/// When a file that is there can't be read.
pub(crate) fn of_paths(root: &Path, sources: &[&str]) -> io::Result<String> {
    let mut files = Vec::new();
    for source in sources {
        collect(&root.join(source), &mut files)?;
    }
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        let name = file.strip_prefix(root).unwrap_or(&file).to_string_lossy();
        let content = std::fs::read(&file)?;
        // Lengths first, so that no two lists of files run together into one text.
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name.as_bytes());
        hash.update((content.len() as u64).to_le_bytes());
        hash.update(&content);
    }
    Ok(hex(&hash.finalize()))
}

/// SHA-256 of some bytes, as lowercase hex.
pub(crate) fn of_bytes(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            collect(&entry?.path(), files)?;
        }
    } else if path.is_file() {
        files.push(path.to_owned());
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
