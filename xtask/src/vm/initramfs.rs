//! What the guest boots into: busybox, our `init`, the modules, and the command to run.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::cpio::Archive;
use super::kernel::Kernel;

/// The share of the host's root needs the first three; the others are what tests use.
const MODULES: [&str; 14] = [
    "virtio_pci",
    "virtiofs",
    "overlay",
    "bridge",
    "veth",
    "tls",
    // What kernel TLS encrypts with.
    "gcm",
    "ghash_generic",
    "ctr",
    "inet_diag",
    "tcp_diag",
    "unix_diag",
    "cls_bpf",
    "sch_ingress",
];

const INIT: &str = include_str!("init.sh");
const BUSYBOX: &str = "/bin/busybox";

/// Writes the RAM file system of one boot, which runs `command`, a script for `/bin/sh`.
///
/// # Errors
/// When busybox or a module can't be read, or the file not written.
pub(super) fn write(kernel: &Kernel, command: &str, file: &Path) -> Result<()> {
    let mut bytes = fs::read(base(kernel)?)?;
    let mut job = Archive::default();
    job.file("command", command.as_bytes());
    bytes.extend(job.finish());
    fs::write(file, bytes).with_context(|| file.display().to_string())
}

/// What all boots of a kernel share, made once.
fn base(kernel: &Kernel) -> Result<PathBuf> {
    let busybox = fs::read(BUSYBOX)
        .with_context(|| format!("{BUSYBOX}: install the package busybox-static"))?;
    let mut hash = Sha256::new();
    hash.update(&busybox);
    hash.update(INIT);
    hash.update(MODULES.join(" "));
    let name = format!("base-{}.cpio", &format!("{:x}", hash.finalize())[..16]);
    let file = kernel.folder().join(name);
    if file.exists() {
        return Ok(file);
    }
    let mut archive = Archive::default();
    for folder in ["bin", "dev", "modules", "proc", "sys"] {
        archive.folder(folder);
    }
    archive.device("dev/console", (5, 1));
    archive.device("dev/null", (1, 3));
    archive.file("bin/busybox", &busybox);
    archive.link("bin/sh", "busybox");
    archive.file("init", INIT.as_bytes());
    let modules = kernel.modules()?.in_load_order(&MODULES)?;
    for (number, module) in modules.iter().enumerate() {
        let path = format!("modules/{number:03}-{}.ko", module.name);
        archive.file(&path, &module.content);
    }
    // Two boots may come here at once: each writes a file of its own, the last one stays.
    let part = kernel
        .folder()
        .join(format!("base.{}.part", std::process::id()));
    fs::write(&part, archive.finish())?;
    fs::rename(&part, &file)?;
    Ok(file)
}
