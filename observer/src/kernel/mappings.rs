//! What processes map to be executed, told by the kernel as it happens: programs, libraries, what dlopen brings.
//!
//! A software event that counts nothing, on each CPU, whose ring gets a record (`PERF_RECORD_MMAP2`, perf_event_open(2),
//! since 3.16) for each such mapping of any process. It costs the process that maps about a microsecond.

use std::{
    ffi::OsStr,
    fs, io,
    os::{
        fd::{AsFd, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::{Context as _, Result};
use aya_obj::generated::{perf_event_attr, perf_sw_ids, perf_type_id};

use super::shared_memory::SharedMemory;

/// Unit of mappings.
const PAGE: usize = 4096;
/// Pages of a ring, a power of two: some hundred records.
const PAGES: usize = 8;
/// Bytes of a ring.
const RING: u64 = (PAGES * PAGE) as u64;
/// `data_head` and `data_tail` in the first page (`struct perf_event_mmap_page`), in words.
const HEAD: usize = 1024 / 8;
const TAIL: usize = 1032 / 8;
/// Types of records.
const LOST: u32 = 2;
const MMAP2: u32 = 10;
/// Bytes of a record before the file's name.
const BEFORE_NAME: usize = 72;
/// `PERF_FLAG_FD_CLOEXEC`.
const CLOEXEC: u64 = 8;

/// Part of a file that a process has mapped to be executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mapping<'a> {
    /// The process.
    pub(crate) pid: u32,
    /// Where it begins, and behind its end.
    pub(crate) range: (u64, u64),
    /// Which file it is: device, inode, and the inode's generation where that is told.
    pub(crate) file: (u64, u64, u64),
    /// The file's name in the view of the process.
    pub(crate) name: &'a OsStr,
}

/// A ring on each CPU.
pub(crate) struct Mappings {
    rings: Vec<Ring>,
}

struct Ring {
    event: OwnedFd,
    memory: SharedMemory,
}

impl Mappings {
    /// Begins to be told.
    ///
    /// # Errors
    /// The kernel refuses (`kernel.perf_event_paranoid` without CAP_PERFMON, or no such events).
    pub(crate) fn open() -> Result<Self> {
        let online = fs::read_to_string("/sys/devices/system/cpu/online")
            .context("cannot read which CPUs there are")?;
        let rings = cpus(&online).map(Ring::open).collect::<Result<_>>()?;
        Ok(Self { rings })
    }

    /// What can be waited for.
    pub(crate) fn waited_for(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.rings.iter().map(|ring| ring.event.as_fd())
    }

    /// Tells every mapping since the last time. Returns whether some were lost.
    pub(crate) fn drain(&mut self, mut each: impl FnMut(&Mapping<'_>)) -> bool {
        let mut lost = false;
        for ring in &mut self.rings {
            lost |= ring.drain(&mut each);
        }
        lost
    }
}

/// The numbers in a list such as `0-3,8`.
fn cpus(list: &str) -> impl Iterator<Item = i32> + '_ {
    list.trim().split(',').flat_map(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        match (first.parse::<i32>(), last.parse::<i32>()) {
            (Ok(first), Ok(last)) => first..last + 1,
            _ => 0..0,
        }
    })
}

impl Ring {
    fn open(cpu: i32) -> Result<Self> {
        // SAFETY: perf_event_attr is integers only.
        let mut attr: perf_event_attr = unsafe { std::mem::zeroed() };
        attr.type_ = perf_type_id::PERF_TYPE_SOFTWARE as u32;
        attr.size = u32::try_from(size_of::<perf_event_attr>())?;
        attr.config = perf_sw_ids::PERF_COUNT_SW_DUMMY as u64;
        attr.set_mmap(1);
        attr.set_mmap2(1);
        attr.set_exclude_kernel(1);
        // Each record wakes who waits.
        attr.set_watermark(1);
        attr.__bindgen_anon_2.wakeup_watermark = 1;
        // SAFETY: the attributes outlive the call.
        let event = unsafe {
            libc::syscall(
                libc::SYS_perf_event_open,
                &raw const attr,
                -1,
                cpu,
                -1,
                CLOEXEC,
            )
        };
        if event < 0 {
            return Err(io::Error::last_os_error())
                .with_context(|| format!("the perf_event_open syscall failed on CPU {cpu}"));
        }
        // SAFETY: a new descriptor, which nobody else has.
        let event = unsafe { OwnedFd::from_raw_fd(i32::try_from(event)?) };
        let memory = SharedMemory::map(event.as_fd(), 0, (1 + PAGES) * PAGE, true)
            .context("cannot map a ring of mappings")?;
        Ok(Self { event, memory })
    }

    /// A word of the first page.
    fn word(&self, index: usize) -> &AtomicU64 {
        // SAFETY: `index` is within the first page, which lives as long as `self`.
        unsafe { &*self.memory.words().add(index) }
    }

    fn drain(&mut self, each: &mut impl FnMut(&Mapping<'_>)) -> bool {
        let head = self.word(HEAD).load(Ordering::Acquire);
        let mut tail = self.word(TAIL).load(Ordering::Relaxed);
        let (mut lost, mut record) = (false, Vec::new());
        while tail < head {
            self.copy(tail, 8, &mut record);
            let (kind, size) = (u32_at(&record, 0), u16_at(&record, 6));
            if size < 8 || tail + u64::from(size) > head {
                // Not what the kernel writes: nothing behind it is believed.
                tail = head;
                lost = true;
                break;
            }
            self.copy(tail, u64::from(size), &mut record);
            tail += u64::from(size);
            match kind {
                MMAP2 => {
                    if let Some(mapping) = read(&record) {
                        each(&mapping);
                    }
                }
                LOST => lost = true,
                _ => {}
            }
        }
        self.word(TAIL).store(tail, Ordering::Release);
        lost
    }

    /// Copies bytes of the ring, which may go on at its beginning.
    fn copy(&self, from: u64, bytes: u64, to: &mut Vec<u8>) {
        to.clear();
        // SAFETY: the data pages follow the first.
        let data = unsafe { self.memory.words().cast::<u8>().add(PAGE) };
        for position in from..from + bytes {
            // SAFETY: inside of the data pages; the kernel does not write between tail and head.
            to.push(unsafe { data.add((position % RING) as usize).read_volatile() });
        }
    }
}

/// A record of type `PERF_RECORD_MMAP2`; `None` for what is no file.
fn read(record: &[u8]) -> Option<Mapping<'_>> {
    // header(8) pid tid addr len pgoff maj min ino ino_generation prot flags filename
    let name = record.get(BEFORE_NAME..)?;
    let name = &name[..name.iter().position(|byte| *byte == 0)?];
    let (pid, start, length) = (u32_at(record, 8), u64_at(record, 16), u64_at(record, 24));
    let device = (u64::from(u32_at(record, 40)) << 32) | u64::from(u32_at(record, 44));
    let (inode, generation) = (u64_at(record, 48), u64_at(record, 56));
    (inode != 0 && name.first() == Some(&b'/')).then(|| Mapping {
        pid,
        range: (start, start.wrapping_add(length)),
        file: (device, inode, generation),
        name: OsStr::from_bytes(name),
    })
}

/// Numbers in a record; 0 where it ends before them.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    let bytes = bytes.get(at..at + 2).and_then(|part| part.try_into().ok());
    u16::from_ne_bytes(bytes.unwrap_or_default())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes.get(at..at + 4).and_then(|part| part.try_into().ok());
    u32::from_ne_bytes(bytes.unwrap_or_default())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let bytes = bytes.get(at..at + 8).and_then(|part| part.try_into().ok());
    u64::from_ne_bytes(bytes.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;

    use super::*;

    #[test]
    fn lists_of_cpus_are_read() {
        assert_eq!(cpus("0-3,8\n").collect::<Vec<_>>(), [0, 1, 2, 3, 8]);
        assert_eq!(cpus("0").collect::<Vec<_>>(), [0]);
        assert_eq!(cpus("x").count(), 0);
    }

    #[test]
    fn a_record_is_read_and_what_is_cut_or_no_file_is_not() {
        let mut record = vec![0; BEFORE_NAME];
        record[8..12].copy_from_slice(&7u32.to_ne_bytes());
        record[16..24].copy_from_slice(&0x7f00_0000_0000u64.to_ne_bytes());
        record[24..32].copy_from_slice(&0x2000u64.to_ne_bytes());
        record[40..44].copy_from_slice(&8u32.to_ne_bytes());
        record[44..48].copy_from_slice(&1u32.to_ne_bytes());
        record[48..56].copy_from_slice(&99u64.to_ne_bytes());
        record[56..64].copy_from_slice(&5u64.to_ne_bytes());
        let with = |name: &[u8]| [record.as_slice(), name].concat();
        let file = with(b"/usr/lib/libssl.so.3\0\0\0\0");
        let expected = Mapping {
            pid: 7,
            range: (0x7f00_0000_0000, 0x7f00_0000_2000),
            file: (8 << 32 | 1, 99, 5),
            name: OsStr::new("/usr/lib/libssl.so.3"),
        };
        assert_eq!(read(&file), Some(expected));
        assert_eq!(read(&with(b"[vdso]\0\0")), None);
        for length in 0..BEFORE_NAME + 5 {
            assert_eq!(read(&file[..length]), None, "{length}");
        }
    }

    #[test]
    fn what_this_process_maps_to_be_executed_is_told() {
        let Ok(mut mappings) = Mappings::open() else {
            eprintln!("skipped: the kernel lets nobody here see what is mapped");
            return;
        };
        let file = fs::File::open("/proc/self/exe").unwrap();
        // SAFETY: a new mapping, which nothing uses.
        let mapped = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                PAGE,
                libc::PROT_READ | libc::PROT_EXEC,
                libc::MAP_PRIVATE,
                file.as_raw_fd(),
                0,
            )
        };
        let start = mapped as u64;
        let mut found = false;
        mappings.drain(|mapping| {
            found |= mapping.pid == std::process::id() && mapping.range.0 == start;
        });
        // SAFETY: the mapping of above.
        unsafe { libc::munmap(mapped, PAGE) };
        assert!(found);
    }
}
