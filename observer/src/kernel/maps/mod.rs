//! Maps while the programs are at work.
//!
//! In: the maps that aya made. Out: typed views of them, for one thread each.
//! Owns: descriptors of its own, so that a view outlives the object it came from.

pub(super) mod connections;
mod mapped;
pub(super) mod places;
pub(super) mod policy;

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};

use anyhow::{Result, anyhow};
use aya::{
    Ebpf,
    maps::{Map, MapData},
};
use observer_abi::control::MAX_RINGS;

use self::{mapped::Mapped, places::Entries};

/// The rings of records, one a shard.
pub(super) const RECORD_RINGS: [&str; MAX_RINGS] =
    ["RECORDS_0", "RECORDS_1", "RECORDS_2", "RECORDS_3"];

/// A map's descriptor; `None` for types that the object has none of.
pub(super) fn descriptor(map: &Map) -> Option<BorrowedFd<'_>> {
    let data = match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data)
        | Map::RingBuf(data)
        | Map::LpmTrie(data)
        | Map::Queue(data)
        | Map::Stack(data)
        | Map::SockHash(data) => data,
        _ => return None,
    };
    Some(data.fd().as_fd())
}

/// The number of the descriptor of a map of this name.
pub(super) fn number_of(ebpf: &Ebpf, name: &str) -> Option<i32> {
    Some(descriptor(ebpf.map(name)?)?.as_raw_fd())
}

/// A map of this name once more, with a descriptor of its own.
pub(super) fn duplicate(ebpf: &Ebpf, name: &str) -> Result<Map> {
    let map = ebpf.map(name).ok_or_else(|| missing(name))?;
    let descriptor = descriptor(map).ok_or_else(|| anyhow!("map {name} has an unexpected type"))?;
    let data = MapData::from_fd(descriptor.try_clone_to_owned()?)?;
    Ok(match map {
        Map::Array(_) => Map::Array(data),
        Map::LruHashMap(_) => Map::LruHashMap(data),
        Map::Stack(_) => Map::Stack(data),
        _ => Map::HashMap(data),
    })
}

/// The connections' entries, in our memory.
pub(super) fn entries(ebpf: &Ebpf) -> Result<Entries> {
    let (array, entries) = array(ebpf, "CONNECTIONS")?;
    Ok(Entries::new(Mapped::new(
        array.try_clone_to_owned()?,
        entries,
    )?))
}

/// An array's descriptor, and how many entries it has.
pub(super) fn array<'a>(ebpf: &'a Ebpf, name: &str) -> Result<(BorrowedFd<'a>, u32)> {
    let map = ebpf.map(name).ok_or_else(|| missing(name))?;
    let Map::Array(data) = map else {
        return Err(anyhow!("map {name} has an unexpected type"));
    };
    Ok((data.fd().as_fd(), data.info()?.max_entries()))
}

/// Takes a map out of the object.
pub(super) fn take(ebpf: &mut Ebpf, name: &str) -> Result<Map> {
    ebpf.take_map(name).ok_or_else(|| missing(name))
}

/// What is said where the object has no such map.
pub(super) fn missing(name: &str) -> anyhow::Error {
    anyhow!("the object has no map {name}")
}
