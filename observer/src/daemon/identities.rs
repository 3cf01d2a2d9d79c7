//! Who finds out what processes are, so that nobody else waits for a file.
//!
//! In: processes that a shard has records of and does not know. Out: their services, in the table.
//! Owns: one thread that finds out which instance a process belongs to, and readers that find out what an instance is.
//!
//! What a reader reads may never be answered: a file system of a container may hang (FUSE, NFS), a process's memory be
//! locked. Then the reader is left where it is, and another one takes its place; there is an end to that ([`MOST_READERS`]),
//! behind which processes keep the names that the kernel gives them.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    time::{Duration, Instant},
};

use anyhow::Result;
use observer_abi::process::ProcessEvent;

use super::{
    health::{Health, Pulse},
    threads::spawn,
};
use crate::{
    identity::ProcessKey,
    process::{Found, Table},
};

/// Processes that may wait to be found.
const QUEUE: usize = 16_384;
/// Readers, at most: those that hang included.
const MOST_READERS: usize = 8;
/// How long a reader may take before another one takes its place.
const SLOW: Duration = Duration::from_millis(250);
/// How often that is looked at while something is read.
const LOOK: Duration = Duration::from_millis(100);
/// How often the thread shows that it lives.
const REST: Duration = Duration::from_secs(5);
/// Longest time without a sign of life.
const PULSE: Duration = Duration::from_secs(60);

enum Ask {
    /// What is this process?
    Service(ProcessKey),
    /// Of whose instance is this child?
    Fork(ProcessEvent),
}

/// Takes questions. The answers stand in the table.
#[derive(Clone)]
pub(super) struct Finder {
    asks: SyncSender<Ask>,
}

impl Finder {
    /// Starts the threads, which end some time after all finders are gone.
    ///
    /// # Errors
    /// There is no room for a thread.
    pub(super) fn start(table: Arc<Table>, health: &Arc<Health>) -> Result<Self> {
        let (asks, asked) = sync_channel(QUEUE);
        let readers = Readers {
            table,
            health: Arc::clone(health),
            work: Arc::default(),
            started: 0,
        };
        spawn(health, "observer-finder", Some(PULSE), move |pulse| {
            readers.run(&asked, pulse);
        })?;
        Ok(Self { asks })
    }

    /// Asks what a process is. False when too many wait already: to be asked again later.
    pub(super) fn service(&self, process: ProcessKey) -> bool {
        !matches!(
            self.asks.try_send(Ask::Service(process)),
            Err(TrySendError::Full(_))
        )
    }

    /// Has a child placed whose parent is not known. Where too many wait, the child is its own parent.
    pub(super) fn place(&self, fork: ProcessEvent) {
        let _ = self.asks.try_send(Ask::Fork(fork));
    }
}

/// What readers work on.
#[derive(Default)]
struct Work {
    inner: Mutex<Inner>,
    more: Condvar,
}

#[derive(Default)]
struct Inner {
    waiting: VecDeque<Found>,
    /// What each busy reader looks at, and since when.
    busy: Vec<Busy>,
    idle: usize,
    closed: bool,
}

struct Busy {
    reader: usize,
    since: Instant,
    what: String,
    told: bool,
}

impl Work {
    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at one instance after the other.
    fn read(&self, table: &Table, reader: usize) {
        let mut inner = self.lock();
        loop {
            let Some(found) = inner.waiting.pop_front() else {
                if inner.closed {
                    return;
                }
                inner.idle += 1;
                inner = self
                    .more
                    .wait(inner)
                    .unwrap_or_else(PoisonError::into_inner);
                inner.idle -= 1;
                continue;
            };
            inner.busy.push(Busy {
                reader,
                since: Instant::now(),
                what: format!("{} ({})", found.name(), found.tgid()),
                told: false,
            });
            drop(inner);
            table.look(&found);
            inner = self.lock();
            inner.busy.retain(|busy| busy.reader != reader);
        }
    }
}

struct Readers {
    table: Arc<Table>,
    health: Arc<Health>,
    work: Arc<Work>,
    started: usize,
}

impl Readers {
    /// Until nobody asks any more.
    fn run(mut self, asked: &Receiver<Ask>, pulse: &Pulse) {
        loop {
            pulse.beat();
            match asked.recv_timeout(self.patience()) {
                Ok(Ask::Service(process)) => self.hand_over(self.table.find(process)),
                Ok(Ask::Fork(fork)) => self.table.place(&fork),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.replace_slow();
        }
        self.work.lock().closed = true;
        self.work.more.notify_all();
    }

    fn patience(&self) -> Duration {
        let inner = self.work.lock();
        if inner.waiting.is_empty() && inner.busy.is_empty() {
            REST
        } else {
            LOOK
        }
    }

    fn hand_over(&mut self, found: Found) {
        if found.is_looked_at() {
            return;
        }
        let mut inner = self.work.lock();
        inner.waiting.push_back(found);
        let enough = inner.idle > 0;
        drop(inner);
        if enough {
            self.work.more.notify_one();
        } else if self.started == 0 {
            self.add();
        }
    }

    /// Lets another reader go on where all that there are take too long.
    fn replace_slow(&mut self) {
        let mut inner = self.work.lock();
        let slow = |busy: &Busy| busy.since.elapsed() >= SLOW;
        let all_slow = inner.busy.len() >= self.started && inner.busy.iter().all(slow);
        let wanted = !inner.waiting.is_empty() && all_slow;
        for busy in inner
            .busy
            .iter_mut()
            .filter(|busy| slow(busy) && !busy.told)
        {
            busy.told = true;
            tracing::warn!(
                process = busy.what,
                "reading what a process is takes long: is a file system stuck? It is named as the kernel calls it meanwhile"
            );
        }
        drop(inner);
        if wanted && self.started < MOST_READERS {
            self.add();
        }
    }

    fn add(&mut self) {
        let (table, work) = (Arc::clone(&self.table), Arc::clone(&self.work));
        let reader = self.started;
        let name = format!("observer-read{reader}");
        // One that hangs is no trouble of the daemon's.
        let started = spawn(&self.health, &name, None, move |_| {
            work.read(&table, reader)
        });
        match started {
            Ok(_) => self.started += 1,
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "processes are not looked at");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{Fixture, Identifier};

    fn until(what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !holds() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn name(table: &Table, process: ProcessKey) -> Option<String> {
        table.known(process).map(|service| service.name.to_string())
    }

    #[test]
    fn who_asks_finds_the_answer_in_the_table() {
        let fixture = Fixture::new();
        let process = fixture.process(
            30,
            1,
            200,
            9,
            "/usr/bin/python3",
            &["python3", "/srv/shop.py"],
        );
        let table = Arc::new(Table::new(Identifier::new(fixture.proc(), Vec::new())));
        let health = Health::new();
        let finder = Finder::start(Arc::clone(&table), &health).unwrap();
        assert!(finder.service(process));
        until("it is known", || name(&table, process).is_some());
        assert_eq!(name(&table, process).as_deref(), Some("shop"));
        assert_eq!(health.troubles(), []);
    }

    #[test]
    fn a_file_system_that_hangs_keeps_nobody_but_its_own_processes_waiting() {
        let fixture = Fixture::new();
        let hung = fixture.process(
            30,
            1,
            200,
            9,
            "/usr/bin/python3",
            &["python3", "/srv/hung.py"],
        );
        let well = fixture.process(
            31,
            1,
            201,
            8,
            "/usr/bin/python3",
            &["python3", "/srv/well.py"],
        );
        let (proc, gate) = fixture.proc_that_hangs(30);
        let table = Arc::new(Table::new(Identifier::new(proc, Vec::new())));
        let health = Health::new();
        let finder = Finder::start(Arc::clone(&table), &health).unwrap();
        // Asked by several shards, it takes one reader.
        for _ in 0..20 {
            assert!(finder.service(hung));
        }
        until("somebody reads it", || gate.is_waited_for());
        assert!(finder.service(well));
        until("the other one is known", || name(&table, well).is_some());
        assert_eq!(name(&table, well).as_deref(), Some("well"));
        assert_eq!(name(&table, hung), None);
        assert_eq!(&*table.provisional(hung).name, "python3");
        assert_eq!(health.troubles(), [], "it is no trouble of the daemon's");
        gate.open();
        until("it is known at last", || name(&table, hung).is_some());
        assert_eq!(name(&table, hung).as_deref(), Some("hung"));
    }
}
