//! Debian's packages: what is installed, installing more, and packages of newer suites.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command;

/// The suites of the main archive that a private configuration knows.
const SUITES: [&str; 6] = [
    "bullseye",
    "bookworm",
    "bookworm-backports",
    "trixie",
    "trixie-backports",
    "sid",
];

/// The suites of the security archive, for machines that use one: newer kernels of old releases.
const SECURITY_SUITES: [&str; 2] = ["bullseye-security", "bookworm-security"];

/// Installs the packages of those programs that are not in `PATH`, given as (program, package).
///
/// # Errors
/// When apt can't install one of them, as without root.
pub(crate) fn install(programs: &[(&str, &str)]) -> Result<()> {
    let missing: Vec<&str> = programs
        .iter()
        .filter(|(program, _)| !in_path(program))
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let install = || {
        command::run(
            Command::new("apt-get")
                .args(["install", "-y", "-qq", "--no-install-recommends"])
                .args(&missing)
                .env("DEBIAN_FRONTEND", "noninteractive"),
        )
    };
    // Old or empty package lists are the usual reason to fail.
    install().or_else(|_| {
        command::run(Command::new("apt-get").args(["update", "-qq"]))?;
        install()
    })
}

fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// An apt configuration of our own that also knows newer suites. The machine's own stays untouched.
pub(crate) struct PrivateApt {
    config: PathBuf,
    folder: PathBuf,
}

impl PrivateApt {
    /// Lays the configuration in `folder` and fetches the package lists, unless they are there already.
    ///
    /// The archive and its signing keys are taken from the machine's own sources, so nothing is named here.
    ///
    /// # Errors
    /// When the machine is not a Debian one, knows no archive, or the lists can't be fetched.
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        Self::of(folder, &SUITES, &SECURITY_SUITES)
    }

    /// The same of one suite alone, whose lists are quick to fetch.
    ///
    /// # Errors
    /// As [`PrivateApt::new`].
    pub(crate) fn of_suite(folder: &Path, suite: &str) -> Result<Self> {
        Self::of(folder, &[suite], &[])
    }

    fn of(folder: &Path, suites: &[&str], security_suites: &[&str]) -> Result<Self> {
        fs::create_dir_all(folder.join("lists/partial"))?;
        fs::create_dir_all(folder.join("cache/archives/partial"))?;
        let sources = folder.join("sources.list");
        if fs::metadata(&sources).map_or(0, |file| file.len()) == 0 {
            fs::write(&sources, sources_list(suites, security_suites)?)?;
        }
        let config = folder.join("apt.conf");
        fs::write(
            &config,
            format!(
                "Dir::Etc::SourceList \"{folder}/sources.list\";\n\
                 Dir::Etc::SourceParts \"/nonexistent\";\n\
                 Dir::State::Lists \"{folder}/lists\";\n\
                 Dir::Cache \"{folder}/cache\";\n\
                 APT::Sandbox::User \"root\";\n",
                folder = folder.display()
            ),
        )?;
        let apt = Self {
            config,
            folder: folder.to_owned(),
        };
        if !has_lists(&folder.join("lists")) {
            apt.update()?;
        }
        Ok(apt)
    }

    /// Fetches the package lists anew.
    ///
    /// # Errors
    /// When none can be fetched. One that can't, as of a release that left the archive, is only reported by apt.
    pub(crate) fn update(&self) -> Result<()> {
        let updated = command::run(self.command("apt-get").args(["update", "-qq"]));
        match updated {
            Err(_) if has_lists(&self.folder.join("lists")) => Ok(()),
            updated => updated.context(
                "no package list could be fetched: can this machine reach the Debian archive that its apt is set up for?",
            ),
        }
    }

    /// The names of all packages that begin with `prefix`, in no order.
    ///
    /// # Errors
    /// When `apt-cache` fails.
    pub(crate) fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let names = command::output(self.command("apt-cache").args(["pkgnames", prefix]))?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// The newest version of a package that begins with `prefix`.
    ///
    /// # Errors
    /// When no suite has such a version; the versions there are stand in the message.
    pub(crate) fn version(&self, package: &str, prefix: &str) -> Result<String> {
        let table = command::output(self.command("apt-cache").args(["madison", package]))?;
        let versions: Vec<&str> = table
            .lines()
            .filter_map(|line| line.split('|').nth(1))
            .map(str::trim)
            .collect();
        match versions.iter().find(|version| version.starts_with(prefix)) {
            Some(version) => Ok((*version).to_owned()),
            None => bail!(
                "no suite has {package} {prefix}*, only: {}",
                versions.join(", ")
            ),
        }
    }

    /// Downloads a package, the newest without a version, and unpacks its files below the returned folder; nothing is
    /// installed.
    ///
    /// # Errors
    /// When the package can't be downloaded or unpacked.
    pub(crate) fn unpack(&self, package: &str, version: Option<&str>) -> Result<PathBuf> {
        let files = self.folder.join("unpacked").join(package);
        let download = self.folder.join("download").join(package);
        for folder in [&files, &download] {
            if folder.exists() {
                fs::remove_dir_all(folder)?;
            }
            fs::create_dir_all(folder)?;
        }
        let wanted = match version {
            Some(version) => format!("{package}={version}"),
            None => package.to_owned(),
        };
        command::run(
            self.command("apt-get")
                .args(["download", "-qq", &wanted])
                .current_dir(&download),
        )?;
        let archive = fs::read_dir(&download)?
            .next()
            .with_context(|| format!("apt-get downloaded no file for {wanted}"))??;
        command::run(
            Command::new("dpkg")
                .arg("-x")
                .arg(archive.path())
                .arg(&files),
        )?;
        fs::remove_dir_all(&download)?;
        Ok(files)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", &self.config);
        command
    }
}

/// The lines of `sources.list`: these suites from the archive that the machine uses itself.
fn sources_list(suites: &[&str], security_suites: &[&str]) -> Result<String> {
    let mut targets = index_targets()?;
    if targets.is_empty() {
        command::run(Command::new("apt-get").args(["update", "-qq"]))?;
        targets = index_targets()?;
    }
    let archive = targets
        .iter()
        .find(|target| ["bookworm", "trixie"].contains(&target.release.as_str()))
        .context("this machine's apt knows no Debian archive: is it Debian 12 or 13?")?;
    let signed = match archive.signed_by.as_str() {
        "" => "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]".to_owned(),
        keys => format!("[signed-by={keys}]"),
    };
    let security = targets
        .iter()
        .find(|target| target.release.ends_with("-security"));
    let from = |address: &str, suites: &[&str]| -> String {
        let line = |suite: &&str| format!("deb {signed} {address} {suite} main\n");
        suites.iter().map(line).collect()
    };
    let mut lines = from(&archive.address, suites);
    if let Some(security) = security {
        lines += &from(&security.address, security_suites);
    }
    Ok(lines)
}

/// One package index that apt knows: where it comes from and which release it is.
struct IndexTarget {
    address: String,
    release: String,
    signed_by: String,
}

fn index_targets() -> Result<Vec<IndexTarget>> {
    let format = "$(REPO_URI)|$(RELEASE)|$(SIGNED_BY)";
    let table = command::output(Command::new("apt-get").args([
        "indextargets",
        "--format",
        format,
        "Created-By: Packages",
    ]))?;
    Ok(table.lines().filter_map(parse_index_target).collect())
}

fn parse_index_target(line: &str) -> Option<IndexTarget> {
    let mut words = line.split('|').map(str::trim);
    let (address, release, keys) = (words.next()?, words.next()?, words.next()?);
    // apt leaves a variable that it does not know in the text, and keys may be given inline.
    let keys = if keys.starts_with('/') { keys } else { "" };
    Some(IndexTarget {
        address: address.to_owned(),
        release: release.to_owned(),
        signed_by: keys.to_owned(),
    })
}

fn has_lists(folder: &Path) -> bool {
    let is_list = |name: OsString| name.to_string_lossy().contains("Packages");
    fs::read_dir(folder)
        .is_ok_and(|entries| entries.flatten().any(|entry| is_list(entry.file_name())))
}
