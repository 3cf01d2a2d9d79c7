//! Which file it is, as the daemon keeps what it learned of one.

use std::{fs::File, os::unix::fs::MetadataExt as _};

/// An executable as one mount shows it, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Executable {
    device: u64,
    inode: u64,
    changed_ns: i64,
    /// When anything about it changed: an overlay that copies the file keeps all but this.
    status_changed_ns: i64,
}

impl Executable {
    pub(crate) fn of(file: &File) -> Option<Self> {
        let metadata = file.metadata().ok()?;
        let ns = |seconds: i64, ns: i64| seconds.wrapping_mul(1_000_000_000).wrapping_add(ns);
        metadata.is_file().then(|| Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            changed_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
            status_changed_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}
