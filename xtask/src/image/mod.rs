//! `cargo xtask image`: an image with nothing in it but observer.
//!
//! Comes in: the work tree at its commit. Goes out, below `target/image/`: an OCI image layout (`layout/`), the same as one
//! archive, its bill of materials. Owns: that folder. No engine and no registry is asked.

mod check;
mod layout;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::dist::components::{self, Components};
use crate::dist::executable::{self, Linking};
use crate::dist::sbom;
use crate::dist::source::Source;
use crate::dist::tree::{self, File};
use crate::{debian, workspace};

/// Most bytes of all layers, compressed.
const LIMIT: u64 = 20_000_000;

/// Certificate authorities, for OTLP over TLS: Debian's collection, from the package `ca-certificates`.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// This executable instead of a build of this tree, which takes some minutes. It must be linked statically
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Where everything is put
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Run it with runc, with exactly the capabilities of the chart, and see it trace nginx (as root)
    #[arg(long)]
    check: bool,
}

/// Makes the image.
///
/// # Errors
/// When something can't be built, the image is too large, or, with `--check`, it does not trace.
pub(crate) fn run(options: &Options) -> Result<()> {
    debian::install(&[("objdump", "binutils")])?;
    if !Path::new(AUTHORITIES).is_file() {
        debian::install(&[("/nonexistent", "ca-certificates")])?;
    }
    let source = Source::read()?;
    let binary = executable::daemon(options.binary.as_deref(), Linking::Static)?;
    let (out, work) = tree::emptied(options.out.as_deref(), "image")?;

    let mut components = components::of_daemon()?;
    components.extend(components::linked_statically()?);
    let bill = sbom::document(&source, &binary, &components)?;
    fs::write(
        out.join(format!("observer-{}-image.cdx.json", source.version)),
        &bill,
    )?;
    let files = files(&binary, &bill, &components, &work)?;
    let image = layout::make(&source, &files, &work, &out.join("layout"))?;
    if image.bytes > LIMIT {
        bail!("the image has {} bytes, more than {LIMIT}", image.bytes);
    }
    let archive = out.join(format!("observer-{}-image.tar", source.version));
    tree::age(&out.join("layout"), &source)?;
    tree::archive(&out.join("layout"), ".", &source, &archive)?;
    eprintln!(
        "{} {} bytes, in {}",
        image.digest,
        image.bytes,
        out.display()
    );
    if options.check {
        check::run(&out.join("layout"), &work)?;
    }
    fs::remove_dir_all(&work)?;
    Ok(())
}

fn files(binary: &Path, bill: &str, components: &Components, work: &Path) -> Result<Vec<File>> {
    let root = workspace::root();
    let authorities = fs::read(AUTHORITIES).with_context(|| format!("reading {AUTHORITIES}"))?;
    let licences = components::licences(components)?;
    let shared = "usr/share/doc/observer";
    Ok(vec![
        File::copied("usr/bin/observer", 0o755, binary),
        File::copied(
            "etc/observer/observer.yaml",
            0o644,
            &root.join("docs/observer.example.yaml"),
        ),
        File::written("etc/passwd", "root:x:0:0:root:/:/usr/bin/observer\n"),
        File::written("etc/group", "root:x:0:\n"),
        // Which sources the C library asks for a host's address; both are in the executable.
        File::written("etc/nsswitch.conf", "hosts: files dns\n"),
        File::written(&AUTHORITIES[1..], authorities),
        File::written(&format!("{shared}/observer.cdx.json"), bill),
        File::written(
            &format!("{shared}/third-party-licences.gz"),
            crate::dist::gzip(licences.as_bytes(), work)?,
        ),
        File::copied(
            &format!("{shared}/LICENSE-APACHE"),
            0o644,
            &root.join("LICENSE-APACHE"),
        ),
        File::copied(
            &format!("{shared}/LICENSE-MIT"),
            0o644,
            &root.join("LICENSE-MIT"),
        ),
    ])
}
