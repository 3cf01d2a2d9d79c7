//! Files with key points, armed while somebody maps them.
//!
//! A file is looked at once, whatever process maps it, and armed once, whatever mount it is seen through
//! (`kernel::uprobes::Executables`). A process that maps what is known costs a look into a table. Files that nobody maps any
//! more stay armed until the second sweep that finds it so; the host's own libraries ([`standing`]) are armed whoever maps them.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsStr,
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::Result;
use aya::maps::{HashMap as KernelMap, MapData};

use super::{
    key_labels::{KeyLabels, Table},
    mapped,
    points::{Cache, KeyPoints, Kind, Unknown},
    standing,
};
use crate::{
    elf::Executable,
    kernel::{
        Kernel,
        mappings::Mapping,
        uprobes::{Executables, Probe, stands_in},
    },
    thread_group,
};

/// Kernel programs at key points.
pub const PROGRAMS: &[&str] = &[
    "tls_secret",
    "tls_secret_go",
    "tls_hmac_256",
    "tls_hmac_512",
];

/// Most files that are known at a time: all programs and libraries of a host.
const MOST_FILES: usize = 16_384;
/// Most mappings that are known at a time.
const MOST_MAPPINGS: usize = 65_536;
/// Sweeps that a file stays armed for without anybody who maps it.
const PATIENCE: u32 = 2;

/// How many there are now, for who asks.
#[derive(Debug, Default)]
pub struct ArmedCounts {
    /// Files whose key points are armed, each counted once a mount.
    pub files: AtomicU64,
    /// Processes with a TLS library that is not known.
    pub unknown: AtomicU64,
}

/// What is known of a file by the mapping that led to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It has nothing to do with TLS as far as can be told.
    Nothing,
    Armed,
    /// It speaks TLS, and where is not known.
    Unknown,
}

/// All files with key points.
pub struct ArmedFiles {
    files: Executables<Arc<KeyPoints>>,
    cache: Cache,
    labels: KeyLabels<LabelMap>,
    /// Files whose labels were told.
    told: HashMap<Executable, Arc<KeyPoints>>,
    /// Files that speak TLS by a library that is not known.
    unknown: HashSet<Executable>,
    /// What was looked at since the last sweep, by device, inode and generation.
    seen: HashMap<(u64, u64, u64), State>,
    /// Processes with such a file.
    unknown_processes: HashSet<u32>,
    /// Processes of which a connection stayed closed, and whether they have nothing that is armed.
    closed: HashMap<u32, bool>,
    /// Their programs, each of which was said once.
    said: HashSet<Executable>,
    /// Armed files that nobody maps, and for how many sweeps.
    unused: HashMap<Executable, u32>,
    counts: Arc<ArmedCounts>,
    /// There was no room for a file, which was said.
    is_full: bool,
    /// The host's own libraries are armed, too.
    of_host: bool,
    proc: PathBuf,
}

impl ArmedFiles {
    /// With nothing armed; the programs are loaded ([`Kernel::load_uprobes`]).
    ///
    /// # Errors
    /// When a map is missing.
    pub fn new(kernel: Arc<Mutex<Kernel>>, counts: Arc<ArmedCounts>) -> Result<Self> {
        let labels = {
            let kernel = kernel.lock().unwrap_or_else(PoisonError::into_inner);
            kernel.key_labels()?
        };
        Ok(Self {
            files: Executables::new(kernel, MOST_FILES, "what it says over TLS is not read"),
            cache: Cache::default(),
            labels: KeyLabels::new(LabelMap(labels)),
            told: HashMap::new(),
            unknown: HashSet::new(),
            seen: HashMap::new(),
            unknown_processes: HashSet::new(),
            closed: HashMap::new(),
            said: HashSet::new(),
            unused: HashMap::new(),
            counts,
            is_full: false,
            of_host: false,
            proc: PathBuf::from("/proc"),
        })
    }

    /// From the next sweep on the host's own libraries are armed whoever maps them.
    pub fn with_those_of_host(mut self) -> Self {
        self.of_host = true;
        self
    }

    /// Whether nothing follows from a mapping, whoever made it: most are of files that are known.
    pub(crate) fn is_settled(&self, mapping: &Mapping<'_>) -> bool {
        let state = self.seen.get(&mapping.file);
        matches!(state, Some(State::Nothing | State::Armed))
    }

    /// A captured process has mapped part of a file to be executed.
    pub(crate) fn mapped(&mut self, mapping: &Mapping<'_>) {
        let state = match self.seen.get(&mapping.file) {
            Some(state) => *state,
            None => {
                let path = mapped::paths(&self.proc, mapping.pid, mapping.range, mapping.name);
                let Some((path, file)) = path else { return };
                let state = self.look_at(mapping.pid, &path, &file, mapping.name);
                self.remember(mapping.file, state);
                state
            }
        };
        self.note(mapping.pid, state);
    }

    /// A captured process has begun another program: it is looked at by what it is now, since a program may be replaced by
    /// another with the same inode.
    pub fn began(&mut self, pid: u32) {
        let path = thread_group::folder(&self.proc, pid).join("exe");
        let Ok(file) = File::open(&path) else { return };
        self.unknown_processes.remove(&pid);
        self.closed.remove(&pid);
        let name = fs::read_link(&path).unwrap_or_default();
        let state = self.look_at(pid, &path, &file, name.as_os_str());
        self.note(pid, state);
    }

    /// Looks at all that a captured process has mapped.
    pub fn look_at_process(&mut self, pid: u32) {
        for mapped in mapped::of_process(&self.proc, pid) {
            self.mapped(&mapped.as_mapping());
        }
    }

    /// A process hashes so much that following its block functions would be felt: the files that it has them in lose their
    /// breakpoints, for all who map them.
    pub fn give_up(&mut self, pid: u32) {
        let hashes = |points: &KeyPoints| {
            let kinds = points.points.iter().map(|point| point.kind);
            kinds
                .into_iter()
                .any(|kind| matches!(kind, Kind::Sha256Blocks | Kind::Sha512Blocks))
        };
        for mapped in mapped::of_process(&self.proc, pid) {
            let found = mapped.open(&self.proc);
            let Some(executable) = found.and_then(|(_, file)| Executable::of(&file)) else {
                continue;
            };
            if !self
                .told
                .get(&executable)
                .is_some_and(|points| hashes(points))
            {
                continue;
            }
            self.files.disarm(&executable);
            tracing::info!(
                name = %Path::new(&mapped.name).display(),
                pid,
                "it hashes too much to be followed: what is said over TLS is not read any more"
            );
            let gone: Vec<Executable> = self.told.keys().copied().collect();
            for executable in gone {
                if self.files.known(&executable).is_none() {
                    self.untell(&executable);
                    self.unknown.insert(executable);
                }
            }
            self.seen.clear();
            self.unknown_processes.insert(pid);
        }
        self.count();
    }

    /// A connection of a process stayed closed, as nobody told a secret of it. A program that has nothing armed is said, once:
    /// Java's own library is no file that could be known.
    pub fn stays_closed(&mut self, pid: u32) {
        if self.closed.contains_key(&pid) || self.closed.len() >= MOST_MAPPINGS {
            return;
        }
        self.look_at_process(pid);
        let has_armed = mapped::of_process(&self.proc, pid)
            .iter()
            .any(|mapped| self.seen.get(&mapped.file) == Some(&State::Armed));
        let path = thread_group::folder(&self.proc, pid).join("exe");
        let (Ok(file), Ok(name)) = (File::open(&path), fs::read_link(&path)) else {
            return;
        };
        self.closed.insert(pid, !has_armed);
        if has_armed {
            // Its handshake was before its breakpoint, or was missed.
            return;
        }
        if self.said.len() < MOST_FILES
            && let Some(executable) = Executable::of(&file)
            && self.said.insert(executable)
        {
            tracing::info!(
                pid,
                "TLS in {} is not read: it has no library that is known to tell its secrets",
                name.display()
            );
        }
        self.note(pid, State::Unknown);
    }

    /// Keeps of those of which a connection stayed closed what is still there, and has nothing armed: what has some may have
    /// loaded it only lately, and is looked at again.
    fn forget_closed(&mut self, captured: &[u32]) {
        let captured: HashSet<&u32> = captured.iter().collect();
        self.closed
            .retain(|pid, has_none| *has_none && captured.contains(pid));
        self.unknown_processes.extend(self.closed.keys());
    }

    /// Takes back what was told of a file.
    fn untell(&mut self, executable: &Executable) {
        if let Some(points) = self.told.remove(executable) {
            self.labels.remove(&points);
            self.unused.remove(executable);
        }
    }

    /// Looks at all that captured processes have mapped, and takes the breakpoints out of what nobody maps any more.
    pub fn sweep(&mut self, is_captured: impl Fn(u32) -> bool) {
        self.seen.clear();
        self.unknown_processes.clear();
        let mut captured = self.pids();
        captured.retain(|pid| is_captured(*pid));
        self.forget_closed(&captured);
        let standing = self.standing();
        let (mut files, mut processes) = (HashMap::new(), Vec::new());
        for pid in captured {
            for mapped in mapped::of_process(&self.proc, pid) {
                processes.push((pid, mapped.file));
                files.entry(mapped.file).or_insert(mapped);
            }
        }
        let opened = files.into_iter().filter_map(|(key, mapped)| {
            let (path, file) = mapped.open(&self.proc)?;
            let size = file.metadata().ok()?.len();
            Some((size, key, mapped, path, Executable::of(&file)?))
        });
        let mut opened: Vec<_> = opened.collect();
        // The small ones first: nobody waits for the search of a large one.
        opened.sort_by_key(|(size, ..)| *size);
        let mut running = standing;
        for (_, key, mapped, path, executable) in opened {
            let Some(file) = File::open(&path)
                .ok()
                .filter(|file| Executable::of(file) == Some(executable))
            else {
                continue;
            };
            let state = self.look_at(mapped.pid, &path, &file, &mapped.name);
            self.remember(key, state);
            running.insert(executable, path);
        }
        for (pid, key) in processes {
            if let Some(state) = self.seen.get(&key) {
                self.note(pid, *state);
            }
        }
        self.keep(running);
    }

    /// Arms the host's own libraries; those that are.
    fn standing(&mut self) -> HashMap<Executable, PathBuf> {
        let mut armed = HashMap::new();
        if !self.of_host {
            return armed;
        }
        for path in standing::libraries(&self.proc) {
            let Ok(file) = File::open(&path) else {
                continue;
            };
            let own = std::process::id();
            if self.look_at(own, &path, &file, path.as_os_str()) == State::Armed
                && let Some(executable) = Executable::of(&file)
            {
                armed.insert(executable, path);
            }
        }
        armed
    }

    /// Lets go of what nobody has mapped for a while.
    fn keep(&mut self, mut running: HashMap<Executable, PathBuf>) {
        self.unused
            .retain(|executable, _| !running.contains_key(executable));
        for executable in self.told.keys() {
            if running.contains_key(executable) {
                continue;
            }
            let sweeps = self.unused.entry(*executable).or_default();
            *sweeps += 1;
            if *sweeps < PATIENCE {
                // Its breakpoints stay where they are.
                running.insert(*executable, PathBuf::new());
            }
        }
        self.files.keep(&running);
        self.unknown
            .retain(|executable| running.contains_key(executable));
        let gone: Vec<Executable> = self.told.keys().copied().collect();
        for executable in gone {
            if self.files.known(&executable).is_none() {
                self.untell(&executable);
            }
        }
        self.count();
    }

    /// Looks at a file, and arms it where it is new.
    fn look_at(&mut self, pid: u32, path: &Path, file: &File, name: &OsStr) -> State {
        let Some(executable) = Executable::of(file) else {
            return State::Nothing;
        };
        if self.files.contains(&executable) {
            return self.state(&executable);
        }
        if self.files.is_full() {
            if !std::mem::replace(&mut self.is_full, true) {
                tracing::warn!(
                    "more than {MOST_FILES} files are mapped: the others' TLS is not read"
                );
            }
            return State::Nothing;
        }
        let shown = Path::new(name).display().to_string();
        let (cache, labels) = (&mut self.cache, &mut self.labels);
        let (mut told, mut speaks_tls) = (None, false);
        self.files.add(executable, &shown, file, |file| {
            match cache.find(file) {
                Ok(points) => {
                    let probes = probes(&points);
                    // Labels first: a secret that comes as soon as the breakpoint stands has one.
                    if probes.is_empty() || !labels.add(&points) {
                        return None;
                    }
                    told = Some(Arc::clone(&points));
                    Some((points, probes))
                }
                Err(reason) => {
                    speaks_tls = is_of_tls(&reason);
                    if speaks_tls {
                        tracing::info!("TLS in {shown} is not read: {reason}");
                    }
                    None
                }
            }
        });
        match told {
            Some(points) if self.files.known(&executable).is_some() => {
                if let Some(point) = points.points.first()
                    && !stands_in(&self.proc, pid, path, file, point.offset)
                {
                    tracing::debug!(name = shown, pid, "the process has another text");
                }
                self.told.insert(executable, points);
            }
            // The kernel refused, which was said.
            Some(points) => {
                self.labels.remove(&points);
                self.unknown.insert(executable);
            }
            None if speaks_tls => {
                self.unknown.insert(executable);
            }
            None => {}
        }
        self.count();
        self.state(&executable)
    }

    fn state(&self, executable: &Executable) -> State {
        if self.told.contains_key(executable) {
            State::Armed
        } else if self.unknown.contains(executable) {
            State::Unknown
        } else {
            State::Nothing
        }
    }

    fn remember(&mut self, file: (u64, u64, u64), state: State) {
        if self.seen.len() >= MOST_MAPPINGS {
            self.seen.clear();
        }
        self.seen.insert(file, state);
    }

    /// A process has a file of this kind.
    fn note(&mut self, pid: u32, state: State) {
        if state == State::Unknown && self.unknown_processes.insert(pid) {
            self.count();
        }
    }

    fn count(&self) {
        let counts = &self.counts;
        counts
            .files
            .store(self.told.len() as u64, Ordering::Relaxed);
        let unknown = self.unknown_processes.len() as u64;
        counts.unknown.store(unknown, Ordering::Relaxed);
    }

    fn pids(&self) -> Vec<u32> {
        let Ok(entries) = fs::read_dir(&self.proc) else {
            return Vec::new();
        };
        entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect()
    }
}

/// The program for each point of a file.
fn probes(points: &KeyPoints) -> Vec<Probe> {
    let program = |kind| match kind {
        Kind::LogSecret => "tls_secret",
        Kind::GoWriteKeyLog => "tls_secret_go",
        Kind::Sha256Blocks => "tls_hmac_256",
        Kind::Sha512Blocks => "tls_hmac_512",
    };
    let points = points.points.iter();
    points
        .map(|point| Probe {
            program: program(point.kind),
            offset: point.offset,
        })
        .collect()
}

/// Whether a file without a key point speaks TLS.
fn is_of_tls(reason: &Unknown) -> bool {
    match reason {
        Unknown::NotElf | Unknown::Cut | Unknown::NoLabels | Unknown::GoWithoutTls => false,
        Unknown::TooLarge(_)
        | Unknown::TooMany(_)
        | Unknown::GoTable
        | Unknown::NoCall
        | Unknown::Ambiguous(_)
        | Unknown::NoFunction => true,
    }
}

/// The kernel's table of labels.
struct LabelMap(KernelMap<MapData, u64, u32>);

impl Table for LabelMap {
    fn set(&mut self, key: u64, number: u32) {
        if let Err(error) = self.0.insert(key, number, 0) {
            tracing::warn!(%error, "a label of TLS secrets could not be told");
        }
    }

    fn remove(&mut self, key: u64) {
        let _ = self.0.remove(&key);
    }
}
