//! Where the root of the second version's control groups is mounted: every process is in one of them, whatever the
//! first version's hierarchies beside it.

use std::fs::{File, read_to_string};

/// The root group.
///
/// # Errors
/// The reason why there is none.
pub(super) fn root() -> Result<File, String> {
    let mounts = read_to_string("/proc/mounts")
        .map_err(|error| format!("cannot read /proc/mounts: {error}"))?;
    let path = mount_point(&mounts).ok_or(
        "no control groups of version 2 are mounted (cgroup2, at /sys/fs/cgroup or /sys/fs/cgroup/unified)",
    )?;
    File::open(&path).map_err(|error| format!("cannot open {path}: {error}"))
}

/// The first place of type `cgroup2` (fstab(5): device, place, type).
fn mount_point(mounts: &str) -> Option<String> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let path = fields.next()?;
        (fields.next()? == "cgroup2").then(|| path.replace("\\040", " "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unified_hierarchy_is_found_beside_others() {
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
            cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(
            mount_point(mounts).as_deref(),
            Some("/sys/fs/cgroup/unified")
        );
    }

    #[test]
    fn without_one_there_is_none() {
        assert_eq!(
            mount_point("cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n"),
            None
        );
    }
}
