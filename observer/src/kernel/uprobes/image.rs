//! An executable file, read as far as probes need it: where symbols are, and where an address lies in the file.
//!
//! Each read has a limit, and what does not fit is `None`.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    ops::Range,
};

use object::{Endianness, elf, pod};

use crate::elf::{Elf, Section, Segment, bytes_at};

/// Most bytes of one symbol or string table; Node has some tens of MB.
const MOST_TABLE: u64 = 192 << 20;

/// A 64-bit ELF file of this machine's byte order.
pub(super) struct Image<'a> {
    elf: Elf<'a>,
    /// It may be loaded anywhere.
    pub(super) relocatable: bool,
    /// Bytes of thread-local storage.
    pub(super) thread_local: u64,
    /// What it is aligned to.
    pub(super) thread_local_alignment: u64,
}

impl<'a> Image<'a> {
    /// Reads the headers; `None` for what is no x86-64 ELF file.
    pub(super) fn read(file: &'a File) -> Option<Self> {
        let elf = Elf::read(file).filter(|elf| elf.machine == elf::EM_X86_64)?;
        let of_threads = || {
            let segments = elf.segments.iter();
            segments.filter(|segment| segment.kind == elf::PT_TLS)
        };
        Some(Self {
            relocatable: elf.relocatable,
            thread_local: of_threads()
                .map(|segment| segment.memory)
                .fold(0, u64::saturating_add),
            thread_local_alignment: of_threads()
                .map(|segment| segment.alignment)
                .fold(1, u64::max),
            elf,
        })
    }

    /// The segments that are loaded.
    fn loaded(&self) -> impl Iterator<Item = &Segment> {
        let segments = self.elf.segments.iter();
        segments.filter(|segment| segment.kind == elf::PT_LOAD)
    }

    /// Where in the file the byte at an address lies.
    pub(super) fn file_offset(&self, address: u64) -> Option<u64> {
        self.loaded().find_map(|segment| {
            let within = address.checked_sub(segment.address)?;
            (within < segment.size).then(|| segment.offset.wrapping_add(within))
        })
    }

    /// The lowest address that is loaded.
    pub(super) fn lowest_address(&self) -> u64 {
        let addresses = self.loaded().map(|segment| segment.address);
        addresses.min().unwrap_or(0) & !0xfff
    }

    /// `size` bytes at an address.
    pub(super) fn bytes(&self, address: u64, size: u64) -> Option<Vec<u8>> {
        self.elf
            .bytes(self.file_offset(address)?, size.min(MOST_TABLE))
    }

    /// A section's address.
    pub(super) fn section_address(&self, name: &str) -> Option<u64> {
        Some(self.section(name)?.address)
    }

    /// A section's bytes, if they are not more than `limit`.
    pub(super) fn section_bytes(&self, name: &str, limit: u64) -> Option<Vec<u8>> {
        self.elf.whole(self.section(name)?, limit)
    }

    /// Addresses of the symbols with these names that are defined, from the full table or the dynamic one.
    pub(super) fn symbols(&self, wanted: &[&str]) -> HashMap<String, u64> {
        let wanted: HashSet<&[u8]> = wanted.iter().map(|name| name.as_bytes()).collect();
        let mut found = HashMap::new();
        self.each_symbol(|name, addresses| {
            if wanted.contains(name) {
                found.insert(String::from_utf8_lossy(name).into_owned(), addresses.start);
            }
        });
        found
    }

    /// The same with where each ends; none without a size.
    pub(super) fn extents(&self, wanted: &[&str]) -> HashMap<String, Range<u64>> {
        let wanted: HashSet<&[u8]> = wanted.iter().map(|name| name.as_bytes()).collect();
        let mut found = HashMap::new();
        self.each_symbol(|name, addresses| {
            if wanted.contains(name) && !addresses.is_empty() {
                found.insert(String::from_utf8_lossy(name).into_owned(), addresses);
            }
        });
        found
    }

    /// Whether a defined symbol's name begins like this.
    pub(super) fn has_symbol_like(&self, prefix: &str) -> bool {
        let mut found = false;
        self.each_symbol(|name, _| found |= name.starts_with(prefix.as_bytes()));
        found
    }

    fn each_symbol(&self, mut each: impl FnMut(&[u8], Range<u64>)) {
        let is_wanted =
            |entry: &elf::Sym64<Endianness>| entry.st_value.get(Endianness::Little) != 0;
        self.each_entry(is_wanted, |name, entry| {
            let start = entry.st_value.get(Endianness::Little);
            let size = entry.st_size.get(Endianness::Little);
            each(name, start..start.saturating_add(size));
        });
    }

    /// Symbols that are defined and wanted; the names of others are not looked at, which costs most.
    fn each_entry(
        &self,
        is_wanted: impl Fn(&elf::Sym64<Endianness>) -> bool,
        mut each: impl FnMut(&[u8], &elf::Sym64<Endianness>),
    ) {
        for name in [".symtab", ".dynsym"] {
            let Some(section) = self.section(name) else {
                continue;
            };
            let strings = self.names_of(section);
            let Some((table, strings)) =
                strings.and_then(|strings| Some((self.whole(section)?, self.whole(strings)?)))
            else {
                continue;
            };
            let count = table.len() / size_of::<elf::Sym64<Endianness>>();
            let Ok((symbols, _)) = pod::slice_from_bytes::<elf::Sym64<Endianness>>(&table, count)
            else {
                continue;
            };
            for symbol in symbols {
                if symbol.st_shndx.get(Endianness::Little) == elf::SHN_UNDEF || !is_wanted(symbol) {
                    continue;
                }
                let start = symbol.st_name.get(Endianness::Little) as usize;
                if let Some(name) = bytes_at(&strings, start) {
                    each(name, symbol);
                }
            }
        }
    }

    /// Thread-local symbols that are defined: name, offset, size.
    pub(super) fn each_thread_local(&self, mut each: impl FnMut(&[u8], u64, u64)) {
        let is_wanted = |entry: &elf::Sym64<Endianness>| entry.st_type() == elf::STT_TLS;
        self.each_entry(is_wanted, |name, entry| {
            each(
                name,
                entry.st_value.get(Endianness::Little),
                entry.st_size.get(Endianness::Little),
            );
        });
    }

    /// Functions that are defined: name, address, size.
    pub(super) fn each_function(&self, mut each: impl FnMut(&[u8], u64, u64)) {
        let is_wanted = |entry: &elf::Sym64<Endianness>| entry.st_type() == elf::STT_FUNC;
        self.each_entry(is_wanted, |name, entry| {
            each(
                name,
                entry.st_value.get(Endianness::Little),
                entry.st_size.get(Endianness::Little),
            );
        });
    }

    /// A thread-local symbol's offset in what the file keeps for each thread.
    pub(super) fn thread_local_symbol(&self, wanted: &str) -> Option<u64> {
        let mut found = None;
        self.each_thread_local(|name, offset, _| {
            if name == wanted.as_bytes() {
                found = Some(offset);
            }
        });
        found
    }

    /// The section with the names of another one's symbols.
    pub(super) fn names_of(&self, section: &Section) -> Option<&Section> {
        self.elf.linked(section)
    }

    /// A section with its address.
    pub(super) fn placed_section(&self, name: &str) -> Option<(u64, Vec<u8>)> {
        let section = self.section(name)?;
        Some((section.address, self.whole(section)?))
    }

    /// All bytes of a section, if they are not too many.
    pub(super) fn whole(&self, section: &Section) -> Option<Vec<u8>> {
        self.elf.whole(section, MOST_TABLE)
    }

    pub(super) fn section(&self, name: &str) -> Option<&Section> {
        self.elf.section(name)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    #[test]
    fn the_test_itself_has_a_main_and_lies_where_its_segments_say() {
        let file = File::open("/proc/self/exe").unwrap();
        let image = Image::read(&file).unwrap();
        let found = image.symbols(&["main", "no_such_symbol_at_all"]);
        assert_eq!(found.len(), 1);
        let main = found["main"];
        let offset = image.file_offset(main).unwrap();
        let mut bytes = [0; 4];
        file.read_exact_at(&mut bytes, offset).unwrap();
        assert_eq!(image.bytes(main, 4).unwrap(), bytes);
        assert!(image.has_symbol_like("mai"));
        assert_eq!(image.file_offset(u64::MAX), None);
        assert_eq!(image.thread_local_symbol("main"), None);
    }

    #[test]
    fn what_is_cut_or_no_program_is_none() {
        let directory = std::env::temp_dir().join(format!("observer-image-{}", std::process::id()));
        let own = std::fs::read("/proc/self/exe").unwrap();
        for end in [0, 16, 63, 64, 200, 4096] {
            std::fs::write(&directory, &own[..end]).unwrap();
            assert!(
                Image::read(&File::open(&directory).unwrap()).is_none(),
                "{end}"
            );
        }
        std::fs::remove_file(&directory).unwrap();
    }
}
