//! Kernels that were fetched, each in a folder of its own below `target/vm/kernels/`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::fetch;
use super::modules::Modules;
use crate::workspace;

/// A distribution's kernel, ready to boot.
pub(crate) struct Kernel {
    /// What `uname -r` says in the guest.
    pub(super) release: String,
    folder: PathBuf,
}

impl Kernel {
    /// The kernel of a version, fetched where it is not there yet.
    ///
    /// # Errors
    /// When there is none of that version, or it can't be fetched.
    pub(crate) fn get(version: &str) -> Result<Self> {
        if let Some(kernel) = Self::fetched(version) {
            return Ok(kernel);
        }
        fetch::fetch(version, &folder(version))
            .with_context(|| format!("fetching kernel {version}"))?;
        Self::fetched(version).with_context(|| format!("kernel {version} was fetched and is gone"))
    }

    /// The kernel of a version where it is there already.
    pub(super) fn fetched(version: &str) -> Option<Self> {
        let folder = folder(version);
        // Written last: without it the folder is not complete.
        let release = fs::read_to_string(folder.join("release")).ok()?;
        Some(Self {
            release: release.trim().to_owned(),
            folder,
        })
    }

    /// The uncompressed kernel.
    pub(super) fn image(&self) -> PathBuf {
        self.folder.join("vmlinux")
    }

    /// Its modules.
    ///
    /// # Errors
    /// When they can't be read.
    pub(super) fn modules(&self) -> Result<Modules> {
        let list = self.folder.join("modules.builtin");
        Modules::of(&self.folder.join("modules"), &list)
    }

    /// Where files that are made for this kernel may be kept.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

fn folder(version: &str) -> PathBuf {
    workspace::target().join("vm/kernels").join(version)
}
