//! A folder as it is to be installed, and archives of it.

use std::fs::{self, FileTimes};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

use super::source::Source;
use crate::{command, workspace};

/// One file of a package.
#[derive(Clone)]
pub(crate) struct File {
    /// Below the root, with no slash in front.
    pub(crate) place: String,
    pub(crate) mode: u32,
    content: Content,
}

#[derive(Clone)]
enum Content {
    Copied(PathBuf),
    Written(Vec<u8>),
}

impl File {
    pub(crate) fn copied(place: &str, mode: u32, from: &Path) -> Self {
        Self {
            place: place.to_owned(),
            mode,
            content: Content::Copied(from.to_owned()),
        }
    }

    /// The same, in another folder if it is in the first one.
    pub(crate) fn moved(mut self, from: &str, to: &str) -> Self {
        if let Some(name) = self.place.strip_prefix(from) {
            self.place = format!("{to}{name}");
        }
        self
    }

    /// A text or such that everybody may read.
    pub(crate) fn written(place: &str, content: impl Into<Vec<u8>>) -> Self {
        Self {
            place: place.to_owned(),
            mode: 0o644,
            content: Content::Written(content.into()),
        }
    }
}

/// The folder that is asked for, else the one of that name in the build's: emptied, with the folder `work` in it.
///
/// # Errors
/// When what is there can't be removed, or there is no room.
pub(crate) fn emptied(asked: Option<&Path>, name: &str) -> Result<(PathBuf, PathBuf)> {
    let out = match asked {
        Some(folder) => std::path::absolute(folder)?,
        None => workspace::target().join(name),
    };
    if out.exists() {
        fs::remove_dir_all(&out)?;
    }
    let work = out.join("work");
    fs::create_dir_all(&work)?;
    Ok((out, work))
}

/// Lays all files below `root`, with their modes and the source's time.
///
/// # Errors
/// When one can't be read or written.
pub(crate) fn lay(root: &Path, files: &[File], source: &Source) -> Result<()> {
    for file in files {
        let path = root.join(&file.place);
        fs::create_dir_all(path.parent().unwrap_or(root))?;
        match &file.content {
            Content::Copied(from) => {
                fs::copy(from, &path).with_context(|| format!("copying {}", from.display()))?;
            }
            Content::Written(bytes) => fs::write(&path, bytes)?,
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(file.mode))?;
    }
    age(root, source)
}

/// Gives a folder and all below it the source's time, and folders the mode that they have everywhere.
pub(crate) fn age(path: &Path, source: &Source) -> Result<()> {
    if path.is_dir() {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
        for entry in fs::read_dir(path)? {
            age(&entry?.path(), source)?;
        }
    }
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(source.epoch);
    let times = FileTimes::new().set_accessed(time).set_modified(time);
    fs::File::open(path)?.set_times(times)?;
    Ok(())
}

/// Writes `what` below `folder` into a tar file: sorted, owned by root, as old as the source.
///
/// # Errors
/// When `tar` fails.
pub(crate) fn archive(folder: &Path, what: &str, source: &Source, archive: &Path) -> Result<()> {
    command::run(
        Command::new("tar")
            .args(["--sort=name", "--format=ustar", "--owner=0", "--group=0"])
            .args(["--numeric-owner", &format!("--mtime=@{}", source.epoch)])
            .arg("-C")
            .arg(folder)
            .arg("-cf")
            .arg(archive)
            .arg(what)
            .env("LC_ALL", "C"),
    )
}
