//! Loading and attaching, and the maps afterwards.

use std::{
    collections::{BTreeMap, HashSet},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};
use aya::{
    Btf, Ebpf, EbpfError, EbpfLoader,
    maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, RingBuf},
    programs::{BtfTracePoint, FEntry, FExit, KProbe, Program},
};
use observer_abi::{
    connection::Connection,
    control::{
        ConnectionControl, ControlBlock, MAX_RINGS, SCRATCHES, SCRATCHES_TO_INJECT, Settings, mode,
    },
    loss::{self, Counter},
    offsets::Offsets,
    process::{Policy, Runtime},
};

use super::{
    ktls::TlsHooks,
    offsets::KernelTypes,
    option::{self, Adopted},
    parallel,
    programs::{self, Loaded, Programs},
    reader::RecordRing,
    ring::{self, Followed},
    tier::{Features, Hook, Tier, with_spares},
};
use crate::{config::Network, identity::ConnectionKey};

pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("OBSERVER_EBPF_OBJECT"));

/// Sizes and choices for a load.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// The tier to use; `None` takes the best that attaches.
    pub tier: Option<Tier>,
    /// Only processes in the policy map are captured.
    pub selected_only: bool,
    /// observer's own process id in the initial pid namespace, 0 when not known.
    pub observer_tgid: u32,
    /// Rings, a power of two, at most [`MAX_RINGS`].
    pub rings: usize,
    /// Bytes of each ring, a power of two and a multiple of the page size.
    pub ring_bytes: u32,
    /// Connections tracked at once.
    pub connections: u32,
    /// Bytes of a request's run that are shipped, in records of at most [`observer_abi::record::MAX_PAYLOAD`], one a
    /// call.
    pub request_budget: u32,
    /// The same for responses.
    pub response_budget: u32,
    /// Headers may be injected, see [`super::inject`].
    pub inject: bool,
    /// Hosts with which trace context is exchanged in TCP options; none turns that off.
    pub option_peers: Vec<Network>,
    /// Calls of Node without a parent are told which request they may have been made for.
    pub inferred_links: bool,
    /// DNS lookups are seen.
    pub dns: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            tier: None,
            selected_only: false,
            observer_tgid: 0,
            rings: 1,
            ring_bytes: 8 << 20,
            connections: 16384,
            request_budget: 16 << 10,
            response_budget: 4096,
            inject: false,
            option_peers: Vec::new(),
            inferred_links: true,
            dns: true,
        }
    }
}

/// The programs at work. Dropping it detaches everything.
pub struct Kernel {
    pub(super) ebpf: Ebpf,
    /// What aya did not attach itself.
    pub(super) links: Vec<OwnedFd>,
    tier: Tier,
    refused: Vec<(Tier, String)>,
    tcp_option: TcpOption,
    load_time: Duration,
    /// Many uprobes may share a link (6.6).
    pub(super) has_many_uprobes: bool,
    pub(super) tls: TlsHooks,
    /// Programs that aya does not hold.
    pub(super) loaded: Vec<(&'static str, Loaded)>,
    /// Calls that are not to be counted: programs were being attached.
    unsettled: Calls,
}

/// Calls that a hook's first program, or its spare, did not deal with as usual.
#[derive(Clone, Copy, Debug, Default)]
struct Calls {
    /// Left out by the first program.
    missed: u64,
    /// Served by the spare.
    taken_over: u64,
}

/// A tier, and the kernel that it is tried on.
struct Candidate<'a> {
    tier: Tier,
    btf: &'a Btf,
    types: &'a KernelTypes,
    features: &'a Features,
    offsets: Offsets,
    followed: Followed,
}

impl<'a> Candidate<'a> {
    /// # Errors
    /// When the kernel's types lack what every tier needs.
    fn new(
        tier: Tier,
        btf: &'a Btf,
        types: &'a KernelTypes,
        features: &'a Features,
    ) -> Result<Self> {
        let offsets = types.offsets()?;
        let followed = Followed::of(tier, types, &offsets, features);
        Ok(Self {
            tier,
            btf,
            types,
            features,
            offsets,
            followed,
        })
    }
}

/// Trace context in TCP options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TcpOption {
    /// Nobody asked for it.
    Off,
    /// In use.
    On,
    /// Asked for, and not possible here: why.
    Refused(String),
}

impl Kernel {
    /// Loads and attaches the best tier that really works, or the one that was asked for. Capture stays off until
    /// [`Kernel::enable`].
    pub fn load(types: &KernelTypes, features: &Features, options: &LoadOptions) -> Result<Self> {
        let begin = Instant::now();
        let btf = Btf::from_sys_fs().context("cannot read the kernel's type information")?;
        let mut refused = Vec::new();
        let candidates: Vec<Tier> = match options.tier {
            Some(tier) => vec![tier],
            None => Tier::AUTOMATIC.to_vec(),
        };
        for tier in candidates {
            let loaded = Candidate::new(tier, &btf, types, features)
                .and_then(|candidate| Self::load_tier(&candidate, options));
            match loaded {
                Ok(mut kernel) => {
                    kernel.refused = refused;
                    kernel.load_time = begin.elapsed();
                    return Ok(kernel);
                }
                Err(error) => {
                    tracing::debug!(%tier, error = format!("{error:#}"), "tier refused");
                    refused.push((tier, brief(&error)));
                }
            }
        }
        let reasons: Vec<String> = refused
            .iter()
            .map(|(tier, reason)| format!("  {tier}: {reason}"))
            .collect();
        let (subject, remedy) = match options.tier {
            Some(tier) => (
                format!("tier {tier} does not work"),
                "leave the tier to observer (--tier auto); `observer doctor` shows which work",
            ),
            None => (
                "no capture tier works".to_owned(),
                "see `observer doctor`; --log-level debug shows all that the kernel said",
            ),
        };
        bail!(
            "{subject} on this kernel ({}):\n{}\nWhat to do: {remedy}",
            features.release,
            reasons.join("\n")
        )
    }

    /// Loads and attaches one tier.
    ///
    /// # Errors
    /// Why it does not work here.
    pub fn try_tier(
        tier: Tier,
        types: &KernelTypes,
        features: &Features,
        options: &LoadOptions,
    ) -> Result<Self> {
        let btf = Btf::from_sys_fs().context("cannot read the kernel's type information")?;
        Self::load_tier(&Candidate::new(tier, &btf, types, features)?, options)
    }

    fn load_tier(candidate: &Candidate<'_>, options: &LoadOptions) -> Result<Self> {
        let begin = Instant::now();
        let (tier, btf) = (candidate.tier, candidate.btf);
        let features = candidate.features;
        if tier == Tier::Fentry {
            // Before all the maps are made.
            let function = "tcp_sendmsg";
            programs::try_entry(function, btf)
                .with_context(|| format!("a program on {function}"))?;
        }
        let mut wanted = tier.plan(candidate.types, options.dns)?;
        if candidate.followed.setting() != 0 {
            wanted.extend(ring::PROGRAMS);
        }
        if features.preemptible {
            wanted = with_spares(wanted);
        }
        let (mut ebpf, tcp_option) = Self::open_with_option(candidate, options)?;
        let (mut links, mut loaded) = (Vec::new(), Vec::new());
        if features.may_probe_read() {
            load_all(&mut ebpf, &wanted, btf)?;
            for (name, hook) in &wanted {
                attach(&mut ebpf, name, *hook)
                    .with_context(|| format!("{name} on {}", hook.name()))?;
            }
        } else {
            let descriptor = |name: &str| map_descriptor(ebpf.map(name)?);
            let programs = Programs::new(OBJECT, descriptor)?;
            loaded = parallel::each(wanted.clone(), |(name, hook)| {
                let program = programs.load(name, hook, btf);
                let program = program.with_context(|| format!("{name} on {}", hook.name()))?;
                Ok((name, program))
            })?;
            links = attach_loaded(&loaded, &wanted)?;
        }
        let tls = TlsHooks::of(tier, features.preemptible, &ebpf)?;
        let mut kernel = Self {
            ebpf,
            links,
            tls,
            tier,
            refused: Vec::new(),
            tcp_option,
            load_time: begin.elapsed(),
            has_many_uprobes: features.many_uprobes,
            loaded,
            unsettled: Calls::default(),
        };
        kernel.begin_tls(candidate.types);
        kernel.unsettled = Calls {
            missed: missed(&kernel.program_stats()),
            taken_over: taken_over(&kernel.counters()?),
        };
        Ok(kernel)
    }

    /// Whether the core hands contexts over to TCP options is settled before it is loaded.
    fn open_with_option(
        candidate: &Candidate<'_>,
        options: &LoadOptions,
    ) -> Result<(Ebpf, TcpOption)> {
        let mut ebpf = Self::open(candidate, options)?;
        if options.option_peers.is_empty() {
            return Ok((ebpf, TcpOption::Off));
        }
        match option::attach(&mut ebpf, candidate.types, &options.option_peers) {
            Ok(()) => Ok((ebpf, TcpOption::On)),
            Err(error) => {
                tracing::debug!(error = format!("{error:#}"), "TCP option refused");
                drop(ebpf);
                let without = LoadOptions {
                    option_peers: Vec::new(),
                    ..options.clone()
                };
                let ebpf = Self::open(candidate, &without)?;
                Ok((ebpf, TcpOption::Refused(brief(&error))))
            }
        }
    }

    /// Attaches the TCP option's program for a peer that nobody has, and takes it away again.
    ///
    /// # Errors
    /// Why it does not work here.
    pub fn try_option(types: &KernelTypes, features: &Features, peers: &[Network]) -> Result<()> {
        let btf = Btf::from_sys_fs().context("cannot read the kernel's type information")?;
        let options = LoadOptions {
            connections: 64,
            ring_bytes: 64 << 10,
            option_peers: peers.to_vec(),
            ..LoadOptions::default()
        };
        let candidate = Candidate::new(Tier::Socket, &btf, types, features)?;
        let mut ebpf = Self::open(&candidate, &options)?;
        option::attach(&mut ebpf, types, peers)
    }

    fn open(candidate: &Candidate<'_>, options: &LoadOptions) -> Result<Ebpf> {
        let Candidate {
            tier,
            btf,
            types,
            features,
            ..
        } = *candidate;
        let rings = options.rings.clamp(1, MAX_RINGS);
        let settings = Settings {
            selected_only: u32::from(options.selected_only),
            observer_tgid: options.observer_tgid,
            ring_mask: rings as u32 - 1,
            wake_bytes: options.ring_bytes / 2,
            may_probe_read: u32::from(features.may_probe_read()),
            send_start_hook: u32::from(tier != Tier::Socket || features.send_start_tracepoint),
            request_budget: options.request_budget,
            response_budget: options.response_budget,
            typed_task: u32::from(features.typed_task),
            task_registers: u32::from(features.task_registers),
            kernel_workers: u32::from(features.kernel_workers),
            unix_sock_helper: u32::from(types.has_function("bpf_skc_to_unix_sock")),
            inject: u32::from(options.inject),
            spares: u32::from(features.preemptible),
            tls_records: u32::from(types.takes_tls_records()),
            receive_arguments: types.arguments("tcp_recvmsg").unwrap_or(0),
            tcp_option: u32::from(!options.option_peers.is_empty()),
            ring_requests: candidate.followed.setting(),
            at_call_end: u32::from(tier == Tier::Syscall),
            links: u32::from(options.inferred_links),
            dns: u32::from(options.dns),
        };
        let mut loader = EbpfLoader::new();
        loader.btf(Some(btf));
        loader.override_global("OFFSETS", &candidate.offsets, true);
        loader.override_global("SETTINGS", &settings, true);
        loader.map_max_entries("CONNECTIONS", options.connections);
        loader.map_max_entries("CONN_CONTROL", options.connections);
        loader.map_max_entries("HANDOFF", options.connections);
        for (index, name) in RINGS.iter().enumerate() {
            loader.map_max_entries(
                name,
                if index < rings {
                    options.ring_bytes
                } else {
                    4096
                },
            );
        }
        if options.option_peers.is_empty() {
            loader.map_max_entries("OPTION_CONNECTIONS", 1);
            loader.map_max_entries("OPTION_HANDSHAKES", 1);
        } else {
            loader.map_max_entries("OPTION_CONNECTIONS", options.connections);
        }
        if features.preemptible {
            for name in ROOMS {
                loader.map_max_entries(name, 2 * SCRATCHES);
            }
        } else {
            loader.map_max_entries("SERVED", 1);
        }
        if settings.ring_requests == 0 {
            loader.map_max_entries("RING_REQUESTS", 1);
        }
        if !options.inferred_links {
            loader.map_max_entries("LIKELY", 1);
        }
        if !options.dns {
            loader.map_max_entries("ASKING", 1);
        }
        if tier != Tier::Kprobe {
            loader.map_max_entries("RECEIVES", 1);
        }
        if !matches!(tier, Tier::Kprobe | Tier::Syscall) {
            loader.map_max_entries("CALLS", 1);
        }
        let plain;
        let object = if options.inject {
            loader.map_max_entries("INJECTED", options.connections);
            loader.map_max_entries("SCRATCH", SCRATCHES_TO_INJECT);
            OBJECT
        } else {
            for (name, entries) in WITHOUT_INJECTION {
                loader.map_max_entries(name, entries);
            }
            plain = super::inject::without_socket_map(OBJECT)?;
            &plain
        };
        loader.load(object).map_err(|error| match refused_map(&error) {
            Some(name) => anyhow!(
                "the kernel refused to make the map {name}: the limit of locked memory is too low for it and may not be \
                 raised (before 5.11 maps count; ulimit -l unlimited, LimitMEMLOCK=infinity)"
            ),
            None => anyhow!(error).context("the kernel refused the object's maps or types"),
        })
    }

    /// The tier in use.
    pub fn tier(&self) -> Tier {
        self.tier
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
        option::adopt(&mut self.ebpf)
    }

    /// Better tiers that this kernel refused, with its reason.
    pub fn refused(&self) -> &[(Tier, String)] {
        &self.refused
    }

    /// How long loading and attaching took.
    pub fn load_time(&self) -> Duration {
        self.load_time
    }

    /// Takes the record rings, one a shard, of `room` bytes each.
    pub fn take_rings(&mut self, rings: usize, room: u32) -> Result<Vec<RecordRing>> {
        let mut taken = Vec::new();
        for (name, index) in RINGS.iter().take(rings).zip(0..) {
            let ring = RingBuf::try_from(self.take(name)?)?;
            taken.push(RecordRing {
                ring,
                sleeping: Array::try_from(duplicate(&self.ebpf, "SLEEPING")?)?,
                index,
                room: room as usize,
            });
        }
        Ok(taken)
    }

    /// Takes the ring of process events.
    pub fn take_process_events(&mut self) -> Result<RingBuf<MapData>> {
        Ok(RingBuf::try_from(self.take("PROCESS_EVENTS")?)?)
    }

    fn take(&mut self, name: &str) -> Result<Map> {
        self.ebpf
            .take_map(name)
            .ok_or_else(|| anyhow!("the object has no map {name}"))
    }

    /// Takes the maps that the shard of a ring reads and writes. Each call duplicates the descriptors.
    pub fn connections(&mut self, ring: u32) -> Result<ConnectionMaps> {
        Ok(ConnectionMaps {
            connections: HashMap::try_from(duplicate(&self.ebpf, "CONNECTIONS")?)?,
            control: HashMap::try_from(duplicate(&self.ebpf, "CONN_CONTROL")?)?,
            modes_set: Array::try_from(duplicate(&self.ebpf, "MODES_SET")?)?,
            ring,
            set: 0,
        })
    }

    /// The policy map and the switch that makes the kernel heed it.
    pub fn policy(&mut self) -> Result<PolicyMaps> {
        Ok(PolicyMaps {
            policy: HashMap::try_from(duplicate(&self.ebpf, "POLICY")?)?,
            control: Array::try_from(duplicate(&self.ebpf, "CONTROL_BLOCK")?)?,
            state: ControlBlock {
                policy_epoch: 1,
                enabled: 0,
            },
        })
    }

    /// What the kernel is told about the runtimes of processes.
    pub(crate) fn runtimes(&self) -> Result<HashMap<MapData, u32, Runtime>> {
        Ok(HashMap::try_from(duplicate(&self.ebpf, "RUNTIMES")?)?)
    }

    /// The counters, summed over the CPUs.
    pub fn counters(&self) -> Result<Vec<(Counter, &'static str, u64)>> {
        let map = self
            .ebpf
            .map("COUNTERS")
            .ok_or_else(|| anyhow!("the object has no map COUNTERS"))?;
        let counters: PerCpuArray<_, u64> = PerCpuArray::try_from(map)?;
        let mut sums = Vec::with_capacity(loss::COUNTERS as usize);
        for (counter, name) in Counter::ALL {
            let values = counters.get(&(counter as u32), 0)?;
            sums.push((counter, name, values.iter().sum()));
        }
        Ok(sums)
    }

    /// Kernel memory of each map that is still held here, bytes, from `/proc/self/fdinfo`.
    pub fn map_bytes(&self) -> BTreeMap<String, u64> {
        self.ebpf
            .maps()
            .filter_map(|(name, map)| Some((name.to_owned(), memory_of(map_descriptor(map)?)?)))
            .collect()
    }

    /// Calls that no program dealt with, from what [`program_stats`](Self::program_stats) and then
    /// [`counters`](Self::counters) said.
    pub fn lost_calls(
        &self,
        stats: &[ProgramStats],
        counters: &[(Counter, &'static str, u64)],
    ) -> u64 {
        let taken_over = taken_over(counters).saturating_sub(self.unsettled.taken_over);
        let missed = missed(stats).saturating_sub(self.unsettled.missed);
        missed.saturating_sub(taken_over)
    }

    /// Attaches programs with their spares, which serve every call until the programs are there. All of them, or none.
    pub(super) fn attach_while_running(
        &mut self,
        programs: Vec<(&'static str, Loaded)>,
        plan: &[(&'static str, Hook)],
    ) -> Result<()> {
        let before = taken_over(&self.counters()?);
        let links = attach_loaded(&programs, plan)?;
        let after = taken_over(&self.counters()?);
        self.unsettled.taken_over += after.saturating_sub(before);
        self.links.extend(links);
        self.loaded.extend(programs);
        Ok(())
    }

    /// What the kernel tells of each loaded program in `/proc/self/fdinfo`.
    pub fn program_stats(&self) -> Vec<ProgramStats> {
        let mut stats = Vec::new();
        for (name, program) in self.ebpf.programs() {
            let Ok(info) = program.info() else { continue };
            let Ok(descriptor) = info.fd() else { continue };
            stats.push(self.stats_of(name, descriptor.as_fd().as_raw_fd()));
        }
        for (name, program) in &self.loaded {
            stats.push(self.stats_of(name, program.as_raw_fd()));
        }
        stats
    }

    /// Instructions that the verifier looked at, per loaded program.
    pub fn verified_instructions(&self) -> Vec<(String, u64)> {
        self.program_stats()
            .into_iter()
            .filter_map(|program| Some((program.name, program.verified?)))
            .collect()
    }

    fn stats_of(&self, name: &str, descriptor: i32) -> ProgramStats {
        let text = fdinfo(descriptor).unwrap_or_default();
        let field = |key: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(key)?.trim().parse::<u64>().ok())
        };
        ProgramStats {
            name: name.to_owned(),
            run_time_ns: field("run_time_ns:").unwrap_or(0),
            runs: field("run_cnt:").unwrap_or(0),
            missed: field("recursion_misses:").unwrap_or(0),
            is_spare: name.ends_with("_spare"),
            verified: field("verified_insns:"),
        }
    }
}

/// Calls that first programs were left out of.
fn missed(stats: &[ProgramStats]) -> u64 {
    let firsts = stats.iter().filter(|program| !program.is_spare);
    firsts.map(|program| program.missed).sum()
}

/// Calls that spares served.
fn taken_over(counters: &[(Counter, &'static str, u64)]) -> u64 {
    let spare_ran = |(counter, ..): &&(Counter, _, _)| *counter == Counter::SpareRan;
    let found = counters.iter().find(spare_ran);
    found.map_or(0, |(.., count)| *count)
}

/// What the kernel tells of a program.
pub struct ProgramStats {
    /// Its name.
    pub name: String,
    /// Time spent in it, ns; zero while `kernel.bpf_stats_enabled` is off.
    pub run_time_ns: u64,
    /// How often it ran; zero while `kernel.bpf_stats_enabled` is off.
    pub runs: u64,
    /// How often the kernel left it out, because the CPU was in the middle of it already: a thread that was preempted
    /// there, or an interrupt (`bpf_prog_inc_misses_counter`, since 5.12).
    pub missed: u64,
    /// It works where another one was missed.
    pub is_spare: bool,
    /// Instructions that the verifier looked at (5.16).
    pub verified: Option<u64>,
}

/// Room of programs, a scratch each.
const ROOMS: [&str; 2] = ["SCRATCH", "SCRATCH_CREATE"];

const RINGS: [&str; MAX_RINGS] = ["RECORDS_0", "RECORDS_1", "RECORDS_2", "RECORDS_3"];

/// Sizes of the maps that only header injection needs.
const WITHOUT_INJECTION: [(&str, u32); 4] = [
    ("INJECTED", 1),
    ("JOINING", 1),
    ("LEAVING", 4096),
    ("SCRATCH_TAKEN", 1),
];

/// The map that the kernel had no locked memory for.
fn refused_map(error: &EbpfError) -> Option<&str> {
    match error {
        EbpfError::MapError(MapError::CreateError { name, io_error })
            if io_error.raw_os_error() == Some(libc::EPERM) =>
        {
            Some(name)
        }
        _ => None,
    }
}

/// The first line of a refusal, without the verifier's log that may follow.
pub(crate) fn brief(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    let line = text.lines().next().unwrap_or_default();
    let end = line.find(". Verifier output").unwrap_or(line.len());
    line[..end].to_owned()
}

/// Loads a tier's programs, on all CPUs: the verifier takes most of the time to get ready.
fn load_all(ebpf: &mut Ebpf, wanted: &[(&'static str, Hook)], btf: &Btf) -> Result<()> {
    let mut programs: BTreeMap<String, &mut Program> = ebpf
        .programs_mut()
        .map(|(name, program)| (name.to_owned(), program))
        .collect();
    // One on several functions is loaded once.
    let mut begun = HashSet::new();
    let jobs: Vec<_> = wanted
        .iter()
        .filter(|(name, _)| begun.insert(*name))
        .map(|(name, hook)| (*name, *hook, programs.remove(*name)))
        .collect();
    parallel::each(jobs, |(name, hook, program)| {
        load(program, hook, btf).with_context(|| format!("{name} on {}", hook.name()))
    })?;
    Ok(())
}

fn load(program: Option<&mut Program>, hook: Hook, btf: &Btf) -> Result<()> {
    let program = program.ok_or_else(|| anyhow!("not in the object"))?;
    match hook {
        Hook::Tracepoint(function) | Hook::TracepointIfThere(function) => {
            <&mut BtfTracePoint>::try_from(program)?.load(function, btf)?
        }
        Hook::Enter(function) | Hook::EnterIf(function, _) => {
            <&mut FEntry>::try_from(program)?.load(function, btf)?
        }
        Hook::Exit(function) | Hook::ExitIf(function, _) => {
            <&mut FExit>::try_from(program)?.load(function, btf)?
        }
        _ => <&mut KProbe>::try_from(program)?.load()?,
    }
    Ok(())
}

/// Attaches programs that aya does not hold, in the order of their plan.
fn attach_loaded(
    loaded: &[(&'static str, Loaded)],
    plan: &[(&'static str, Hook)],
) -> Result<Vec<OwnedFd>> {
    let attach = |((_, program), (name, hook)): (&(_, Loaded), &(&str, Hook))| {
        let link = program.attach();
        link.with_context(|| format!("{name} on {}", hook.name()))
    };
    loaded.iter().zip(plan).map(attach).collect()
}

/// Loads a kprobe's program, which needs no types.
pub(super) fn load_probe(ebpf: &mut Ebpf, name: &str) -> Result<()> {
    let program = ebpf
        .program_mut(name)
        .ok_or_else(|| anyhow!("not in the object"))?;
    <&mut KProbe>::try_from(program)?.load()?;
    Ok(())
}

pub(super) fn attach(ebpf: &mut Ebpf, name: &str, hook: Hook) -> Result<()> {
    match ebpf
        .program_mut(name)
        .ok_or_else(|| anyhow!("not in the object"))?
    {
        Program::BtfTracePoint(program) => program.attach().map(|_| ())?,
        Program::FEntry(program) => program.attach().map(|_| ())?,
        Program::FExit(program) => program.attach().map(|_| ())?,
        Program::KProbe(program) => program.attach(hook.name(), 0).map(|_| ())?,
        _ => bail!("a program of an unexpected type"),
    }
    Ok(())
}

pub(super) fn map_descriptor(map: &Map) -> Option<i32> {
    let data = match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data)
        | Map::RingBuf(data)
        | Map::LpmTrie(data)
        | Map::SockHash(data) => data,
        _ => return None,
    };
    Some(data.fd().as_fd().as_raw_fd())
}

/// `memlock` of a map's descriptor: what the kernel charges for it.
pub(crate) fn memory_of(descriptor: i32) -> Option<u64> {
    fdinfo(descriptor)?
        .lines()
        .find_map(|line| line.strip_prefix("memlock:")?.trim().parse().ok())
}

fn fdinfo(descriptor: i32) -> Option<String> {
    std::fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")).ok()
}

fn duplicate(ebpf: &Ebpf, name: &str) -> Result<Map> {
    let map = ebpf
        .map(name)
        .ok_or_else(|| anyhow!("the object has no map {name}"))?;
    let descriptor =
        map_descriptor(map).ok_or_else(|| anyhow!("map {name} has an unexpected type"))?;
    // SAFETY: the descriptor is open: the map holds it.
    let borrowed = unsafe { std::os::fd::BorrowedFd::borrow_raw(descriptor) };
    let data = MapData::from_fd(borrowed.try_clone_to_owned()?)?;
    Ok(match map {
        Map::Array(_) => Map::Array(data),
        Map::LruHashMap(_) => Map::LruHashMap(data),
        _ => Map::HashMap(data),
    })
}

/// A shard's view of the connections.
pub struct ConnectionMaps {
    connections: HashMap<MapData, u64, Connection>,
    control: HashMap<MapData, u64, ConnectionControl>,
    modes_set: Array<MapData, u32>,
    /// Place in that.
    ring: u32,
    /// What it says.
    set: u32,
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

/// Which processes are captured, and whether anything is.
pub struct PolicyMaps {
    policy: HashMap<MapData, u32, Policy>,
    control: Array<MapData, ControlBlock>,
    state: ControlBlock,
}

impl PolicyMaps {
    /// Switches capture on or off.
    pub fn enable(&mut self, on: bool) -> Result<()> {
        self.state.enabled = u32::from(on);
        self.control
            .set(0, self.state, 0)
            .context("cannot switch capture")
    }

    /// What was said of a process; `None` where nothing was.
    pub fn is_captured(&self, tgid: u32) -> Option<bool> {
        Some(self.policy.get(&tgid, 0).ok()?.capture != 0)
    }

    /// Makes connections ask again.
    pub fn raise(&mut self) -> Result<()> {
        self.state.policy_epoch = self.state.policy_epoch.wrapping_add(1);
        self.control
            .set(0, self.state, 0)
            .context("cannot raise the policy's epoch")
    }

    /// Writes verdicts; connections ask again afterwards.
    pub fn apply(&mut self, verdicts: impl IntoIterator<Item = (u32, bool)>) -> Result<()> {
        let mut changed = false;
        for (tgid, capture) in verdicts {
            let policy = Policy {
                capture: u32::from(capture),
                reserved: 0,
            };
            self.policy
                .insert(tgid, policy, 0)
                .with_context(|| format!("cannot write the policy of process {tgid}"))?;
            changed = true;
        }
        if changed {
            self.raise()?;
        }
        Ok(())
    }
}
