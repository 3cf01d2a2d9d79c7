//! What building eBPF on a stable compiler needs: the sources of `core`, and the linker that turns LLVM bitcode
//! into a BPF object.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{command, debian, workspace};

/// This version links with the LLVM inside rustc 1.95; later ones want a system LLVM of the same version.
const LINKER_VERSION: &str = "0.10.3";

/// The compiler that cargo uses: its release and where its libraries live.
pub(super) struct Compiler {
    /// `1.95.0`
    pub(super) release: String,
    /// The folder that holds `lib/rustlib`.
    pub(super) sysroot: PathBuf,
}

impl Compiler {
    /// Asks the compiler itself.
    ///
    /// # Errors
    /// When there is no `rustc`, or it does not tell.
    pub(super) fn detect() -> Result<Self> {
        // From the workspace, where a toolchain file or an override would apply.
        let ask = |arguments: &[&str]| {
            let program = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
            let mut rustc = Command::new(program);
            command::output(rustc.args(arguments).current_dir(workspace::root()))
        };
        let version = ask(&["-vV"])?;
        let release = version
            .lines()
            .find_map(|line| line.strip_prefix("release: "))
            .context("`rustc -vV` names no release")?;
        Ok(Self {
            release: release.to_owned(),
            sysroot: PathBuf::from(ask(&["--print", "sysroot"])?.trim()),
        })
    }
}

/// Installs what is missing; quick when nothing is.
///
/// # Errors
/// When something is missing and can't be installed; the message says what was tried.
pub(super) fn prepare(compiler: &Compiler) -> Result<()> {
    prepare_rust_src(compiler)?;
    prepare_linker()
}

/// `core`'s sources, where `-Z build-std` looks for them: from rustup, else from Debian's package.
fn prepare_rust_src(compiler: &Compiler) -> Result<()> {
    let place = compiler.sysroot.join("lib/rustlib/src/rust");
    if is_library(&place) {
        return Ok(());
    }
    eprintln!("the sources of `core` are missing: installing rust-src");
    let by_rustup = command::run(Command::new("rustup").args(["component", "add", "rust-src"]));
    let Err(rustup) = by_rustup else {
        return match is_library(&place) {
            true => Ok(()),
            false => bail!(
                "rustup added rust-src, but not to {}: is `rustc` another toolchain than rustup's?",
                place.display()
            ),
        };
    };
    eprintln!("{rustup:#}; trying Debian's package");
    let release = &compiler.release;
    rust_src_from_debian(release, &place).with_context(|| {
        format!("rust-src {release} came neither from rustup ({rustup}) nor from Debian's packages")
    })
}

fn is_library(place: &Path) -> bool {
    place.join("library/Cargo.lock").is_file() && place.join("library/core/src/lib.rs").is_file()
}

fn rust_src_from_debian(release: &str, place: &Path) -> Result<()> {
    let apt = debian::PrivateApt::new(&workspace::target().join("apt"))?;
    // The upstream version ends before `+dfsg`; `1.95.0` alone would also match `1.95.01`.
    let version = apt.version("rust-src", &format!("{release}+"))?;
    let files = apt.unpack("rust-src", Some(&version))?;
    let library = files.join(format!("usr/src/rustc-{release}/library"));
    install_library(&library, place)?;
    fs::remove_dir_all(files)?;
    Ok(())
}

/// Copies `library/` into place under another name first, so that an interrupted copy is never taken for whole.
fn install_library(library: &Path, place: &Path) -> Result<()> {
    fs::create_dir_all(place).with_context(|| format!("making {}", place.display()))?;
    let partial = place.join("library.partial");
    let whole = place.join("library");
    for stale in [&partial, &whole] {
        if stale.exists() {
            fs::remove_dir_all(stale)?;
        }
    }
    command::run(Command::new("cp").arg("-rL").arg(library).arg(&partial))?;
    fs::rename(&partial, &whole)?;
    match is_library(place) {
        true => Ok(()),
        false => bail!("{} is not the Rust library's source", whole.display()),
    }
}

fn prepare_linker() -> Result<()> {
    let installed = command::output(Command::new("bpf-linker").arg("--version")).ok();
    let version = installed.as_deref().and_then(linker_version);
    if version == Some(LINKER_VERSION) {
        return Ok(());
    }
    eprintln!(
        "bpf-linker {LINKER_VERSION} is needed, {} is here: installing (a few minutes)",
        version.unwrap_or("none")
    );
    command::run(workspace::cargo().args([
        "install",
        "bpf-linker",
        "--version",
        LINKER_VERSION,
        "--locked",
        "--force",
    ]))
}

/// `bpf-linker 0.10.3` → `0.10.3`
fn linker_version(text: &str) -> Option<&str> {
    text.split_whitespace().nth(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_linkers_version_is_read_from_its_answer() {
        assert_eq!(linker_version("bpf-linker 0.10.3\n"), Some("0.10.3"));
        assert_eq!(linker_version("bpf-linker"), None);
    }

    #[test]
    fn a_folder_without_core_is_no_library() {
        assert!(!is_library(Path::new("/nonexistent")));
    }

    #[test]
    fn a_library_is_copied_whole() {
        let folder = workspace::target().join(format!("test-library-{}", std::process::id()));
        let library = folder.join("from/library");
        fs::create_dir_all(library.join("core/src")).unwrap();
        fs::write(library.join("Cargo.lock"), "lock").unwrap();
        fs::write(library.join("core/src/lib.rs"), "core").unwrap();
        install_library(&library, &folder.join("to")).unwrap();
        assert!(is_library(&folder.join("to")));
        // A second time replaces what is there.
        install_library(&library, &folder.join("to")).unwrap();
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    #[ignore = "downloads a package from Debian's archive"]
    fn debians_package_gives_a_library() {
        let folder = workspace::target().join(format!("test-rust-src-{}", std::process::id()));
        let release = Compiler::detect().unwrap().release;
        rust_src_from_debian(&release, &folder).unwrap();
        assert!(is_library(&folder));
        fs::remove_dir_all(folder).unwrap();
    }
}
