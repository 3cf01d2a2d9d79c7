//! Hands the committed eBPF object to the daemon, and refuses to embed one that is older than its sources.

#[path = "ebpf/source_digest.rs"]
mod source_digest;

use std::error::Error;
use std::path::Path;
use std::{env, fs};

/// Lets a build go on with a stale or missing object, while one works on both sides at once.
const ALLOW_STALE: &str = "OBSERVER_ALLOW_STALE_EBPF";

fn main() -> Result<(), Box<dyn Error>> {
    let package = env::var("CARGO_MANIFEST_DIR")?;
    let package = Path::new(&package);
    let architecture = env::var("CARGO_CFG_TARGET_ARCH")?;
    let object = package.join(format!("ebpf/observer-{architecture}.o"));
    let digest = object.with_extension("digest");
    // The sources stand beside this package in a checkout, and only there.
    let sources = package
        .parent()
        .filter(|root| root.join("observer-ebpf").is_dir());

    println!("cargo::rerun-if-env-changed={ALLOW_STALE}");
    let own = [object.clone(), digest.clone(), package.join("build.rs")];
    for path in own
        .into_iter()
        .chain(sources.map(source_digest::watched).into_iter().flatten())
    {
        println!("cargo::rerun-if-changed={}", path.display());
    }

    let mut embedded = object.clone();
    if let Err(reason) = verify(&object, &digest, sources) {
        if env::var_os(ALLOW_STALE).is_none_or(|value| value != "1") {
            return Err(format!(
                "{reason}\nRun `cargo xtask ebpf` to build it, and commit what it writes \
                 (or set {ALLOW_STALE}=1 to build the daemon as it is)."
            )
            .into());
        }
        println!("cargo::warning={ALLOW_STALE}: {reason}");
        if !object.exists() {
            embedded = Path::new(&env::var("OUT_DIR")?).join("no-object");
            fs::write(&embedded, [])?;
        }
    }
    println!(
        "cargo::rustc-env=OBSERVER_EBPF_OBJECT={}",
        embedded.display()
    );
    Ok(())
}

/// Whether the object is whole and what the sources give.
fn verify(object: &Path, digest: &Path, sources: Option<&Path>) -> Result<(), String> {
    let name = |path: &Path| path.file_name().unwrap_or_default().display().to_string();
    let bytes =
        fs::read(object).map_err(|error| format!("eBPF object {}: {error}.", name(object)))?;
    let text = fs::read_to_string(digest)
        .map_err(|error| format!("digest of the eBPF object, {}: {error}.", name(digest)))?;
    let mut lines = text.lines();
    let (of_sources, of_object) = (lines.next(), lines.next());
    if of_object != Some(source_digest::of_bytes(&bytes).as_str()) {
        return Err(format!(
            "{} is not the eBPF object that {} was written for.",
            name(object),
            name(digest)
        ));
    }
    let Some(root) = sources else { return Ok(()) };
    let current = source_digest::of_sources(root)
        .map_err(|error| format!("reading the eBPF sources: {error}."))?;
    if of_sources != Some(current.as_str()) {
        return Err(format!(
            "The eBPF sources are newer than the object {}.",
            name(object)
        ));
    }
    Ok(())
}
