//! The object that is built into the daemon, and what is changed in it before it is loaded.

use anyhow::{Result, anyhow};
use aya_obj::generated::{BPF_F_NO_PREALLOC, bpf_map_type};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};

use crate::kernel::features::Features;

/// What `cargo xtask ebpf` built.
pub(in crate::kernel) static OBJECT: &[u8] =
    aya::include_bytes_aligned!(env!("OBSERVER_EBPF_OBJECT"));

/// The socket map.
const SOCKET_MAP: &str = "INJECTED";

/// Maps of which most hosts fill a small part. (Those that let go of the oldest entry by themselves have to have all of them
/// beforehand.)
const SELDOM_FULL: [&str; 4] = ["POLICY", "RUNTIMES", "PLACES", "KEY_LABELS"];

/// Places in `struct bpf_map_def`.
const KIND: u64 = 0;
const FLAGS: u64 = 16;

/// A copy of the object as this kernel wants it.
///
/// Where nothing is injected the socket map is a plain hash map, which needs no further capability; programs that need the
/// socket map do not load from it. Where the kernel has an allocator for programs, maps that are seldom full get the memory
/// of an entry when it is made.
pub(super) fn adapted(bytes: &[u8], features: &Features, inject: bool) -> Result<Vec<u8>> {
    let mut copy = bytes.to_vec();
    if !inject {
        let was = bpf_map_type::BPF_MAP_TYPE_SOCKHASH as u32;
        let hash = bpf_map_type::BPF_MAP_TYPE_HASH as u32;
        change(&mut copy, SOCKET_MAP, KIND, was, hash)?;
    }
    if features.allocates {
        for name in SELDOM_FULL {
            change(&mut copy, name, FLAGS, 0, BPF_F_NO_PREALLOC)?;
        }
    }
    Ok(copy)
}

/// Changes a word of a map's definition.
fn change(bytes: &mut [u8], map: &str, field: u64, from: u32, to: u32) -> Result<()> {
    let missing = || anyhow!("the object has no map {map}");
    let file = object::File::parse(&*bytes)?;
    let symbol = file.symbol_by_name(map).ok_or_else(missing)?;
    let section = file.section_by_index(symbol.section_index().ok_or_else(missing)?)?;
    let (start, _) = section.file_range().ok_or_else(missing)?;
    let at = usize::try_from(start + symbol.address() - section.address() + field)?;
    let word = bytes.get_mut(at..at + 4).ok_or_else(missing)?;
    let is = u32::from_ne_bytes((&*word).try_into()?);
    if is != from {
        return Err(anyhow!("map {map} has {is} at {field}, not {from}"));
    }
    word.copy_from_slice(&to.to_ne_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(bytes: &[u8], name: &str) -> u32 {
        let object = aya_obj::Object::parse(bytes).unwrap();
        object.maps[name].map_flags()
    }

    #[test]
    fn maps_that_are_seldom_full_are_hashes_that_do_not_let_go_by_themselves() {
        let object = aya_obj::Object::parse(OBJECT).unwrap();
        for name in SELDOM_FULL {
            let kind = object.maps[name].map_type();
            assert_eq!(kind, bpf_map_type::BPF_MAP_TYPE_HASH as u32, "{name}");
        }
    }

    #[test]
    fn entries_are_made_beforehand_where_programs_must_not_allocate() {
        for (allocates, expected) in [(false, 0), (true, BPF_F_NO_PREALLOC)] {
            let features = Features {
                allocates,
                ..Features::default()
            };
            let adapted = adapted(OBJECT, &features, true).unwrap();
            for name in SELDOM_FULL {
                assert_eq!(flags(&adapted, name), expected, "{name}");
            }
            assert_eq!(flags(&adapted, "CONN_CONTROL"), 0);
        }
    }
}
