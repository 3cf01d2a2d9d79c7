//! The bytes of type information (BTF), as the kernel lays them out (`Documentation/bpf/btf.rst`).
//!
//! In: a file of the kernel's, or of one of its modules, whose numbers and names go on where the kernel's end. Out: its
//! types, by number and by name. Owns: the bytes. Nothing is unpacked: a kernel has some 130,000 types, of which the
//! daemon asks for 200 while it starts.

use std::ops::Range;

/// Bytes of a type before what belongs to its kind.
const HEAD: usize = 12;

/// What is wrong with the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("it is no type information")]
    Magic,
    #[error("its header names parts that it does not have")]
    Header,
    #[error("type {0} is cut")]
    Cut(u32),
    #[error("type {0} is of the unknown kind {1}")]
    Kind(u32, u8),
}

/// Kinds of types.
pub(super) mod kind {
    pub(crate) const INT: u8 = 1;
    pub(crate) const POINTER: u8 = 2;
    pub(crate) const ARRAY: u8 = 3;
    pub(crate) const STRUCT: u8 = 4;
    pub(crate) const UNION: u8 = 5;
    pub(crate) const ENUM: u8 = 6;
    pub(crate) const FORWARD: u8 = 7;
    pub(crate) const TYPEDEF: u8 = 8;
    pub(crate) const VOLATILE: u8 = 9;
    pub(crate) const CONST: u8 = 10;
    pub(crate) const RESTRICT: u8 = 11;
    pub(crate) const FUNCTION: u8 = 12;
    pub(crate) const PROTOTYPE: u8 = 13;
    pub(crate) const VARIABLE: u8 = 14;
    pub(crate) const SECTION: u8 = 15;
    pub(crate) const FLOAT: u8 = 16;
    pub(crate) const DECLARATION_TAG: u8 = 17;
    pub(crate) const TYPE_TAG: u8 = 18;
    pub(crate) const ENUM64: u8 = 19;
}

/// Types of one file.
pub(super) struct Btf {
    bytes: Vec<u8>,
    names: Range<usize>,
    /// Where each type begins.
    starts: Vec<u32>,
    /// Number of the first, and offset of the first name: a module's go on where the kernel's end.
    first: u32,
    first_name: u32,
    /// Hash of a type's name and its number, sorted.
    by_name: Vec<(u32, u32)>,
}

/// A type.
#[derive(Clone, Copy)]
pub(super) struct Type<'a> {
    pub(super) kind: u8,
    /// Offset of its name.
    pub(super) name: u32,
    /// Its size in bytes, or the number of the type that it refers to.
    pub(super) size_or_type: u32,
    /// Offsets of its members tell how many bits they have, too.
    has_bitfields: bool,
    count: u32,
    /// What belongs to its kind.
    rest: &'a [u8],
}

/// Of a struct or a union.
#[derive(Clone, Copy)]
pub(super) struct Member {
    /// Offset of its name.
    pub(super) name: u32,
    pub(super) kind: u32,
    /// Bits from the beginning.
    pub(super) at: u32,
}

impl Btf {
    /// The kernel's own, or a module's on top of the `kernel`'s.
    pub(super) fn new(bytes: Vec<u8>, kernel: Option<&Self>) -> Result<Self, Malformed> {
        let word = |at| word(&bytes, at).ok_or(Malformed::Header);
        // The kernel's own byte order; the version is 1, and what a later one adds stands behind this.
        if word(0)? & 0x00ff_ffff != 0x0001_eb9f {
            return Err(Malformed::Magic);
        }
        let header = word(4)? as usize;
        let part = |at| -> Result<Range<usize>, Malformed> {
            let start = header.checked_add(word(at)? as usize);
            let end = start.and_then(|start| start.checked_add(word(at + 4).ok()? as usize));
            match (start, end) {
                (Some(start), Some(end)) if end <= bytes.len() => Ok(start..end),
                _ => Err(Malformed::Header),
            }
        };
        let (types, names) = (part(8)?, part(16)?);
        let first = kernel.map_or(1, Self::end);
        let first_name = kernel.map_or(0, |kernel| kernel.names.len() as u32);
        let mut starts = Vec::new();
        let mut at = types.start;
        while at < types.end {
            let id = first + starts.len() as u32;
            let length = length(&bytes[at..types.end]).ok_or(Malformed::Cut(id))?;
            let length = length.map_err(|kind| Malformed::Kind(id, kind))?;
            if length > types.end - at {
                return Err(Malformed::Cut(id));
            }
            starts.push(at as u32);
            at += length;
        }
        let mut all = Self {
            bytes,
            names,
            starts,
            first,
            first_name,
            by_name: Vec::new(),
        };
        let named = (all.first..all.end()).filter_map(|id| {
            let name = all.name(all.get(id)?.name)?;
            (!name.is_empty()).then(|| (hash(name), id))
        });
        let mut by_name: Vec<_> = named.collect();
        by_name.sort_unstable();
        all.by_name = by_name;
        Ok(all)
    }

    /// The number behind the last type's.
    pub(super) fn end(&self) -> u32 {
        self.first + self.starts.len() as u32
    }

    /// The type of this number, if it is in this file.
    pub(super) fn get(&self, id: u32) -> Option<Type<'_>> {
        let index = id.checked_sub(self.first)? as usize;
        let start = *self.starts.get(index)? as usize;
        let head = self.bytes.get(start..)?;
        let info = word(head, 4)?;
        Some(Type {
            kind: kind_of(info),
            name: word(head, 0)?,
            size_or_type: word(head, 8)?,
            has_bitfields: info >> 31 != 0,
            count: info & 0xffff,
            rest: head.get(HEAD..)?,
        })
    }

    /// The name at an offset, if it is in this file.
    pub(super) fn name(&self, at: u32) -> Option<&[u8]> {
        let at = at.checked_sub(self.first_name)? as usize;
        let names = &self.bytes[self.names.clone()];
        let name = names.get(at..)?;
        name.split(|byte| *byte == 0).next()
    }

    /// Numbers of the types of this name, ascending.
    pub(super) fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = u32> + 'a {
        let hash = hash(name.as_bytes());
        let from = self.by_name.partition_point(|(other, _)| *other < hash);
        let same = self.by_name[from..].iter();
        same.take_while(move |(other, _)| *other == hash)
            .map(|(_, id)| *id)
            .filter(move |id| {
                let found = self.get(*id).and_then(|found| self.name(found.name));
                found == Some(name.as_bytes())
            })
    }

    /// Numbers of all types.
    pub(super) fn ids(&self) -> Range<u32> {
        self.first..self.end()
    }
}

impl<'a> Type<'a> {
    /// A struct's or a union's.
    pub(super) fn members(self) -> impl Iterator<Item = Member> + 'a {
        let is_composite = matches!(self.kind, kind::STRUCT | kind::UNION);
        self.entries(is_composite, 12).map(move |entry| Member {
            name: entry(0),
            kind: entry(4),
            at: if self.has_bitfields {
                entry(8) & 0x00ff_ffff
            } else {
                entry(8)
            },
        })
    }

    /// An enum's: offset of the name, and value.
    pub(super) fn enumerators(self) -> impl Iterator<Item = (u32, u32)> + 'a {
        self.entries(self.kind == kind::ENUM, 8)
            .map(|entry| (entry(0), entry(4)))
    }

    /// How many arguments a prototype has.
    pub(super) fn arguments(self) -> Option<u32> {
        (self.kind == kind::PROTOTYPE).then_some(self.count)
    }

    fn entries(
        self,
        has: bool,
        size: usize,
    ) -> impl Iterator<Item = impl Fn(usize) -> u32 + 'a> + 'a {
        let count = if has { self.count as usize } else { 0 };
        let entries = self.rest.get(..count * size).unwrap_or_default();
        entries
            .chunks_exact(size)
            .map(|entry| move |at| word(entry, at).unwrap_or_default())
    }
}

/// How many bytes the first type of these takes; `None` where its head is cut, an error for a kind that is not known.
fn length(bytes: &[u8]) -> Option<Result<usize, u8>> {
    let info = word(bytes, 4)?;
    let count = (info & 0xffff) as usize;
    let rest = match kind_of(info) {
        kind::INT | kind::VARIABLE | kind::DECLARATION_TAG => 4,
        kind::ARRAY => 12,
        kind::STRUCT | kind::UNION | kind::SECTION | kind::ENUM64 => 12 * count,
        kind::ENUM | kind::PROTOTYPE => 8 * count,
        kind::POINTER
        | kind::FORWARD
        | kind::TYPEDEF
        | kind::VOLATILE
        | kind::CONST
        | kind::RESTRICT
        | kind::FUNCTION
        | kind::FLOAT
        | kind::TYPE_TAG => 0,
        unknown => return Some(Err(unknown)),
    };
    Some(Ok(HEAD + rest))
}

fn kind_of(info: u32) -> u8 {
    (info >> 24) as u8 & 0x1f
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

/// FNV-1a.
fn hash(name: &[u8]) -> u32 {
    name.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn testdata() -> Vec<u8> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/btf/6.12.btf");
        std::fs::read(path).expect("type information")
    }

    #[test]
    fn every_type_is_found_by_its_name() {
        let btf = Btf::new(testdata(), None).unwrap();
        let mut named = 0;
        for id in btf.ids() {
            let name = btf.name(btf.get(id).unwrap().name).unwrap();
            if !name.is_empty() {
                let name = std::str::from_utf8(name).unwrap();
                assert!(btf.named(name).any(|found| found == id), "{name}");
                named += 1;
            }
        }
        assert!(named > 100, "{named}");
        assert_eq!(btf.named("no such type").next(), None);
        assert!(btf.get(0).is_none());
        assert!(btf.get(btf.end()).is_none());
    }

    #[test]
    fn what_is_cut_anywhere_is_an_error_or_has_fewer_types_and_never_panics() {
        let whole = testdata();
        for end in (0..whole.len()).step_by(97) {
            assert!(Btf::new(whole[..end].to_vec(), None).is_err(), "{end}");
        }
        // The same with a header that fits: of types that are cut, the number is told.
        let mut short = whole.clone();
        let length = u32::from_ne_bytes(whole[12..16].try_into().unwrap()) - 4;
        short[12..16].copy_from_slice(&length.to_ne_bytes());
        assert!(matches!(Btf::new(short, None), Err(Malformed::Cut(_))));
    }

    #[test]
    fn strange_numbers_are_errors() {
        let whole = testdata();
        let with = |at: usize, value: u32| {
            let mut bytes = whole.clone();
            bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
            Btf::new(bytes, None).err()
        };
        assert_eq!(with(0, 0), Some(Malformed::Magic));
        for at in (4..24).step_by(4) {
            assert_eq!(with(at, u32::MAX), Some(Malformed::Header), "{at}");
        }
        let first = u32::from_ne_bytes(whole[4..8].try_into().unwrap()) as usize;
        assert_eq!(with(first + 4, 31 << 24), Some(Malformed::Kind(1, 31)));
        // A name that is nowhere.
        let mut bytes = whole.clone();
        bytes[first..first + 4].fill(0xff);
        let btf = Btf::new(bytes, None).unwrap();
        assert_eq!(btf.name(btf.get(1).unwrap().name), None);
    }

    #[test]
    fn a_modules_types_go_on_where_the_kernels_end() {
        let kernel = Btf::new(testdata(), None).unwrap();
        // One struct, `own`, of one member of the kernel's type 1.
        let names = b"own\0field\0";
        let name = kernel.names.len() as u32;
        let types = [name, 4 << 24 | 1, 4, name + 4, 1, 32];
        let header = [0x0001_eb9f, 24, 0, 24, 24, names.len() as u32];
        let words = header.iter().chain(&types);
        let mut bytes: Vec<u8> = words.flat_map(|word| word.to_ne_bytes()).collect();
        bytes.extend(names);
        let module = Btf::new(bytes, Some(&kernel)).unwrap();
        let ids: Vec<u32> = module.named("own").collect();
        assert_eq!(ids, [kernel.end()]);
        let own = module.get(ids[0]).unwrap();
        let members: Vec<_> = own.members().map(|it| (it.name, it.kind, it.at)).collect();
        assert_eq!(members, [(name + 4, 1, 32)]);
        assert_eq!(module.name(name + 4), Some(&b"field"[..]));
        assert!(module.get(1).is_none());
    }
}
