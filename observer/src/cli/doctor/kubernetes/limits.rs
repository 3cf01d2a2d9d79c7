//! What the pod's control groups allow.

use std::path::{Path, PathBuf};

/// Limits; `None` where there is none, or it can't be read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Limits {
    /// Bytes.
    pub(super) memory: Option<u64>,
    /// Cores.
    pub(super) cpu: Option<f64>,
}

/// v1 says "no limit" by a number near 2^63.
const NO_LIMIT: u64 = 1 << 62;

impl Limits {
    /// Those of a process by its `/proc/PID/cgroup`, from what is mounted at `root` (`/sys/fs/cgroup`). A limit of a group
    /// above counts as well: the smallest is told.
    pub(super) fn read(root: &Path, membership: &str) -> Self {
        let mut limits = Self::default();
        for line in membership.lines() {
            // ID:CONTROLLERS:PATH
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
                continue;
            };
            let has = |name| controllers.split(',').any(|it| it == name);
            if controllers.is_empty() {
                // v2, in a hybrid below `unified`.
                for root in [root.to_owned(), root.join("unified")] {
                    for group in groups(&root, path) {
                        limits.memory_at_most(number(&group.join("memory.max")));
                        limits.cpu_at_most(text(&group.join("cpu.max")).as_deref().and_then(share));
                    }
                }
            } else if has("memory") {
                for group in groups(&root.join("memory"), path) {
                    let limit = number(&group.join("memory.limit_in_bytes"));
                    limits.memory_at_most(limit.filter(|limit| *limit < NO_LIMIT));
                }
            } else if has("cpu") {
                for group in groups(&root.join(controllers), path)
                    .into_iter()
                    .chain(groups(&root.join("cpu"), path))
                {
                    let quota = text(&group.join("cpu.cfs_quota_us"));
                    let period = text(&group.join("cpu.cfs_period_us"));
                    let both = quota.zip(period);
                    limits.cpu_at_most(both.and_then(|(quota, period)| {
                        share(&format!("{} {}", quota.trim(), period.trim()))
                    }));
                }
            }
        }
        limits
    }

    fn memory_at_most(&mut self, limit: Option<u64>) {
        self.memory = self.memory.into_iter().chain(limit).min();
    }

    fn cpu_at_most(&mut self, limit: Option<f64>) {
        let both = self.cpu.into_iter().chain(limit);
        self.cpu = both.reduce(f64::min);
    }
}

/// A group and those above it. A container may see its own group as the root, and be told the path that the host has for it.
fn groups(root: &Path, path: &str) -> Vec<PathBuf> {
    let own = root.join(path.trim_start_matches('/'));
    let all = own.ancestors().take_while(|group| group.starts_with(root));
    all.map(Path::to_owned).collect()
}

fn text(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

fn number(path: &Path) -> Option<u64> {
    text(path)?.trim().parse().ok()
}

/// Of `QUOTA PERIOD`; `None` for `max` and `-1`.
fn share(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
    (quota > 0.0 && period > 0.0).then_some(quota / period)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A folder with these files, which goes with the test.
    struct Mounted(PathBuf);

    impl Mounted {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let root =
                std::env::temp_dir().join(format!("observer-limits-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&root);
            for (file, text) in files {
                let path = root.join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            Self(root)
        }

        fn limits(&self, membership: &str) -> (Option<u64>, Option<f64>) {
            let limits = Limits::read(&self.0, membership);
            (limits.memory, limits.cpu)
        }
    }

    impl Drop for Mounted {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn version_2_and_the_smallest_of_the_groups_above_counts() {
        let files = [
            ("memory.max", "1000\n"),
            ("cpu.max", "max 100000\n"),
            ("pod/memory.max", "500\n"),
            ("pod/cpu.max", "50000 100000\n"),
            ("pod/container/memory.max", "max\n"),
            ("pod/container/cpu.max", "200000 100000\n"),
        ];
        let mounted = Mounted::new("v2", &files);
        assert_eq!(
            mounted.limits("0::/pod/container\n"),
            (Some(500), Some(0.5))
        );
        assert_eq!(mounted.limits("0::/\n"), (Some(1000), None));
        // A container's own root, under the path that the host knows.
        assert_eq!(mounted.limits("0::/unseen/here\n"), (Some(1000), None));
        assert_eq!(mounted.limits(""), (None, None));
    }

    #[test]
    fn version_1_and_both() {
        let files = [
            ("memory/kubepods/a/memory.limit_in_bytes", "536870912\n"),
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("cpu,cpuacct/kubepods/a/cpu.cfs_quota_us", "10000\n"),
            ("cpu,cpuacct/kubepods/a/cpu.cfs_period_us", "100000\n"),
            ("cpu,cpuacct/cpu.cfs_quota_us", "-1\n"),
            ("cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
            ("unified/kubepods/a/cgroup.procs", "1\n"),
        ];
        let mounted = Mounted::new("v1", &files);
        let membership = "12:memory:/kubepods/a\n4:cpu,cpuacct:/kubepods/a\n0::/kubepods/a\n";
        assert_eq!(mounted.limits(membership), (Some(536_870_912), Some(0.1)));
        let none = "12:memory:/\n4:cpu,cpuacct:/\n0::/\n";
        assert_eq!(mounted.limits(none), (None, None));
        assert_eq!(mounted.limits("nonsense\n::\n"), (None, None));
    }
}
