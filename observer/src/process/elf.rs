//! Bounded reading of an executable's sections.
//!
//! The file is a stranger's: it may be gigabytes long, or crafted. Only the header, the section table, the section
//! names and the start of the sections asked for are read, each up to a limit; anything that does not fit is
//! `None`.

use std::{fs::File, os::unix::fs::FileExt};

use object::{Endianness, elf, pod, read::elf::FileHeader};

/// Most sections that are looked at.
const MOST_SECTIONS: usize = 512;
/// Most bytes of section names.
const MOST_NAMES: u64 = 64 << 10;

/// The sections of a 64-bit ELF file.
pub(super) struct Sections<'a> {
    file: &'a File,
    named: Vec<(String, u64, u64)>,
}

impl<'a> Sections<'a> {
    /// Reads the section table; `None` for what is no 64-bit ELF file or has none.
    pub(super) fn read(file: &'a File) -> Option<Self> {
        let head = read_at(file, 0, size_of::<elf::FileHeader64<Endianness>>() as u64)?;
        let head = elf::FileHeader64::<Endianness>::parse(&head[..]).ok()?;
        let endian = head.endian().ok()?;
        let count = usize::from(head.e_shnum.get(endian)).min(MOST_SECTIONS);
        let size = size_of::<elf::SectionHeader64<Endianness>>();
        if count == 0 || usize::from(head.e_shentsize.get(endian)) != size {
            return None;
        }
        let table = read_at(file, head.e_shoff.get(endian), (count * size) as u64)?;
        let (headers, _) =
            pod::slice_from_bytes::<elf::SectionHeader64<Endianness>>(&table, count).ok()?;
        let names = headers.get(usize::from(head.e_shstrndx.get(endian).0))?;
        let names = read_at(
            file,
            names.sh_offset.get(endian),
            names.sh_size.get(endian).min(MOST_NAMES),
        )?;
        let named = headers
            .iter()
            .filter(|header| header.sh_type.get(endian) != elf::SHT_NOBITS)
            .filter_map(|header| {
                let name = names.get(usize::try_from(header.sh_name.get(endian)).ok()?..)?;
                let name = name.split(|byte| *byte == 0).next()?;
                let name = std::str::from_utf8(name).ok()?.to_owned();
                Some((
                    name,
                    header.sh_offset.get(endian),
                    header.sh_size.get(endian),
                ))
            })
            .collect();
        Some(Self { file, named })
    }

    /// The first `limit` bytes of a section.
    pub(super) fn get(&self, name: &str, limit: u64) -> Option<Vec<u8>> {
        let (_, offset, size) = self.named.iter().find(|(own, ..)| own == name)?;
        read_at(self.file, *offset, (*size).min(limit))
    }
}

/// Exactly `size` bytes; callers bound it.
fn read_at(file: &File, offset: u64, size: u64) -> Option<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(size).ok()?];
    file.read_exact_at(&mut bytes, offset).ok()?;
    Some(bytes)
}
