//! A shard's view of the connections.

use aya::maps::{Array, HashMap, MapData};
use observer_abi::{
    connection::Connection,
    control::{ConnectionControl, shape, told_role},
};

use super::places::Entries;
use crate::identity::ConnectionKey;

/// The connections' entries, and what the daemon says of each.
pub struct ConnectionMaps {
    pub(in crate::kernel) entries: Entries,
    pub(in crate::kernel) places: HashMap<MapData, u64, u32>,
    pub(in crate::kernel) control: HashMap<MapData, u64, ConnectionControl>,
    pub(in crate::kernel) controls_set: Array<MapData, u32>,
    /// Place in that.
    pub(in crate::kernel) ring: u32,
    /// What it says.
    pub(in crate::kernel) set: u32,
}

impl ConnectionMaps {
    /// The kernel's entry, if it is still the same connection's. Read where it lies; its `place` is asked for where the
    /// connection's announcement, which tells it, was lost.
    pub fn entry(&self, key: ConnectionKey, place: Option<u32>) -> Option<Connection> {
        let place = match place {
            Some(place) => place,
            None => self.places.get(&key.sock, 0).ok()?,
        };
        self.entries.read(place, key)
    }

    /// Tells the kernel how much of a connection to ship, one of [`shape`], and the number of its protocol; 0 leaves that as it
    /// is.
    pub fn set_mode(&mut self, key: ConnectionKey, wanted: u8, protocol: u8) {
        self.tell(
            ConnectionControl {
                generation: key.generation,
                shape: wanted,
                protocol,
                role: told_role::KEEP,
                reserved: [0; 5],
            },
            key.sock,
        );
    }

    /// Tells the kernel what a connection's protocol and role are, and how much of it to ship.
    pub fn tell(&mut self, control: ConnectionControl, sock: u64) {
        let says_nothing = control.shape == shape::PROBE
            && control.protocol == 0
            && control.role == told_role::KEEP;
        if says_nothing {
            let _ = self.control.remove(&sock);
        } else if let Err(error) = self.control.insert(sock, control, 0) {
            tracing::debug!(%error, "could not tell the kernel what a connection is");
        }
        // A connection that never asked has 0.
        self.set = self.set.wrapping_add(1).max(1);
        if let Err(error) = self.controls_set.set(self.ring, self.set, 0) {
            tracing::debug!(%error, "connections do not learn what they are");
        }
    }
}
