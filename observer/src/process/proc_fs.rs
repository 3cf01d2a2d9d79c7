//! Bounded reads of `/proc`.
//!
//! Everything here belongs to processes that nobody vouches for and that may end at any moment: each read has a
//! limit, a missing file is an error and never a panic, and files inside a process's own root are opened so that
//! no symbolic link leads out of it.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use crate::{identity::ProcessKey, thread_group};

/// Nanoseconds in one tick of `/proc`'s clock. USER_HZ is part of the kernel's ABI and is 100 on every architecture
/// that Rust has a Linux target for.
pub(super) const TICK_NS: u64 = 10_000_000;

/// Inode of the initial pid namespace (`PROC_PID_INIT_INO`, include/uapi/linux/nsfs.h; the same since 3.8).
const INITIAL_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// A mounted `proc` file system.
#[derive(Clone, Debug)]
pub struct ProcFs {
    root: PathBuf,
    /// What this time namespace adds to the times that `/proc` shows, ns.
    boot_offset_ns: i64,
    /// Holds up whoever reads in the root of this process.
    #[cfg(test)]
    pub(super) gate: Option<(u32, std::sync::Arc<super::fixture::Gate>)>,
}

/// What `/proc/PID/stat` tells (proc_pid_stat(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Name of the leader, at most 15 bytes.
    pub comm: String,
    /// State letter; `Z` is a leader that ended.
    pub state: char,
    /// Parent's process id, 0 for none.
    pub parent: u32,
    /// Threads, the leader included.
    pub threads: u32,
    /// Start, clock ticks since boot.
    pub start_ticks: u64,
    /// Where the program lies in memory; `None` where it has no memory or may not be looked at.
    pub layout: Option<Layout>,
}

/// Where exec put a program. fork copies it and exec draws it anew (ASLR), so two related processes have the same
/// one exactly if no exec lies between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    start_code: u64,
    start_stack: u64,
    start_data: u64,
    start_break: u64,
}

impl Default for ProcFs {
    fn default() -> Self {
        Self::at("/proc")
    }
}

impl ProcFs {
    /// The `proc` mounted at `root`: `/proc`, a host's mounted into a container, or a test's directory.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        let boot_offset_ns = boot_offset_ns(&root).unwrap_or(0);
        Self {
            root,
            boot_offset_ns,
            #[cfg(test)]
            gate: None,
        }
    }

    /// Every process id there is.
    pub fn pids(&self) -> io::Result<Vec<u32>> {
        Ok(fs::read_dir(&self.root)?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect())
    }

    /// `/proc/PID/stat`. An error when the process is gone, `InvalidData` when the text is not understood.
    pub fn stat(&self, pid: u32) -> io::Result<Stat> {
        parse_stat(&self.read(pid, "stat", 4096)?).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// The first `limit` bytes of `/proc/PID/<file>`.
    pub fn read(&self, pid: u32, file: &str, limit: usize) -> io::Result<Vec<u8>> {
        read_at_most(File::open(self.path(pid, file))?, limit)
    }

    /// Opens `/proc/PID/exe`: the program that runs, even where its file was replaced or deleted.
    pub fn open_exe(&self, pid: u32) -> io::Result<File> {
        let file = File::options()
            .read(true)
            .custom_flags_nonblocking()
            .open(self.path(pid, "exe"))?;
        if file.metadata()?.is_file() {
            Ok(file)
        } else {
            Err(io::ErrorKind::InvalidInput.into())
        }
    }

    /// Target of the link `/proc/PID/<file>`, without the ` (deleted)` that the kernel appends.
    pub fn link(&self, pid: u32, file: &str) -> io::Result<String> {
        let target = fs::read_link(self.path(pid, file))?;
        let target = target.to_string_lossy();
        Ok(target
            .strip_suffix(" (deleted)")
            .unwrap_or(&target)
            .to_owned())
    }

    /// The first `limit` bytes of the regular file that the process itself sees at `path`.
    ///
    /// The process's root is the root of every step (openat2's RESOLVE_IN_ROOT), so that a link planted in a
    /// container can't make observer read a file of the host; pipes and devices are refused.
    pub fn read_in_root(&self, pid: u32, path: &str, limit: usize) -> io::Result<Vec<u8>> {
        #[cfg(test)]
        if let Some((hung, gate)) = &self.gate
            && *hung == pid
        {
            gate.pass();
        }
        let root = File::options().read(true).open(self.path(pid, "root"))?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let file = File::from(openat2(&root, path, flags, Mode::empty(), resolve)?);
        if !file.metadata()?.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        read_at_most(file, limit)
    }

    /// A file of `/proc` itself, such as `sys/kernel/hostname`.
    pub fn read_global(&self, file: &str, limit: usize) -> io::Result<Vec<u8>> {
        read_at_most(File::open(self.root.join(file))?, limit)
    }

    /// Target of a link of `/proc` itself, such as `self/ns/uts`.
    pub fn read_global_link(&self, file: &str) -> io::Result<String> {
        Ok(fs::read_link(self.root.join(file))?
            .to_string_lossy()
            .into_owned())
    }

    /// `/proc/PID/<file>` as a path; what a first thread that has ended no longer shows is shown by another.
    pub fn path(&self, pid: u32, file: &str) -> PathBuf {
        match file {
            "stat" | "status" | "cgroup" => self.root.join(pid.to_string()).join(file),
            _ => thread_group::folder(&self.root, pid).join(file),
        }
    }

    /// The tick in which a process of this key began, as `/proc` shows it.
    pub fn ticks(&self, key: ProcessKey) -> u64 {
        key.start_ns.saturating_add_signed(self.boot_offset_ns) / TICK_NS
    }

    /// The earliest key of a process that began in this tick.
    pub fn key(&self, tgid: u32, start_ticks: u64) -> ProcessKey {
        let start_ns = start_ticks
            .saturating_mul(TICK_NS)
            .saturating_add_signed(self.boot_offset_ns.saturating_neg());
        ProcessKey { tgid, start_ns }
    }

    /// Our own key; its start is rounded down to a tick (10 ms).
    pub fn own_key(&self) -> io::Result<ProcessKey> {
        let text = read_at_most(File::open(self.root.join("self/stat"))?, 4096)?;
        let tgid = text
            .split(|byte| *byte == b' ')
            .next()
            .and_then(|pid| std::str::from_utf8(pid).ok()?.parse().ok());
        let (Some(tgid), Some(stat)) = (tgid, parse_stat(&text)) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        Ok(self.key(tgid, stat.start_ticks))
    }
}

/// Whether observer runs in a pid namespace of its own, where the kernel's process ids mean nothing to it.
pub fn is_own_pid_namespace_private() -> io::Result<bool> {
    let link = fs::read_link("/proc/self/ns/pid")?;
    let inode = namespace_inode(&link.to_string_lossy()).ok_or(io::ErrorKind::InvalidData)?;
    Ok(inode != INITIAL_PID_NAMESPACE)
}

/// This process's key, from `/proc/self`; its start is rounded down to a tick (10 ms).
pub fn own_key() -> io::Result<ProcessKey> {
    ProcFs::default().own_key()
}

/// The number in `net:[4026531833]`.
pub(super) fn namespace_inode(link: &str) -> Option<u64> {
    link.split_once(":[")?.1.strip_suffix(']')?.parse().ok()
}

/// Reads at most `limit` bytes; what is longer is cut off.
pub(super) fn read_at_most(file: impl Read, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(limit as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn parse_stat(text: &[u8]) -> Option<Stat> {
    // The name may hold spaces and parentheses: the last one ends it.
    let open = text.iter().position(|byte| *byte == b'(')?;
    let close = text.iter().rposition(|byte| *byte == b')')?;
    let comm = String::from_utf8_lossy(text.get(open + 1..close)?).into_owned();
    let rest = std::str::from_utf8(text.get(close + 1..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // Numbered as in proc_pid_stat(5), where the state is field 3.
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let layout = (|| {
        let layout = Layout {
            start_code: number(26)?,
            start_stack: number(28)?,
            start_data: number(45)?,
            start_break: number(47)?,
        };
        // All zero (or one) for kernel threads, zombies, and without permission to look.
        (layout.start_stack > 1).then_some(layout)
    })();
    Some(Stat {
        comm,
        state: fields.first()?.chars().next()?,
        parent: u32::try_from(number(4)?).ok()?,
        threads: u32::try_from(number(20)?).ok()?,
        start_ticks: number(22)?,
        layout,
    })
}

/// `boottime SECONDS NANOSECONDS` of time_namespaces(7): what this namespace adds to the kernel's own clock.
fn boot_offset_ns(root: &Path) -> Option<i64> {
    let text = fs::read_to_string(root.join("self/timens_offsets")).ok()?;
    let mut fields = text
        .lines()
        .find_map(|line| line.strip_prefix("boottime"))?
        .split_ascii_whitespace();
    let (seconds, nanoseconds): (i64, i64) =
        (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)
}

/// Opening a pipe or a tape must not block.
trait NonBlocking {
    fn custom_flags_nonblocking(&mut self) -> &mut Self;
}

impl NonBlocking for fs::OpenOptions {
    fn custom_flags_nonblocking(&mut self) -> &mut Self {
        use std::os::unix::fs::OpenOptionsExt;
        self.custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits() as i32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_is_read_whole() {
        let text = b"42 (tmux: (x) y) S 7 42 42 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 3 0 12345 99 100 18446744073709551615 10 11 12 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 13 14 15 16 17 18 19 0";
        let stat = parse_stat(text).unwrap();
        assert_eq!(
            (stat.comm.as_str(), stat.state, stat.parent, stat.threads),
            ("tmux: (x) y", 'S', 7, 3)
        );
        assert_eq!(stat.start_ticks, 12345);
        assert_eq!(
            stat.layout,
            Some(Layout {
                start_code: 10,
                start_stack: 12,
                start_data: 13,
                start_break: 15
            })
        );
    }

    #[test]
    fn every_prefix_and_garbage_of_a_stat_is_refused_or_read_without_a_panic() {
        let text = b"42 (a) S 7 42 42 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 3 0 12345 99";
        for end in 0..text.len() {
            let _ = parse_stat(&text[..end]);
        }
        assert_eq!(parse_stat(b")("), None);
        assert_eq!(parse_stat(b"\xff\xfe\x00"), None);
        assert_eq!(parse_stat(b"1 (x) S -5 nope"), None);
    }

    #[test]
    fn our_own_process_has_a_key_and_a_layout() {
        let proc = ProcFs::default();
        let key = own_key().unwrap();
        assert_eq!(key.tgid, std::process::id());
        let stat = proc.stat(key.tgid).unwrap();
        assert_eq!(proc.ticks(key), stat.start_ticks);
        assert!(stat.layout.is_some());
        is_own_pid_namespace_private().unwrap();
    }

    #[test]
    fn a_key_within_the_tick_is_the_same_process() {
        let proc = ProcFs {
            boot_offset_ns: -5_000_000_000,
            ..ProcFs::at("/nowhere")
        };
        let key = proc.key(1, 777);
        assert_eq!(proc.ticks(key), 777);
        assert_eq!(
            proc.ticks(ProcessKey {
                tgid: 1,
                start_ns: key.start_ns + TICK_NS - 1
            }),
            777
        );
        assert_eq!(
            proc.ticks(ProcessKey {
                tgid: 1,
                start_ns: key.start_ns + TICK_NS
            }),
            778
        );
    }
}
