//! The places of connections' entries: all free at first, and given back by the kernel when a TCP connection ends.
//!
//! No hook tells when a Unix socket ends. The kernel takes its place for the next one at the same address; where none comes,
//! the daemon gives the place back, once nobody has the socket: its last user has ended, or has it no more. That another
//! process holds it and has been silent since is not seen; such a connection is found again, as one that is older than
//! observer, when it speaks.

use std::{collections::HashSet, path::PathBuf, sync::Arc};

use anyhow::{Context as _, Result};
use aya::maps::{Array, HashMap, MapData, Stack};
use observer_abi::connection::{Connection, transport};

use super::mapped::Mapped;
use crate::identity::ConnectionKey;

/// Silence after which it is looked whether a Unix socket is still there, ns.
const SILENCE_NS: u64 = 5_000_000_000;
/// Where [`Connection::generation`] lies, in words.
const GENERATION: usize = 0;
/// Where [`Connection::sock`] lies.
const SOCK: usize = std::mem::offset_of!(Connection, sock) / 8;

/// Where [`Connection::place`] lies: the upper half of a word, on a little-endian machine.
const PLACE: usize = {
    assert!(std::mem::offset_of!(Connection, place) % 8 == 4);
    std::mem::offset_of!(Connection, place) / 8
};

/// All connections' entries, where the kernel has them.
#[derive(Clone, Debug)]
pub(in crate::kernel) struct Entries(Arc<Mapped<Connection>>);

impl Entries {
    pub(in crate::kernel) fn new(mapped: Mapped<Connection>) -> Self {
        Self(Arc::new(mapped))
    }

    /// The entry that lies there, if it is this connection's.
    pub(in crate::kernel) fn read(&self, place: u32, key: ConnectionKey) -> Option<Connection> {
        let entry = self
            .0
            .read(place, |it| it.word(place, GENERATION) == key.generation)?;
        (entry.sock == key.sock).then_some(entry)
    }

    /// Whatever lies there now; `None` where the place is free.
    fn current(&self, place: u32) -> Option<Connection> {
        let generation = self.0.word(place, GENERATION);
        if generation == 0 {
            return None;
        }
        self.0
            .read(place, |it| it.word(place, GENERATION) == generation)
    }

    /// The places that are taken. They are handed out from the lowest on: behind one that never was there are none.
    fn taken(&self) -> impl Iterator<Item = u32> + '_ {
        let ever = |place: &u32| *place == 0 || (self.0.word(*place, PLACE) >> 32) as u32 == *place;
        let places = (0..self.0.len()).take_while(ever);
        places.filter(|place| self.0.word(*place, SOCK) != 0)
    }
}

/// What processes there are, and what sockets they have.
pub(in crate::kernel) trait Holders {
    /// Whether the process is there.
    fn lives(&self, tgid: u32) -> bool;
    /// The inodes of the sockets that it has; `None` where that can't be told.
    fn sockets(&self, tgid: u32) -> Option<HashSet<u64>>;
}

/// As `/proc` tells.
pub(in crate::kernel) struct ProcHolders;

impl Holders for ProcHolders {
    fn lives(&self, tgid: u32) -> bool {
        PathBuf::from(format!("/proc/{tgid}")).exists()
    }

    fn sockets(&self, tgid: u32) -> Option<HashSet<u64>> {
        let folder = std::fs::read_dir(format!("/proc/{tgid}/fd")).ok()?;
        let mut inodes = HashSet::new();
        for descriptor in folder {
            // The link alone, without asking the file, which may be on a disk that hangs.
            let link = std::fs::read_link(descriptor.ok()?.path());
            inodes.extend(link.ok().and_then(|link| socket(link.to_str()?)));
        }
        Some(inodes)
    }
}

/// The inode that a descriptor's link names, where that is a socket's: `socket:[1234]`.
fn socket(link: &str) -> Option<u64> {
    let number = link.strip_prefix("socket:[")?.strip_suffix(']')?;
    number.parse().ok()
}

/// Unix sockets' entries that nobody will use again, at this time, CLOCK_MONOTONIC ns. Descriptors are looked at only where
/// more than half of the places are taken: there may be many.
fn deserted(entries: &Entries, holders: &impl Holders, now_ns: u64) -> Vec<(u32, ConnectionKey)> {
    let taken: Vec<u32> = entries.taken().collect();
    let is_short = taken.len() > entries.0.len() as usize / 2;
    let mut silent: Vec<(u32, Connection)> = Vec::new();
    for place in taken {
        if let Some(entry) = entries.current(place)
            && entry.tcp == transport::UNIX
            && entry.sock != 0
            && last_ns(&entry).saturating_add(SILENCE_NS) <= now_ns
        {
            silent.push((place, entry));
        }
    }
    silent.sort_by_key(|(_, entry)| entry.tgid);
    let mut deserted = Vec::new();
    for of_process in silent.chunk_by(|(_, one), (_, other)| one.tgid == other.tgid) {
        let Some((_, first)) = of_process.first() else {
            continue;
        };
        let held = if !holders.lives(first.tgid) {
            Some(HashSet::new())
        } else if is_short {
            holders.sockets(first.tgid)
        } else {
            None
        };
        // What can't be told stays.
        let Some(held) = held else { continue };
        for (place, entry) in of_process {
            if !held.contains(&entry.inode) {
                let (sock, generation) = (entry.sock, entry.generation);
                deserted.push((*place, ConnectionKey { sock, generation }));
            }
        }
    }
    deserted
}

/// When the connection was last heard of, CLOCK_MONOTONIC ns.
fn last_ns(entry: &Connection) -> u64 {
    let directions = entry.directions.iter().map(|direction| direction.last_ns);
    directions.fold(entry.generation, u64::max)
}

/// The places, and who has them.
pub struct Places {
    pub(in crate::kernel) entries: Entries,
    pub(in crate::kernel) connections: Array<MapData, Connection>,
    pub(in crate::kernel) places: HashMap<MapData, u64, u32>,
    pub(in crate::kernel) free: Stack<MapData, u32>,
}

impl Places {
    /// Makes all places free. Once, before the programs begin.
    ///
    /// # Errors
    /// The kernel takes no more.
    pub(in crate::kernel) fn free_all(free: &mut Stack<MapData, u32>, places: u32) -> Result<()> {
        // The last that is put there is the first that is taken.
        (0..places).rev().try_for_each(|place| {
            free.push(place, 0)
                .context("cannot tell the kernel of its free places")
        })
    }

    /// Gives back the places of Unix sockets that are gone, and returns how many. To be called every few seconds.
    pub fn reclaim(&mut self, now_ns: u64) -> usize {
        deserted(&self.entries, &ProcHolders, now_ns)
            .into_iter()
            .filter(|(place, key)| self.give_back(*place, *key))
            .count()
    }

    /// The kernel may take the place for another socket at the same address at any time: looked at again right before, and it
    /// finds that one anew otherwise.
    fn give_back(&mut self, place: u32, key: ConnectionKey) -> bool {
        let is_there = self.places.get(&key.sock, 0).is_ok_and(|it| it == place);
        if !is_there || self.entries.read(place, key).is_none() {
            return false;
        }
        // Whoever takes the key away frees the place.
        if self.places.remove(&key.sock).is_err() {
            return false;
        }
        let nobodys = Connection {
            place,
            ..Connection::default()
        };
        let cleared = self.connections.set(place, nobodys, 0);
        let freed = self.free.push(place, 0);
        if let Err(error) = cleared.and(freed) {
            tracing::debug!(%error, place, "a connection's place is lost");
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Told {
        living: Vec<u32>,
        sockets: HashSet<u64>,
    }

    impl Holders for Told {
        fn lives(&self, tgid: u32) -> bool {
            self.living.contains(&tgid)
        }

        fn sockets(&self, _tgid: u32) -> Option<HashSet<u64>> {
            Some(self.sockets.clone())
        }
    }

    /// Entries as a file has them.
    fn entries(written: &[Connection], places: u32) -> Entries {
        use std::io::Write as _;
        let file = rustix::fs::memfd_create("entries", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let mut file = std::fs::File::from(file);
        file.set_len(u64::from(places) * size_of::<Connection>() as u64)
            .unwrap();
        for (entry, place) in written.iter().zip(0..) {
            let entry = &Connection { place, ..*entry };
            // SAFETY: plain old data.
            let bytes = unsafe {
                std::slice::from_raw_parts(
                    std::ptr::from_ref(entry).cast::<u8>(),
                    size_of::<Connection>(),
                )
            };
            file.write_all(bytes).unwrap();
        }
        Entries::new(Mapped::new(file.into(), places).unwrap())
    }

    fn unix(sock: u64, tgid: u32, generation: u64) -> Connection {
        Connection {
            sock,
            tgid,
            generation,
            inode: sock + 1000,
            tcp: transport::UNIX,
            ..Connection::default()
        }
    }

    fn socks(found: &[(u32, ConnectionKey)]) -> Vec<u64> {
        found.iter().map(|(_, key)| key.sock).collect()
    }

    const LATE: u64 = 10 * SILENCE_NS;

    #[test]
    fn what_an_ended_process_left_comes_back_and_what_others_have_does_not() {
        let tcp = Connection {
            tcp: transport::TCP,
            ..unix(3, 7, 1)
        };
        let talking = unix(4, 7, LATE - SILENCE_NS + 1);
        let written = [unix(1, 7, 1), unix(2, 8, 1), tcp, talking];
        let entries = entries(&written, 64);
        let told = Told {
            living: vec![8],
            sockets: HashSet::new(),
        };
        assert_eq!(socks(&deserted(&entries, &told, LATE)), [1]);
        assert!(deserted(&entries, &told, SILENCE_NS).is_empty());
    }

    #[test]
    fn where_places_are_short_descriptors_are_looked_at() {
        let written = [unix(1, 7, 1), unix(2, 7, 1), unix(3, 7, 1)];
        let told = Told {
            living: vec![7],
            sockets: HashSet::from([1002]),
        };
        let enough = entries(&written, 6);
        assert!(deserted(&enough, &told, LATE).is_empty());
        let short = entries(&written, 5);
        assert_eq!(socks(&deserted(&short, &told, LATE)), [1, 3]);
    }

    #[test]
    fn our_own_sockets_are_found_among_our_descriptors() {
        use std::os::{fd::AsFd as _, unix::net::UnixStream};
        let (one, _other) = UnixStream::pair().unwrap();
        let inode = rustix::fs::fstat(one.as_fd()).unwrap().st_ino;
        let found = ProcHolders.sockets(std::process::id()).unwrap();
        assert!(found.contains(&inode), "{inode} in {found:?}");
        drop(one);
        let found = ProcHolders.sockets(std::process::id()).unwrap();
        assert!(!found.contains(&inode), "{inode} in {found:?}");
    }

    #[test]
    fn an_entry_is_given_to_its_own_connection_only() {
        let entries = entries(&[unix(1, 7, 5)], 4);
        let key = |sock, generation| ConnectionKey { sock, generation };
        assert_eq!(entries.read(0, key(1, 5)).map(|it| it.tgid), Some(7));
        assert!(entries.read(0, key(1, 6)).is_none());
        assert!(entries.read(0, key(2, 5)).is_none());
        assert!(entries.read(1, key(1, 5)).is_none());
        assert!(entries.read(4, key(1, 5)).is_none());
    }
}
