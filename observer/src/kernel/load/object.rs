//! The object that is built into the daemon. Where nothing is injected it is loaded with the socket map as a plain hash map,
//! which needs no further capability.

use anyhow::{Result, anyhow};
use aya_obj::generated::bpf_map_type;
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};

/// What `cargo xtask ebpf` built.
pub(in crate::kernel) static OBJECT: &[u8] =
    aya::include_bytes_aligned!(env!("OBSERVER_EBPF_OBJECT"));

/// The map whose type is changed.
const MAP: &str = "INJECTED";

/// A copy of the object in which the socket map is a hash map. Programs that need the socket map do not load from it.
pub(super) fn without_socket_map(bytes: &[u8]) -> Result<Vec<u8>> {
    let missing = || anyhow!("the object has no map {MAP}");
    let file = object::File::parse(bytes)?;
    let symbol = file.symbol_by_name(MAP).ok_or_else(missing)?;
    let section = file.section_by_index(symbol.section_index().ok_or_else(missing)?)?;
    let (start, _) = section.file_range().ok_or_else(missing)?;
    // `struct bpf_map_def` begins with the type.
    let at = usize::try_from(start + symbol.address() - section.address())?;
    let mut copy = bytes.to_vec();
    let kind = copy.get_mut(at..at + 4).ok_or_else(missing)?;
    let is = u32::from_ne_bytes(kind.try_into()?);
    if is != bpf_map_type::BPF_MAP_TYPE_SOCKHASH as u32 {
        return Err(anyhow!("map {MAP} is of type {is}"));
    }
    kind.copy_from_slice(&(bpf_map_type::BPF_MAP_TYPE_HASH as u32).to_ne_bytes());
    Ok(copy)
}
