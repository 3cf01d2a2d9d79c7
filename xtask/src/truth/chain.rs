//! One runtime's chain: started, watched, driven through all its rows, judged.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::judge::{Edges, Spans, Verdict};
use super::observer::Observer;
use super::row::Row;
use super::runtimes::{Machine, Place, Runtime};
use super::service::{Service, free_port};
use super::{load, table};

/// Timers of services go on for 100 ms after the last request; rows should not overlap.
const BETWEEN_ROWS: Duration = Duration::from_millis(150);
/// Longer than the daemon holds any span back.
const AT_THE_END: Duration = Duration::from_secs(1);

/// The daemon gives way to the services. With the default, a machine that is busy for half a second costs spans, and lost
/// spans prove nothing about parents.
const CONFIGURATION: &str = "limits: {ring_bytes: 64MiB}\n";

/// How the daemon is run.
pub(super) struct Daemon<'a> {
    pub(super) binary: &'a Path,
    pub(super) tier: &'a str,
    /// Where it leaves what it printed.
    pub(super) folder: &'a Path,
}

/// A row, and what came of it.
pub(super) struct Outcome<'a> {
    pub(super) row: &'a Row,
    pub(super) verdict: Verdict,
    /// Requests of the load that got no good answer.
    pub(super) failed: usize,
    /// The tier that the daemon chose.
    pub(super) tier: String,
}

impl Outcome<'_> {
    /// The share of true parents that were found: of calls or of joins, whichever is worse.
    pub(super) fn right(&self) -> f64 {
        let share = |edges: Edges| edges.right as f64 / edges.all().max(1) as f64;
        share(self.verdict.calls).min(share(self.verdict.joins))
    }

    /// Parents that are a lie.
    pub(super) fn wrong(&self) -> usize {
        let Verdict {
            calls,
            joins,
            roots,
            merged,
            ..
        } = &self.verdict;
        calls.wrong + joins.wrong + roots.wrong + merged
    }

    /// Why this row proves nothing, if it does not.
    pub(super) fn is_void(&self) -> Option<&'static str> {
        let verdict = &self.verdict;
        let seen = verdict.calls.all() + verdict.joins.all() + verdict.roots.all();
        if self.row.case.background && verdict.background == 0 {
            Some("NO background call seen")
        } else if verdict.lost * 10 > seen {
            Some("too many spans LOST")
        } else {
            None
        }
    }

    /// Whether this row must not be.
    pub(super) fn fails(&self, floors: bool) -> bool {
        self.wrong() > 0
            || self.verdict.malformed > 0
            || self.failed > 0
            || self.is_void().is_some()
            || floors && self.right() < self.row.floor
    }
}

/// Runs all rows of a runtime under one daemon.
///
/// # Errors
/// When a service or the daemon can't be started, or the daemon fails.
pub(super) fn run<'a>(
    machine: &Machine,
    daemon: &Daemon<'_>,
    runtime: &Runtime,
    rows: &'a [Row],
) -> Result<Vec<Outcome<'a>>> {
    let leaf = start_leaf()?;
    let second = start(machine, daemon, runtime, "second", leaf.port)?;
    let first = start(machine, daemon, runtime, "first", second.port)?;
    let configuration = daemon.folder.join("observer.yaml");
    fs::write(&configuration, CONFIGURATION)?;
    let mut arguments = vec![
        format!("--config={}", configuration.display()),
        format!("--tier={}", daemon.tier),
        // The load is in this process.
        format!("--pid={}", std::process::id()),
    ];
    for service in [&first, &second, &leaf] {
        arguments.push(format!("--port={}", service.port));
    }
    let copy = daemon.folder.join(format!("{}.jsonl", runtime.name));
    let mut observer = Observer::start(daemon.binary, &arguments, &copy)?;
    let tier = observer.tier.clone();
    let (mut failed, mut lost) = (Vec::new(), BTreeMap::new());
    for row in rows {
        eprintln!("{row}: {} requests", row.requests);
        failed.push(load::drive(row, first.port)?);
        observer.settle(BETWEEN_ROWS);
        let losses = observer.losses()?;
        if losses != lost {
            eprintln!("{row}: the daemon lost by now: {losses:?}");
            lost = losses;
        }
    }
    observer.settle(AT_THE_END);
    let printed = observer.stop()?;
    let spans = Spans::new(&printed);
    let outcomes: Vec<Outcome<'_>> = rows
        .iter()
        .zip(failed)
        .map(|(row, failed)| Outcome {
            row,
            verdict: spans.judge(row),
            failed,
            tier: tier.clone(),
        })
        .collect();
    let details = daemon.folder.join(format!("{}.wrong.txt", runtime.name));
    fs::write(&details, table::details(&outcomes))
        .with_context(|| format!("writing {}", details.display()))?;
    eprint!("{}", table::text(&outcomes));
    Ok(outcomes)
}

fn start_leaf() -> Result<Service> {
    let port = free_port()?;
    let mut leaf = Command::new(std::env::current_exe()?);
    leaf.arg("truth-leaf").arg(port.to_string());
    Service::start(&leaf, port)
}

fn start(
    machine: &Machine,
    daemon: &Daemon<'_>,
    runtime: &Runtime,
    name: &str,
    next: u16,
) -> Result<Service> {
    let folder = daemon.folder.join(runtime.name).join(name);
    fs::create_dir_all(&folder)?;
    let place = Place {
        port: free_port()?,
        next,
        folder,
        is_first: name == "first",
    };
    let command = (runtime.command)(machine, &place)?;
    Service::start(&command, place.port)
}
