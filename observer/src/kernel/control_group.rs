//! The root of the control groups (version 2), which every process is in. On hybrid hosts version 1's hierarchies stand
//! beside it.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
};

use anyhow::{Context as _, Result, bail};

/// Inode number of a hierarchy's root.
const ROOT_INODE: u64 = 1;

/// The root group, opened.
///
/// # Errors
/// Why it cannot be had, and what to do.
pub(super) fn root() -> Result<File> {
    let mounts = fs::read_to_string("/proc/mounts").context("cannot read /proc/mounts")?;
    let place = place(&mounts)?;
    File::open(&place).with_context(|| format!("cannot open {}", place.display()))
}

/// Where the whole hierarchy is mounted: on hybrid hosts usually at `/sys/fs/cgroup/unified`.
fn place(mounts: &str) -> Result<PathBuf> {
    let mut partial = None;
    for line in mounts.lines() {
        let mut fields = line.split(' ').skip(1);
        let (Some(place), Some("cgroup2")) = (fields.next(), fields.next()) else {
            continue;
        };
        let place = PathBuf::from(unescaped(place));
        if fs::metadata(&place).is_ok_and(|group| group.ino() == ROOT_INODE) {
            return Ok(place);
        }
        partial = Some(place);
    }
    match partial {
        Some(place) => bail!(
            "{} is not the root of the control groups but a part: run observer in the host's control group namespace \
             (--cgroupns=host), or mount the host's /sys/fs/cgroup",
            place.display()
        ),
        None => bail!("no cgroup v2 is mounted: mount -t cgroup2 none /sys/fs/cgroup/unified"),
    }
}

/// A path as `/proc/mounts` writes it: space, tab, newline and backslash are three octal digits (proc_mounts(5)).
fn unescaped(path: &str) -> String {
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .iter()
    .fold(path.to_owned(), |path, (code, character)| {
        path.replace(code, character)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_mount_the_reason_says_what_to_do() {
        let error = place("proc /proc proc rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n");
        assert!(error.unwrap_err().to_string().contains("mount -t cgroup2"));
    }

    #[test]
    fn a_part_of_the_hierarchy_is_not_taken_for_its_root() {
        let folder = std::env::temp_dir().join(format!("observer group {}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let shown = folder.display().to_string().replace(' ', "\\040");
        let error = place(&format!("none {shown} cgroup2 rw 0 0\n")).unwrap_err();
        fs::remove_dir(&folder).unwrap();
        assert!(error.to_string().contains("is not the root"), "{error}");
        assert!(error.to_string().contains("observer group"), "{error}");
    }

    #[test]
    fn the_root_is_found_behind_a_part_and_beside_others() {
        // A directory with the inode of a hierarchy's root: the root of a file system of that kind has it.
        let Some(root) = ["/proc", "/sys", "/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
            .into_iter()
            .find(|place| fs::metadata(place).is_ok_and(|found| found.ino() == ROOT_INODE))
        else {
            panic!("/proc and /sys have the inode 1");
        };
        let mounts = format!(
            "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
             none /tmp cgroup2 rw 0 0\ncgroup2 {root} cgroup2 rw 0 0\n"
        );
        assert_eq!(place(&mounts).unwrap(), PathBuf::from(root));
    }
}
