//! What a process has mapped to be executed, and how its file is opened, be it deleted, replaced, or another root's.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use crate::{kernel::mappings::Mapping, thread_group};

/// One mapping of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mapped {
    pub(super) pid: u32,
    range: (u64, u64),
    /// Device, inode, and a generation that `/proc` does not tell.
    pub(super) file: (u64, u64, u64),
    pub(super) name: OsString,
}

impl Mapped {
    pub(super) fn as_mapping(&self) -> Mapping<'_> {
        Mapping {
            pid: self.pid,
            range: self.range,
            file: self.file,
            name: &self.name,
        }
    }

    /// Its file, and a path by which it can be opened again while the process has it.
    pub(super) fn open(&self, proc: &Path) -> Option<(PathBuf, File)> {
        paths(proc, self.pid, self.range, &self.name)
    }
}

/// The files of a process, each once.
pub(super) fn of_process(proc: &Path, pid: u32) -> Vec<Mapped> {
    let maps = fs::read(thread_group::folder(proc, pid).join("maps")).unwrap_or_default();
    let mut found: Vec<Mapped> = Vec::new();
    for line in maps.split(|byte| *byte == b'\n') {
        let Some(mapped) = read(pid, line) else {
            continue;
        };
        if !found.iter().any(|known| known.file == mapped.file) {
            found.push(mapped);
        }
    }
    found
}

/// A line of `/proc/PID/maps` that is of a file that is executed: address perms offset device inode path.
fn read(pid: u32, line: &[u8]) -> Option<Mapped> {
    let mut fields = line.splitn(6, |byte| *byte == b' ');
    let (range, permissions) = (fields.next()?, fields.next()?);
    let (_, device, inode) = (fields.next()?, fields.next()?, fields.next()?);
    let name = fields.next()?.trim_ascii_start();
    if !permissions.contains(&b'x') || name.first() != Some(&b'/') {
        return None;
    }
    let pair = |text: &[u8], between: u8| {
        let at = text.iter().position(|byte| *byte == between)?;
        let number = |text| u64::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok();
        Some((number(&text[..at])?, number(&text[at + 1..])?))
    };
    let (major, minor) = pair(device, b':')?;
    Some(Mapped {
        pid,
        range: pair(range, b'-')?,
        file: (
            major << 32 | minor,
            std::str::from_utf8(inode).ok()?.parse().ok()?,
            0,
        ),
        name: OsStr::from_bytes(name).to_owned(),
    })
}

/// Opens the file of a mapping. By the mapping itself it is that file whatever became of its name, which takes
/// CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN; else by its name in the root of the process; a program that was deleted by the
/// link to it.
pub(super) fn paths(
    proc: &Path,
    pid: u32,
    (start, end): (u64, u64),
    name: &OsStr,
) -> Option<(PathBuf, File)> {
    let folder = thread_group::folder(proc, pid);
    let open = |path: PathBuf| {
        let file = File::open(&path).ok()?;
        Some((path, file))
    };
    let by_range = folder.join("map_files").join(format!("{start:x}-{end:x}"));
    if let Some(found) = open(by_range) {
        return Some(found);
    }
    let within = Path::new(name).strip_prefix("/").ok()?;
    if let Some(found) = open(folder.join("root").join(within)) {
        return Some(found);
    }
    let program = folder.join("exe");
    (fs::read_link(&program).ok()?.as_os_str() == name)
        .then(|| open(program))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_file_that_is_executed_is_read() {
        let line = b"7f00-7f10 r-xp 00001000 fd:01 77                 /usr/lib/a b.so (deleted)";
        let expected = Mapped {
            pid: 3,
            range: (0x7f00, 0x7f10),
            file: (0xfd << 32 | 1, 77, 0),
            name: "/usr/lib/a b.so (deleted)".into(),
        };
        assert_eq!(read(3, line), Some(expected));
        for line in [
            "7f00-7f10 r--p 00001000 00:29 77                 /usr/lib/a.so",
            "7f00-7f10 r-xp 00000000 00:00 0                  [vdso]",
            "7f00-7f10 rwxp 00000000 00:00 0 ",
            "7f00-7f10 r-xp 00001000 0029 77                 /usr/lib/a.so",
            "",
        ] {
            assert_eq!(read(3, line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn the_files_of_this_process_are_found_once_each_and_opened() {
        let own = of_process(Path::new("/proc"), std::process::id());
        let program = fs::read_link("/proc/self/exe").unwrap();
        let found: Vec<_> = own
            .iter()
            .filter(|mapped| mapped.name == program.as_os_str())
            .collect();
        assert_eq!(found.len(), 1);
        assert!(found[0].open(Path::new("/proc")).is_some());
        assert_eq!(of_process(Path::new("/nonexistent"), 1), []);
    }
}
