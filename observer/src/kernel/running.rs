//! The programs at work: what the rest of the daemon asks of them.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use aya::maps::{Array, HashMap, MapData, RingBuf, Stack};
use observer_abi::{control::ControlBlock, loss::Counter, process::Runtime};

use super::{
    attached::Attached,
    ktls::{KernelTls, TlsHooks},
    maps::{
        self, RECORD_RINGS,
        connections::ConnectionMaps,
        duplicate,
        places::{Entries, Places},
        policy::PolicyMaps,
    },
    programs::Programs,
    reader::RecordRing,
    secrets::SecretSlots,
    statistics::ProgramStats,
    tcp_option::{self, Adopted, TcpOption},
    tier::Tier,
};

/// The programs at work. Dropping it detaches everything.
pub struct Kernel {
    pub(super) attached: Attached,
    /// The object's programs, until all that are wanted are loaded.
    pub(super) not_loaded: Option<Programs>,
    pub(super) entries: Entries,
    pub(super) tls: TlsHooks,
    pub(super) tier: Tier,
    pub(super) refused: Vec<(Tier, String)>,
    pub(super) tcp_option: TcpOption,
    pub(super) load_time: Duration,
    /// Many uprobes may share a link (6.6).
    pub(super) has_many_uprobes: bool,
}

impl Kernel {
    /// The tier in use.
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// Better tiers that this kernel refused, with its reason.
    pub fn refused(&self) -> &[(Tier, String)] {
        &self.refused
    }

    /// How long loading and attaching took.
    pub fn load_time(&self) -> Duration {
        self.load_time
    }

    /// All programs that are wanted are loaded: lets go of the others.
    pub fn forget_others(&mut self) {
        self.not_loaded = None;
    }

    /// Whether trace context travels in TCP options.
    pub fn tcp_option(&self) -> &TcpOption {
        &self.tcp_option
    }

    /// Makes servers that listen already answer what TCP options ask.
    ///
    /// # Errors
    /// Why this kernel does not let it.
    pub fn adopt_listeners(&mut self) -> Result<Adopted> {
        tcp_option::adopt(&mut self.attached.ebpf)
    }

    /// Whether kernel TLS is seen.
    pub fn kernel_tls(&self) -> &KernelTls {
        self.tls.state()
    }

    /// Attaches the hooks of kernel TLS if they are awaited and can be had by now. Asking costs next to nothing.
    pub fn look_for_tls(&mut self) {
        self.tls.look(&mut self.attached);
    }

    /// Takes the record rings, one a shard, of `room` bytes each.
    pub fn take_rings(&mut self, rings: usize, room: u32) -> Result<Vec<RecordRing>> {
        let ebpf = &mut self.attached.ebpf;
        let mut taken = Vec::new();
        for (name, index) in RECORD_RINGS.iter().take(rings).zip(0..) {
            taken.push(RecordRing {
                ring: RingBuf::try_from(maps::take(ebpf, name)?)?,
                sleeping: Array::try_from(duplicate(ebpf, "SLEEPING")?)?,
                index,
                room: room as usize,
                news: None,
            });
        }
        Ok(taken)
    }

    /// Takes the ring of process events.
    pub fn take_process_events(&mut self) -> Result<RingBuf<MapData>> {
        let map = maps::take(&mut self.attached.ebpf, "PROCESS_EVENTS")?;
        Ok(RingBuf::try_from(map)?)
    }

    /// Takes the slots of TLS secrets.
    ///
    /// # Errors
    /// They can't be mapped.
    pub fn take_secrets(&mut self) -> Result<SecretSlots> {
        let ebpf = &mut self.attached.ebpf;
        let told = RingBuf::try_from(maps::take(ebpf, "SECRETS_TOLD")?)?;
        let free = Stack::try_from(duplicate(ebpf, "FREE_SECRETS")?)?;
        SecretSlots::new(maps::array(ebpf, "SECRETS")?, free, told)
    }

    /// The labels of TLS secrets that the programs know.
    pub(crate) fn key_labels(&self) -> Result<HashMap<MapData, u64, u32>> {
        let map = duplicate(&self.attached.ebpf, "KEY_LABELS")?;
        Ok(HashMap::try_from(map)?)
    }

    /// The maps that the shard of a ring reads and writes. Each call duplicates the descriptors.
    pub fn connections(&mut self, ring: u32) -> Result<ConnectionMaps> {
        let ebpf = &self.attached.ebpf;
        Ok(ConnectionMaps {
            entries: self.entries.clone(),
            places: HashMap::try_from(duplicate(ebpf, "PLACES")?)?,
            control: HashMap::try_from(duplicate(ebpf, "CONN_CONTROL")?)?,
            controls_set: Array::try_from(duplicate(ebpf, "CONTROLS_SET")?)?,
            ring,
            set: 0,
        })
    }

    /// Who has which connection's place, to give back those that nobody will use again.
    pub fn places(&self) -> Result<Places> {
        let ebpf = &self.attached.ebpf;
        Ok(Places {
            entries: self.entries.clone(),
            connections: Array::try_from(duplicate(ebpf, "CONNECTIONS")?)?,
            places: HashMap::try_from(duplicate(ebpf, "PLACES")?)?,
            free: Stack::try_from(duplicate(ebpf, "FREE_PLACES")?)?,
        })
    }

    /// The policy map, and the switch that makes the kernel ask it.
    pub fn policy(&mut self) -> Result<PolicyMaps> {
        let ebpf = &self.attached.ebpf;
        Ok(PolicyMaps {
            policy: HashMap::try_from(duplicate(ebpf, "POLICY")?)?,
            control: Array::try_from(duplicate(ebpf, "CONTROL_BLOCK")?)?,
            state: ControlBlock {
                policy_epoch: 1,
                enabled: 0,
                unknown_denied: 0,
            },
        })
    }

    /// What the programs know of the runtimes of processes.
    pub(crate) fn runtimes(&self) -> Result<HashMap<MapData, u32, Runtime>> {
        let map = duplicate(&self.attached.ebpf, "RUNTIMES")?;
        Ok(HashMap::try_from(map)?)
    }

    /// The counters, summed over the CPUs.
    pub fn counters(&self) -> Result<Vec<(Counter, &'static str, u64)>> {
        self.attached.counters()
    }

    /// Kernel memory of each map that is still held here, bytes, from `/proc/self/fdinfo`.
    pub fn map_bytes(&self) -> BTreeMap<String, u64> {
        self.attached.map_bytes()
    }

    /// Calls that no program dealt with, from what [`program_stats`](Self::program_stats) and then
    /// [`counters`](Self::counters) said.
    pub fn lost_calls(
        &self,
        stats: &[ProgramStats],
        counters: &[(Counter, &'static str, u64)],
    ) -> u64 {
        self.attached.lost_calls(stats, counters)
    }

    /// What the kernel tells of each loaded program in `/proc/self/fdinfo`.
    pub fn program_stats(&self) -> Vec<ProgramStats> {
        self.attached.program_stats()
    }

    /// Instructions that the verifier looked at, per loaded program.
    pub fn verified_instructions(&self) -> Vec<(String, u64)> {
        self.program_stats()
            .into_iter()
            .filter_map(|program| Some((program.name, program.verified?)))
            .collect()
    }
}
