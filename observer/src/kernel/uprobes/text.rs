//! The text of a file as the kernel maps it: whether a breakpoint stands there.
//!
//! The kernel keeps breakpoints by the inode that holds the bytes. An overlay filesystem shows one such inode as another
//! inode of each of its mounts, and no call tells which one lies below. But the kernel writes each breakpoint into every
//! private mapping that may be executed, this process's too, at once when it is set, and at once when the mapping is made.
//! So a page that this process maps shows what stands in the file below. Nobody runs it here.

use std::{
    fs::{self, File},
    os::{
        fd::AsRawFd,
        unix::fs::{FileExt, MetadataExt},
    },
    path::Path,
    ptr::{self, NonNull},
};

use iced_x86::{Decoder, DecoderOptions};

use crate::thread_group;

/// What the kernel writes over an instruction's first byte (`UPROBE_SWBP_INSN` on x86).
const BREAKPOINT: u8 = 0xcc;
/// Unit of mappings.
const PAGE: u64 = 4096;
/// Bytes behind a breakpoint among which an instruction is looked for.
const NEAR: usize = 64;

/// A part of a file around one place, mapped into this process until this is dropped.
pub(super) struct Text {
    mapped: NonNull<libc::c_void>,
    /// Where in the file it begins.
    from: u64,
    /// This process's memory: unlike a plain read it gives an error where the file has become shorter.
    memory: File,
}

// SAFETY: the mapping belongs to the process, not to a thread, and only the kernel reads or writes it.
unsafe impl Send for Text {}
// SAFETY: as above.
unsafe impl Sync for Text {}

impl Text {
    /// Bytes that are mapped: the place's page and the next.
    const SIZE: usize = 2 * PAGE as usize;

    /// Maps what lies around an offset of a file.
    pub(super) fn around(file: &File, offset: u64) -> Option<Self> {
        let from = offset - offset % PAGE;
        let memory = File::open("/proc/self/mem").ok()?;
        // SAFETY: a new mapping of a file, at an address that the kernel chooses.
        let mapped = unsafe {
            libc::mmap(
                ptr::null_mut(),
                Self::SIZE,
                libc::PROT_READ,
                libc::MAP_PRIVATE,
                file.as_raw_fd(),
                i64::try_from(from).ok()?,
            )
        };
        if mapped == libc::MAP_FAILED {
            return None;
        }
        Some(Self {
            mapped: NonNull::new(mapped)?,
            from,
            memory,
        })
    }

    /// Whether a breakpoint stands at an offset of the file, whose own byte is another. `false` where that can't be told.
    pub(super) fn has_breakpoint(&self, offset: u64) -> bool {
        let within = offset.checked_sub(self.from);
        let Some(within) = within.filter(|within| *within < Self::SIZE as u64) else {
            return false;
        };
        byte_at(
            &self.memory,
            (self.mapped.as_ptr() as u64).wrapping_add(within),
        ) == Some(BREAKPOINT)
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        // SAFETY: this mapping is ours, and nothing refers to it any more.
        unsafe { libc::munmap(self.mapped.as_ptr(), Self::SIZE) };
    }
}

/// Whether the instruction at an offset of a file is no breakpoint of its own.
pub(super) fn is_instruction(file: &File, offset: u64) -> bool {
    byte_at(file, offset).is_some_and(|byte| byte != BREAKPOINT)
}

/// Offsets of instructions of a file that follow the one at `offset`, on its page or the next.
pub(super) fn following(file: &File, offset: u64) -> Vec<u64> {
    let mut code = [0; NEAR];
    let Ok(read) = file.read_at(&mut code, offset) else {
        return Vec::new();
    };
    Decoder::with_ip(64, &code[..read], offset, DecoderOptions::NONE)
        .into_iter()
        .skip(1)
        .take_while(|instruction| !instruction.is_invalid())
        .map(|instruction| instruction.ip())
        .filter(|next| code[(next - offset) as usize] != BREAKPOINT)
        .collect()
}

/// Whether a breakpoint stands in the text of a process, at an offset of a file that it has mapped and that is open as
/// `file`: then the process has another byte there. Not so where it has put something else in the place of its text
/// (Node's `--use-largepages`), or maps what the file was before an overlay filesystem copied it.
pub(crate) fn stands_in(proc: &Path, pid: u32, path: &Path, file: &File, offset: u64) -> bool {
    let folder = thread_group::folder(proc, pid);
    let find = || {
        let inode = file.metadata().ok()?.ino();
        // By the link to the executable, or by the path in the process's own root.
        let name = fs::read_link(path).ok().or_else(|| {
            let within = path.strip_prefix(folder.join("root")).ok()?;
            Some(Path::new("/").join(within))
        });
        let maps = fs::read_to_string(folder.join("maps")).ok()?;
        let name = name.as_deref().and_then(Path::to_str);
        let address = address_of(&maps, inode, name, offset)?;
        let byte = byte_at(&File::open(folder.join("mem")).ok()?, address)?;
        Some(byte != byte_at(file, offset)?)
    };
    find() == Some(true)
}

/// Where in a process's memory an offset of a file is that is mapped to be executed, known by its inode's number or its
/// name: before 6.12 some kernels show the number of the inode that lies below an overlay.
fn address_of(maps: &str, inode: u64, name: Option<&str>, offset: u64) -> Option<u64> {
    // address perms offset device inode path
    maps.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (range, permissions) = (fields.next()?, fields.next()?);
        let from = u64::from_str_radix(fields.next()?, 16).ok()?;
        let number: u64 = fields.nth(1)?.parse().ok()?;
        let is_named = || name.is_some_and(|name| line.ends_with(&format!(" {name}")));
        if !permissions.contains('x') || !(number == inode || is_named()) {
            return None;
        }
        let (start, end) = range.split_once('-')?;
        let start = u64::from_str_radix(start, 16).ok()?;
        let end = u64::from_str_radix(end, 16).ok()?;
        let address = start.checked_add(offset.checked_sub(from)?)?;
        (address < end).then_some(address)
    })
}

fn byte_at(file: &File, offset: u64) -> Option<u8> {
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).ok()?;
    Some(byte[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
55d0c0000000-55d0c0025000 r--p 00000000 00:29 9994508    /usr/sbin/nginx
55d0c0025000-55d0c00f9000 r-xp 00025000 00:29 9994508    /usr/sbin/nginx
7f0000000000-7f0000010000 r-xp 00025000 00:29 77         /usr/lib/libother.so
7ffc4a1f0000-7ffc4a1f2000 r-xp 00000000 00:00 0          [vdso]
";

    #[test]
    fn a_places_address_is_found_by_the_files_number_or_name() {
        let expected = Some(0x55d0_c004_83c0);
        assert_eq!(address_of(MAPS, 9_994_508, None, 0x483c0), expected);
        let name = Some("/usr/sbin/nginx");
        assert_eq!(address_of(MAPS, 5, name, 0x483c0), expected);
    }

    #[test]
    fn a_place_that_is_not_mapped_to_be_executed_has_no_address() {
        assert_eq!(address_of(MAPS, 9_994_508, None, 0x100), None);
        assert_eq!(address_of(MAPS, 9_994_508, None, 0xf_9000), None);
        assert_eq!(address_of(MAPS, 5, Some("/sbin/nginx"), 0x483c0), None);
    }

    #[test]
    fn instructions_that_follow_are_found_and_breakpoints_of_the_file_are_none() {
        let path = std::env::temp_dir().join(format!("observer-text-{}", std::process::id()));
        // push %rbp; mov %rsp, %rbp; int3; nop; ret
        fs::write(&path, [0x55, 0x48, 0x89, 0xe5, 0xcc, 0x90, 0xc3]).unwrap();
        let file = File::open(&path).unwrap();
        assert_eq!(following(&file, 0), [1, 5, 6]);
        assert!(is_instruction(&file, 0) && !is_instruction(&file, 4));
        assert!(following(&file, 100).is_empty());
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_is_mapped_shows_its_bytes_and_a_file_that_becomes_shorter_is_no_trap() {
        let path = std::env::temp_dir().join(format!("observer-page-{}", std::process::id()));
        fs::write(&path, [BREAKPOINT; 100]).unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let text = Text::around(&file, 40).unwrap();
        assert!(text.has_breakpoint(40));
        assert!(!text.has_breakpoint(PAGE * 9));
        file.set_len(0).unwrap();
        assert!(!text.has_breakpoint(40));
        fs::remove_file(path).unwrap();
    }
}
