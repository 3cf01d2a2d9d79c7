//! Distribution kernels from Debian's packages.
//!
//! The cloud flavour: small, with BTF, kprobes and virtio, and what is built in is what its users have.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};

use super::vmlinux;
use crate::debian::PrivateApt;
use crate::workspace;

const PREFIX: &str = "linux-image-";
const FLAVOUR: &str = "-cloud-amd64";

/// Downloads the newest kernel of a version (`6.12`, or more exactly `6.12.117`) and unpacks it into `folder`.
///
/// # Errors
/// When no suite has such a kernel, the archive can't be reached, or the package holds something unexpected.
pub(super) fn fetch(version: &str, folder: &Path) -> Result<()> {
    let begun = Instant::now();
    let apt = PrivateApt::new(&workspace::target().join("vm/apt"))?;
    let release = newest(&apt, version)?;
    let image = match unpack(&apt, &release) {
        Ok(image) => image,
        // Lists that are older than the archive name files that are gone.
        Err(error) => {
            eprintln!("{error:#}; trying again with new package lists");
            apt.update()?;
            unpack(&apt, &newest(&apt, version)?)?
        }
    };
    let part = folder.with_extension("part");
    if part.exists() {
        fs::remove_dir_all(&part)?;
    }
    fs::create_dir_all(&part)?;
    let kernel = fs::read(&image.kernel)?;
    let kernel = vmlinux::extract(&kernel).with_context(|| image.kernel.display().to_string())?;
    fs::write(part.join("vmlinux"), kernel)?;
    fs::rename(&image.modules, part.join("modules"))?;
    fs::rename(&image.built_in, part.join("modules.builtin"))?;
    fs::write(part.join("release"), &image.release)?;
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::rename(&part, folder)?;
    for package in &image.packages {
        fs::remove_dir_all(package)?;
    }
    let took = begun.elapsed().as_secs_f64();
    eprintln!("{version}: {} in {took:.1} s", image.release);
    Ok(())
}

/// The newest release of a version that is in the package lists.
fn newest(apt: &PrivateApt, version: &str) -> Result<String> {
    let names = apt.names(&format!("{PREFIX}{version}"))?;
    names
        .iter()
        .filter_map(|name| release_of(name, version))
        .max_by_key(|release| numbers(release))
        .map(str::to_owned)
        .with_context(|| format!("no Debian suite has a {FLAVOUR} kernel {version}"))
}

/// The release in a package's name, where it is a kernel of this version: `6.1.0-56` or `6.12.117+deb12`, no rebuild
/// for an older Debian.
fn release_of<'a>(package: &'a str, version: &str) -> Option<&'a str> {
    let release = package.strip_prefix(PREFIX)?;
    let number = release.strip_suffix(FLAVOUR)?;
    let rest = number.strip_prefix(version)?;
    if rest.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let is_number = |text: &str| {
        text.split('.')
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let (upstream, build) = number
        .split_once("+deb")
        .or_else(|| number.split_once('-'))?;
    (is_number(upstream) && is_number(build)).then_some(release)
}

/// All numbers in a text, to compare releases by.
fn numbers(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_ascii_digit())
        .filter_map(|part| part.parse().ok())
        .collect()
}

/// A kernel's files, unpacked from its packages.
struct Image {
    release: String,
    kernel: PathBuf,
    /// The folder `kernel` below `/lib/modules`.
    modules: PathBuf,
    /// The list `modules.builtin`.
    built_in: PathBuf,
    /// Folders to remove when all is taken.
    packages: Vec<PathBuf>,
}

fn unpack(apt: &PrivateApt, release: &str) -> Result<Image> {
    let mut packages = vec![apt.unpack(&format!("{PREFIX}{release}"), None)?];
    // Newer Debians split them.
    for part in ["linux-base-", "linux-binary-", "linux-modules-"] {
        let name = format!("{part}{release}");
        if apt.names(&name)?.contains(&name) {
            packages.push(apt.unpack(&name, None)?);
        }
    }
    let find = |name: &str| {
        let mut found = packages.iter().filter_map(|folder| find(folder, name));
        found
            .next()
            .with_context(|| format!("the packages of {release} hold no {name}"))
    };
    let kernel = find("vmlinuz").or_else(|_| find(&format!("vmlinuz-{release}")))?;
    let built_in = find("modules.builtin")?;
    // For some releases Debian keeps the kernel only.
    let modules = find("kernel").context("the guest can't do without modules")?;
    Ok(Image {
        release: release.to_owned(),
        kernel,
        modules,
        built_in,
        packages,
    })
}

/// A file or folder of this name below a folder, the outermost first.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    let wanted = folder.join(name);
    if wanted.exists() {
        return Some(wanted);
    }
    let entries = fs::read_dir(folder).ok()?.flatten();
    let mut folders = entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir() && !path.is_symlink());
    folders.find_map(|folder| find(&folder, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_kernels_of_the_version_are_taken_and_the_newest_wins() {
        let names = [
            "linux-image-6.1-cloud-amd64",
            "linux-image-6.1.0-0.deb11.52-cloud-amd64",
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64-dbg",
            "linux-image-6.12.94+deb12-cloud-amd64",
        ];
        let releases: Vec<&str> = names
            .iter()
            .filter_map(|name| release_of(name, "6.1"))
            .collect();
        assert_eq!(releases, ["6.1.0-9-cloud-amd64", "6.1.0-56-cloud-amd64"]);
        let newest = releases.iter().max_by_key(|release| numbers(release));
        assert_eq!(newest, Some(&"6.1.0-56-cloud-amd64"));
        assert_eq!(
            release_of(names[5], "6.12"),
            Some("6.12.94+deb12-cloud-amd64")
        );
    }
}
