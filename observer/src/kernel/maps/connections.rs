//! A shard's view of the connections.

use aya::maps::{Array, HashMap, MapData};
use observer_abi::{
    connection::Connection,
    control::{ConnectionControl, mode},
};

use crate::identity::ConnectionKey;

/// The connections' entries, and how much of each the kernel ships.
pub struct ConnectionMaps {
    pub(in crate::kernel) connections: HashMap<MapData, u64, Connection>,
    pub(in crate::kernel) control: HashMap<MapData, u64, ConnectionControl>,
    pub(in crate::kernel) modes_set: Array<MapData, u32>,
    /// Place in that.
    pub(in crate::kernel) ring: u32,
    /// What it says.
    pub(in crate::kernel) set: u32,
}

impl ConnectionMaps {
    /// The kernel's entry, if it is still the same connection's.
    pub fn entry(&self, key: ConnectionKey) -> Option<Connection> {
        self.connections
            .get(&key.sock, 0)
            .ok()
            .filter(|entry| entry.generation == key.generation)
    }

    /// Tells the kernel how much of a connection to ship.
    pub fn set_mode(&mut self, key: ConnectionKey, wanted: u8) {
        let control = ConnectionControl {
            generation: key.generation,
            mode: u64::from(wanted),
        };
        if wanted == mode::PROBE {
            let _ = self.control.remove(&key.sock);
        } else if let Err(error) = self.control.insert(key.sock, control, 0) {
            tracing::debug!(%error, "could not set a connection's capture mode");
        }
        // A connection that never asked has 0.
        self.set = self.set.wrapping_add(1).max(1);
        if let Err(error) = self.modes_set.set(self.ring, self.set, 0) {
            tracing::debug!(%error, "connections do not learn of their capture modes");
        }
    }
}
