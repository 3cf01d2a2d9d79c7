//! One kernel, one tier: boots, and what they said.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::vm::script::quote;
use crate::vm::{Job, Kernel, Machine, Outcome, guest};

/// Every tier, best first.
pub(super) const TIERS: [&str; 4] = ["fentry", "socket", "kprobe", "syscall"];

/// A verifier that gives up does so after a million instructions, which takes minutes here.
const DOCTOR: Duration = Duration::from_secs(600);
const SUITE: Duration = Duration::from_secs(600);
/// Seconds that the suite waits for what must come: a guest is ten times slower than we are.
const PATIENCE: u32 = 120;

/// What boots need.
pub(super) struct Bench {
    pub(super) binary: PathBuf,
    pub(super) suite: PathBuf,
    /// The guests' `PATH`.
    pub(super) path: String,
    /// Where the output of each boot is kept.
    pub(super) output: PathBuf,
}

/// A kernel and all that was found of it.
pub(super) struct Row {
    pub(super) name: &'static str,
    append: &'static str,
    pub(super) kernel: Kernel,
    /// By tier.
    pub(super) cells: BTreeMap<&'static str, Cell>,
}

/// What came of a tier on a kernel.
pub(super) enum Cell {
    /// The kernel can't; in the words of `observer doctor`.
    Unavailable(String),
    /// The suite ran.
    Ran {
        behaviours: Vec<Behaviour>,
        load: Option<Load>,
    },
    /// The suite did not get to its end.
    Broken(String),
}

/// One line of the suite.
pub(super) struct Behaviour {
    pub(super) name: String,
    /// `pass`, `fail`, `gap` or `skip`.
    pub(super) result: String,
    pub(super) reason: String,
}

/// How the daemon started.
pub(super) struct Load {
    /// Seconds to load, verify and attach its programs.
    pub(super) programs: f64,
    /// Seconds from SIGTERM until it had ended.
    pub(super) end: f64,
    /// Instructions that the verifier looked at, by program.
    pub(super) instructions: BTreeMap<String, u64>,
}

impl Row {
    pub(super) fn new(name: &'static str, append: &'static str, kernel: Kernel) -> Self {
        Self {
            name,
            append,
            kernel,
            cells: BTreeMap::new(),
        }
    }

    fn machine(&self) -> Machine {
        Machine {
            append: self.append.to_owned(),
            cpus: 2,
            memory: 1024,
            count_instructions: false,
        }
    }
}

/// Which tiers a kernel can, by name, each with the reason where it can't.
///
/// # Errors
/// When the guest can't be run, or does not come to its end.
pub(super) fn doctor(bench: &Bench, row: &Row) -> Result<BTreeMap<&'static str, Option<String>>> {
    let script = format!("{} doctor --json", quote(&bench.binary.to_string_lossy()));
    let (outcome, text, log) = match kept(bench, row, "doctor") {
        Some(text) => (None, text, String::new()),
        None => {
            let (outcome, text, log) = boot(bench, row, "doctor", script, DOCTOR)?;
            (Some(outcome), text, log)
        }
    };
    let report: Value = serde_json::from_str(&text).with_context(|| {
        format!(
            "`observer doctor` on {}: {outcome:?}\n{text}{log}",
            row.name
        )
    })?;
    let tiers = report["tiers"]
        .as_array()
        .context("doctor names no tiers")?;
    let find = |name: &'static str| {
        let tier = tiers.iter().find(|tier| tier["name"] == name);
        let tier = tier.with_context(|| format!("doctor does not know {name}"))?;
        let why_not = tier["why_not"].as_str().map(str::to_owned);
        Ok((name, why_not))
    };
    TIERS.into_iter().map(find).collect()
}

/// Runs the suite in a tier; a second time, loudly, where something failed. An emulated machine shares our cores with
/// others and stands still for seconds at times.
///
/// # Errors
/// When the guest can't be started.
pub(super) fn suite(bench: &Bench, row: &Row, tier: &'static str) -> Result<Cell> {
    if let Some(cell) = kept(bench, row, tier).map(|text| parse(&text))
        && cell.failures().is_empty()
    {
        eprintln!("{} {tier}: {} (as before)", row.name, cell.summary());
        return Ok(cell);
    }
    let cell = suite_once(bench, row, tier)?;
    let failed = cell.failures();
    if failed.is_empty() {
        return Ok(cell);
    }
    eprintln!(
        "!!! {} {tier} is tried again; what failed:\n  {}",
        row.name,
        failed.join("\n  ")
    );
    suite_once(bench, row, tier)
}

fn suite_once(bench: &Bench, row: &Row, tier: &'static str) -> Result<Cell> {
    let begun = Instant::now();
    let script = format!(
        "export OBSERVER_TEST_BINARY={} OBSERVER_TEST_ENV=/run OBSERVER_TEST_TIER={tier} \
         OBSERVER_TEST_XTASK={} \
         OBSERVER_TEST_PATIENCE={PATIENCE} PATH={} HOME=/root\nexec {}\n",
        quote(&bench.binary.to_string_lossy()),
        quote(&std::env::current_exe()?.to_string_lossy()),
        quote(&bench.path),
        quote(&bench.suite.to_string_lossy()),
    );
    let (outcome, text, log) = boot(bench, row, tier, script, SUITE)?;
    let cell = match outcome {
        Outcome::Ended { status: 0 | 1, .. } => parse(&text),
        Outcome::Ended { status, .. } => Cell::Broken(format!("the suite ended with {status}")),
        Outcome::TimedOut(_) => Cell::Broken(format!("stopped after {} s", SUITE.as_secs())),
        Outcome::Died(tail) => Cell::Broken(format!("the guest died:\n{tail}")),
    };
    let cell = match cell {
        Cell::Ran { behaviours, .. } if behaviours.is_empty() => {
            Cell::Broken(format!("the suite said nothing:\n{log}"))
        }
        cell => cell,
    };
    let seconds = begun.elapsed().as_secs_f64();
    eprintln!("{} {tier}: {} ({seconds:.0} s)", row.name, cell.summary());
    Ok(cell)
}

/// Where the output of a boot is kept, without its ending.
fn output(bench: &Bench, row: &Row, name: &str) -> PathBuf {
    let name = format!("{}-{name}", row.name.replace([',', ' '], "-"));
    // Names have dots.
    bench.output.join(name + ".")
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(ending);
    path.into()
}

/// What a boot before wrote that came to its end.
fn kept(bench: &Bench, row: &Row, name: &str) -> Option<String> {
    let path = output(bench, row, name);
    fs::read(with_ending(&path, "ended")).ok()?;
    fs::read_to_string(with_ending(&path, "jsonl")).ok()
}

/// Boots, and keeps what it wrote.
fn boot(
    bench: &Bench,
    row: &Row,
    name: &str,
    script: String,
    timeout: Duration,
) -> Result<(Outcome, String, String)> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let outcome = guest::run(Job {
        kernel: &row.kernel,
        machine: row.machine(),
        script,
        timeout,
        stdout: &mut stdout,
        stderr: &mut stderr,
    })?;
    let path = output(bench, row, name);
    fs::write(with_ending(&path, "jsonl"), &stdout)?;
    let mut log = String::from_utf8_lossy(&stderr).into_owned();
    if let Outcome::TimedOut(tail) | Outcome::Died(tail) = &outcome {
        log += &format!("{outcome:?}\n{tail}\n");
    }
    fs::write(with_ending(&path, "log"), &log)?;
    if matches!(outcome, Outcome::Ended { .. }) {
        fs::write(with_ending(&path, "ended"), "")?;
    }
    Ok((outcome, String::from_utf8_lossy(&stdout).into_owned(), log))
}

fn parse(text: &str) -> Cell {
    let (mut behaviours, mut load) = (Vec::new(), None);
    for line in text.lines() {
        let Ok(line) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        let word = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        if line["behaviour"].is_string() {
            behaviours.push(Behaviour {
                name: word("behaviour"),
                result: word("result"),
                reason: word("reason"),
            });
        }
        load = parse_load(&line["load"]).or(load);
    }
    Cell::Ran { behaviours, load }
}

fn parse_load(load: &Value) -> Option<Load> {
    let instructions = load["instructions"].as_object()?;
    let count = |(name, count): (&String, &Value)| Some((name.clone(), count.as_u64()?));
    Some(Load {
        programs: load["load_seconds"].as_f64()?,
        end: load["end_seconds"].as_f64()?,
        instructions: instructions.iter().filter_map(count).collect(),
    })
}

impl Cell {
    /// What is not as it must be, a line each.
    pub(super) fn failures(&self) -> Vec<String> {
        match self {
            Self::Unavailable(_) => Vec::new(),
            Self::Broken(reason) => vec![reason.clone()],
            Self::Ran { behaviours, .. } => behaviours
                .iter()
                .filter(|it| it.result == "fail")
                .map(|it| format!("{}: {}", it.name, it.reason))
                .collect(),
        }
    }

    /// In a few words.
    pub(super) fn summary(&self) -> String {
        match self {
            Self::Unavailable(reason) => reason.clone(),
            Self::Broken(reason) => reason.lines().next().unwrap_or_default().to_owned(),
            Self::Ran { behaviours, .. } => {
                let count = |result: &str| {
                    let of = behaviours.iter().filter(|it| it.result == result);
                    of.count()
                };
                let mut text = format!("{} of {} hold", count("pass"), behaviours.len());
                for (result, word) in [
                    ("fail", "fail"),
                    ("gap", "known gaps"),
                    ("skip", "can't be tried"),
                ] {
                    match count(result) {
                        0 => {}
                        some => text += &format!(", {some} {word}"),
                    }
                }
                text
            }
        }
    }
}
