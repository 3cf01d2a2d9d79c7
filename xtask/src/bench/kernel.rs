//! Time that the kernel spends in the daemon's programs, as the kernel itself counts it.

use std::collections::HashSet;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::command;

const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// Counting is on while this lives. It costs a little itself, so it is on in runs of its own only.
pub(super) struct Statistics {
    before: String,
}

impl Statistics {
    /// Switches counting on.
    ///
    /// # Errors
    /// Without the right to set `kernel.bpf_stats_enabled`.
    pub(super) fn enable() -> Result<Self> {
        let before = fs::read_to_string(SWITCH).with_context(|| format!("reading {SWITCH}"))?;
        fs::write(SWITCH, "1").with_context(|| format!("writing {SWITCH}"))?;
        Ok(Self { before })
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        if let Err(error) = fs::write(SWITCH, &self.before) {
            eprintln!("{SWITCH} stays on: {error}");
        }
    }
}

/// The ids of all programs that are loaded now.
///
/// # Errors
/// When `bpftool` fails.
pub(super) fn loaded() -> Result<HashSet<u64>> {
    Ok(programs()?.iter().filter_map(id).collect())
}

/// Nanoseconds that all programs outside `others` have run so far.
///
/// # Errors
/// When `bpftool` fails.
pub(super) fn run_time(others: &HashSet<u64>) -> Result<f64> {
    let time = |program: &Value| program["run_time_ns"].as_f64();
    Ok(programs()?
        .iter()
        .filter(|program| id(program).is_some_and(|id| !others.contains(&id)))
        .filter_map(time)
        .sum())
}

fn id(program: &Value) -> Option<u64> {
    program["id"].as_u64()
}

fn programs() -> Result<Vec<Value>> {
    let text = command::output(Command::new("bpftool").args(["-j", "prog", "show"]))?;
    serde_json::from_str(&text).context("reading what `bpftool -j prog show` wrote")
}
