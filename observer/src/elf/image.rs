//! An executable file, read as far as probes need it: where symbols are, and where an address lies in the file.
//!
//! Each read has a limit, and what does not fit is `None`.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    ops::Range,
};

use object::{Endianness, elf, pod};

use super::{Elf, Section, Segment, bytes_at};

/// Most bytes of one symbol or string table; Node has some tens of MB.
const MOST_TABLE: u64 = 192 << 20;

/// A 64-bit ELF file of this machine's byte order.
pub(crate) struct Image<'a> {
    elf: Elf<'a>,
    /// It may be loaded anywhere.
    pub(crate) relocatable: bool,
    /// Bytes of thread-local storage.
    pub(crate) thread_local: u64,
    /// What it is aligned to.
    pub(crate) thread_local_alignment: u64,
}

impl<'a> Image<'a> {
    /// Reads the headers; `None` for what is no x86-64 ELF file.
    pub(crate) fn read(file: &'a File) -> Option<Self> {
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
    pub(crate) fn loaded(&self) -> impl Iterator<Item = &Segment> {
        let segments = self.elf.segments.iter();
        segments.filter(|segment| segment.kind == elf::PT_LOAD)
    }

    /// Where in the file the byte at an address lies.
    pub(crate) fn file_offset(&self, address: u64) -> Option<u64> {
        self.loaded().find_map(|segment| {
            let within = address.checked_sub(segment.address)?;
            (within < segment.size).then(|| segment.offset.wrapping_add(within))
        })
    }

    /// The same for an address that is loaded to be executed, and by one segment only.
    pub(crate) fn code_offset(&self, address: u64) -> Option<u64> {
        let mut around = self.loaded().filter(|segment| {
            let within = address.checked_sub(segment.address);
            within.is_some_and(|within| within < segment.memory.max(segment.size))
        });
        let only = around.next().filter(|segment| segment.is_executable())?;
        if around.next().is_some() {
            return None;
        }
        let within = address - only.address;
        (within < only.size).then(|| only.offset.checked_add(within))?
    }

    /// The first segment of a kind.
    pub(crate) fn segment(&self, kind: u32) -> Option<&Segment> {
        self.elf
            .segments
            .iter()
            .find(|segment| segment.kind == kind)
    }

    /// Exactly `size` bytes at an offset of the file; callers bound it.
    pub(crate) fn part(&self, offset: u64, size: u64) -> Option<Vec<u8>> {
        self.elf.bytes(offset, size)
    }

    /// As many bytes at an offset of the file as there is room for.
    pub(crate) fn fill(&self, offset: u64, room: &mut [u8]) -> Option<()> {
        self.elf.fill(offset, room)
    }

    /// The lowest address that is loaded.
    pub(crate) fn lowest_address(&self) -> u64 {
        let addresses = self.loaded().map(|segment| segment.address);
        addresses.min().unwrap_or(0) & !0xfff
    }

    /// `size` bytes at an address.
    pub(crate) fn bytes(&self, address: u64, size: u64) -> Option<Vec<u8>> {
        self.elf
            .bytes(self.file_offset(address)?, size.min(MOST_TABLE))
    }

    /// A section's address.
    pub(crate) fn section_address(&self, name: &str) -> Option<u64> {
        Some(self.section(name)?.address)
    }

    /// A section's bytes, if they are not more than `limit`.
    pub(crate) fn section_bytes(&self, name: &str, limit: u64) -> Option<Vec<u8>> {
        self.elf.whole(self.section(name)?, limit)
    }

    /// Addresses of the symbols with these names that are defined, from the full table or the dynamic one.
    pub(crate) fn symbols(&self, wanted: &[&str]) -> HashMap<String, u64> {
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
    pub(crate) fn extents(&self, wanted: &[&str]) -> HashMap<String, Range<u64>> {
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
    pub(crate) fn has_symbol_like(&self, prefix: &str) -> bool {
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
        each: impl FnMut(&[u8], &elf::Sym64<Endianness>),
    ) {
        self.each_entry_of(&[".symtab", ".dynsym"], is_wanted, each);
    }

    fn each_entry_of(
        &self,
        tables: &[&str],
        is_wanted: impl Fn(&elf::Sym64<Endianness>) -> bool,
        mut each: impl FnMut(&[u8], &elf::Sym64<Endianness>),
    ) {
        for name in tables {
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
    pub(crate) fn each_thread_local(&self, mut each: impl FnMut(&[u8], u64, u64)) {
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
    pub(crate) fn each_function(&self, each: impl FnMut(&[u8], u64, u64)) {
        self.each_function_of(&[".symtab", ".dynsym"], each);
    }

    /// The same of the dynamic table alone, which is small.
    pub(crate) fn each_exported_function(&self, each: impl FnMut(&[u8], u64, u64)) {
        self.each_function_of(&[".dynsym"], each);
    }

    fn each_function_of(&self, tables: &[&str], mut each: impl FnMut(&[u8], u64, u64)) {
        let is_wanted = |entry: &elf::Sym64<Endianness>| entry.st_type() == elf::STT_FUNC;
        self.each_entry_of(tables, is_wanted, |name, entry| {
            each(
                name,
                entry.st_value.get(Endianness::Little),
                entry.st_size.get(Endianness::Little),
            );
        });
    }

    /// A thread-local symbol's offset in what the file keeps for each thread.
    pub(crate) fn thread_local_symbol(&self, wanted: &str) -> Option<u64> {
        let mut found = None;
        self.each_thread_local(|name, offset, _| {
            if name == wanted.as_bytes() {
                found = Some(offset);
            }
        });
        found
    }

    /// The section with the names of another one's symbols.
    pub(crate) fn names_of(&self, section: &Section) -> Option<&Section> {
        self.elf.linked(section)
    }

    /// A section with its address.
    pub(crate) fn placed_section(&self, name: &str) -> Option<(u64, Vec<u8>)> {
        let section = self.section(name)?;
        Some((section.address, self.whole(section)?))
    }

    /// All bytes of a section, if they are not too many.
    pub(crate) fn whole(&self, section: &Section) -> Option<Vec<u8>> {
        self.elf.whole(section, MOST_TABLE)
    }

    pub(crate) fn section(&self, name: &str) -> Option<&Section> {
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
