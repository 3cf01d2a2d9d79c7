//! Executable files, read with bounds.
//!
//! In: a stranger's file, which may be gigabytes long, or crafted. Out: its segments and sections, and parts of them.
//! Only the header, the two tables of headers and the names of the sections are read at once, each up to a limit; of a
//! section what is asked for. Anything that does not fit is `None`.

mod executable;
mod functions;
mod image;

use std::{fs::File, os::unix::fs::FileExt as _};

use object::{
    Endianness, elf,
    read::{
        ReadCache, ReadRef as _,
        elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _},
    },
};

pub(crate) use self::{executable::Executable, functions::Functions, image::Image};

/// Most sections and segments.
const MOST_HEADERS: usize = 512;
/// Longest name, bytes.
const LONGEST_TEXT: usize = 4096;
/// Most bytes of section names.
const MOST_NAMES: u64 = 64 << 10;

/// A 64-bit ELF file.
pub(crate) struct Elf<'a> {
    file: &'a File,
    length: u64,
    /// `e_machine`.
    pub(crate) machine: u16,
    /// It may be loaded anywhere.
    pub(crate) relocatable: bool,
    pub(crate) segments: Vec<Segment>,
    sections: Vec<Section>,
}

/// A part of the file that is loaded, or of another kind.
pub(crate) struct Segment {
    /// `p_type`.
    pub(crate) kind: u32,
    /// `p_flags`.
    flags: u32,
    pub(crate) address: u64,
    pub(crate) offset: u64,
    /// Bytes in the file.
    pub(crate) size: u64,
    /// Bytes in memory.
    pub(crate) memory: u64,
    pub(crate) alignment: u64,
}

impl Segment {
    pub(crate) fn is_executable(&self) -> bool {
        self.flags & elf::PF_X != 0
    }

    pub(crate) fn is_writable(&self) -> bool {
        self.flags & elf::PF_W != 0
    }
}

/// A named part of the file.
pub(crate) struct Section {
    name: String,
    pub(crate) address: u64,
    offset: u64,
    /// Bytes in the file.
    pub(crate) size: u64,
    link: usize,
}

impl<'a> Elf<'a> {
    /// Reads the headers; `None` for what is no 64-bit ELF file. Without a table of sections it has none.
    pub(crate) fn read(file: &'a File) -> Option<Self> {
        let cache = ReadCache::new(file);
        let data = &cache;
        let head = elf::FileHeader64::<Endianness>::parse(data).ok()?;
        let endian = head.endian().ok()?;
        // Each of the tables is read whole.
        let few = |count: usize| count <= MOST_HEADERS;
        if !few(head.phnum(endian, data).ok()?) || !few(head.shnum(endian, data).ok()?) {
            return None;
        }
        let segments = head.program_headers(endian, data).ok()?;
        let segments = segments.iter().map(|program| Segment {
            kind: program.p_type(endian),
            flags: program.p_flags(endian),
            address: program.p_vaddr(endian),
            offset: program.p_offset(endian),
            size: program.p_filesz(endian),
            memory: program.p_memsz(endian),
            alignment: program.p_align(endian),
        });
        let headers = head.section_headers(endian, data).ok()?;
        let names = head.shstrndx(endian, data).ok();
        let names = match names.and_then(|index| headers.get(index as usize)) {
            Some(names) => {
                let size = names.sh_size(endian).min(MOST_NAMES);
                data.read_bytes_at(names.sh_offset(endian), size).ok()?
            }
            None => &[],
        };
        let sections = headers.iter().map(|section| Section {
            name: text_at(names, section.sh_name(endian) as usize).unwrap_or_default(),
            address: section.sh_addr(endian),
            offset: section.sh_offset(endian),
            // (SHT_NOBITS has none.)
            size: section.file_range(endian).map_or(0, |(_, size)| size),
            link: section.sh_link(endian) as usize,
        });
        Some(Self {
            file,
            length: file.metadata().ok()?.len(),
            machine: head.e_machine(endian),
            relocatable: head.e_type(endian) == elf::ET_DYN,
            segments: segments.collect(),
            sections: sections.collect(),
        })
    }

    /// The section of this name.
    pub(crate) fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// The section that another one names as its `sh_link`: of a table of symbols, their names.
    pub(crate) fn linked(&self, section: &Section) -> Option<&Section> {
        self.sections.get(section.link)
    }

    /// The first `limit` bytes of a section.
    pub(crate) fn beginning(&self, section: &Section, limit: u64) -> Option<Vec<u8>> {
        self.bytes(section.offset, section.size.min(limit))
    }

    /// All bytes of a section, if they are not more than `limit`.
    pub(crate) fn whole(&self, section: &Section, limit: u64) -> Option<Vec<u8>> {
        (section.size <= limit).then(|| self.bytes(section.offset, section.size))?
    }

    /// Exactly `size` bytes of the file; callers bound it.
    pub(crate) fn bytes(&self, offset: u64, size: u64) -> Option<Vec<u8>> {
        if offset.checked_add(size)? > self.length {
            return None;
        }
        let mut bytes = vec![0; usize::try_from(size).ok()?];
        self.fill(offset, &mut bytes)?;
        Some(bytes)
    }

    /// As many bytes of the file as there is room for.
    fn fill(&self, offset: u64, room: &mut [u8]) -> Option<()> {
        self.file.read_exact_at(room, offset).ok()
    }
}

/// The NUL-terminated text at a position.
fn text_at(bytes: &[u8], start: usize) -> Option<String> {
    let text = std::str::from_utf8(bytes_at(bytes, start)?).ok()?;
    Some(text.to_owned())
}

/// The bytes from a position to the next NUL, or to the end; none where they are too many. A crafted table has millions of
/// entries that all name the same megabytes.
pub(crate) fn bytes_at(bytes: &[u8], start: usize) -> Option<&[u8]> {
    let rest = bytes.get(start..)?;
    let near = &rest[..rest.len().min(LONGEST_TEXT + 1)];
    let end = memchr::memchr(0, near).unwrap_or(near.len());
    (end <= LONGEST_TEXT).then(|| &near[..end])
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn with<T>(bytes: &[u8], look: impl FnOnce(Option<Elf<'_>>) -> T) -> T {
        // Of no name: whoever fails leaves nothing behind.
        let path = std::env::temp_dir().join(format!(
            "observer-elf-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        fs::write(&path, bytes).unwrap();
        let file = File::open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        look(Elf::read(&file))
    }

    fn own() -> Vec<u8> {
        fs::read("/proc/self/exe").unwrap()
    }

    #[test]
    fn the_test_itself_is_one_and_its_sections_are_where_it_says() {
        let bytes = own();
        with(&bytes, |elf| {
            let elf = elf.unwrap();
            assert!(elf.relocatable);
            let loaded = elf.segments.iter().filter(|one| one.kind == elf::PT_LOAD);
            assert!(loaded.count() >= 2);
            let text = elf.section(".text").unwrap();
            assert!(elf.whole(text, text.size - 1).is_none());
            let whole = elf.whole(text, text.size).unwrap();
            assert_eq!(whole, bytes[text.offset as usize..][..text.size as usize]);
            assert_eq!(elf.beginning(text, 4).unwrap(), whole[..4]);
            assert_eq!(elf.section(".bss").unwrap().size, 0);
            let symbols = elf.section(".dynsym").unwrap();
            assert_eq!(elf.linked(symbols).unwrap().name, ".dynstr");
            assert!(elf.section(".no such").is_none());
            assert!(elf.bytes(u64::MAX, 2).is_none());
            assert!(elf.bytes(bytes.len() as u64 - 1, 2).is_none());
        });
    }

    #[test]
    fn what_is_cut_is_none_and_no_table_of_sections_is_an_empty_one() {
        let mut bytes = own();
        for end in [0, 16, 63, 64, 200, 4096] {
            with(&bytes[..end], |elf| assert!(elf.is_none(), "{end}"));
        }
        // e_shoff, e_shnum and e_shstrndx.
        bytes[40..48].fill(0);
        bytes[60..64].fill(0);
        with(&bytes, |elf| {
            let elf = elf.unwrap();
            assert!(elf.section(".text").is_none());
            assert!(!elf.segments.is_empty());
        });
    }

    #[test]
    fn a_text_ends_with_a_nul_or_the_table_and_is_not_endless() {
        assert_eq!(bytes_at(b"ab\0cd", 1), Some(&b"b"[..]));
        assert_eq!(bytes_at(b"ab\0cd", 3), Some(&b"cd"[..]));
        assert_eq!(bytes_at(b"ab", 2), Some(&b""[..]));
        assert_eq!(bytes_at(b"ab", 3), None);
        let mut long = vec![1; LONGEST_TEXT];
        assert_eq!(bytes_at(&long, 0), Some(&long[..]));
        long.push(1);
        assert_eq!(bytes_at(&long, 0), None);
        assert_eq!(bytes_at(&long, 1), Some(&long[1..]));
    }

    #[test]
    fn a_header_that_promises_too_much_is_none() {
        let bytes = own();
        // e_phnum, e_shnum.
        for (at, count) in [(56, 513u16), (60, 513), (56, 0xfffe), (60, 0xfeff)] {
            let mut crafted = bytes.clone();
            crafted[at..at + 2].copy_from_slice(&count.to_le_bytes());
            with(&crafted, |elf| assert!(elf.is_none(), "{at} {count}"));
        }
        // Section 0 says how many there are: more than the file has room for.
        let mut crafted = bytes.clone();
        crafted[60..62].fill(0);
        let table = u64::from_le_bytes(bytes[40..48].try_into().unwrap()) as usize;
        crafted[table + 32..table + 40].fill(0xff);
        with(&crafted, |elf| assert!(elf.is_none()));
    }
}
