//! `cargo xtask bench --tiers`: the tiers side by side, in pairs with bare runs, within one boot of one kernel.
//!
//! A guest under software emulation compares tiers with each other and with bare, never with a real machine.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use super::traced::Bench;
use super::{Options, report};
use crate::vm::{self, Job, Kernel, Machine, Outcome};

/// What to measure where.
#[derive(clap::Args)]
pub(crate) struct TierOptions {
    /// Compare the tiers, in a guest with two processors, instead of measuring this machine
    #[arg(long)]
    pub(super) tiers: bool,
    /// The guest's kernel
    #[arg(
        long,
        value_name = "VERSION",
        default_value = "6.12",
        requires = "tiers"
    )]
    kernel: String,
    /// Compare the tiers on this machine's own kernel
    #[arg(long, requires = "tiers")]
    pub(super) here: bool,
    /// Trace nginx only, not wrk, too
    #[arg(long, requires = "tiers")]
    server_only: bool,
    /// Let the guest's clock count instructions instead of time: one pair says then what ten say otherwise
    #[arg(long, requires = "tiers", conflicts_with = "here")]
    instructions: bool,
}

/// A guest that takes longer hangs.
const TIMEOUT: Duration = Duration::from_secs(3600);

/// Boots, measures there, and prints.
///
/// # Errors
/// When the guest can't be run or the measurement in it fails.
pub(super) fn in_guest(options: &Options, binary: &Path) -> Result<()> {
    vm::prepare()?;
    let kernel = Kernel::get(&options.tiers.kernel)?;
    let mut words = vec![
        std::env::current_exe()?.to_string_lossy().into_owned(),
        "bench".to_owned(),
        "--tiers".to_owned(),
        "--here".to_owned(),
        "--json".to_owned(),
        format!("--pairs={}", options.pairs),
        format!("--seconds={}", options.seconds),
        format!("--binary={}", binary.display()),
    ];
    if options.tiers.server_only {
        words.push("--server-only".to_owned());
    }
    if options.tls {
        words.push("--tls".to_owned());
    }
    let mut output = Vec::new();
    let outcome = vm::run_job(Job {
        kernel: &kernel,
        machine: Machine {
            append: String::new(),
            cpus: 2,
            memory: 1024,
            count_instructions: options.tiers.instructions,
        },
        script: vm::script(&words),
        timeout: TIMEOUT,
        stdout: &mut output,
        stderr: &mut std::io::stderr(),
    })?;
    match outcome {
        Outcome::Ended { status: 0, .. } => {}
        outcome => bail!("measuring in the guest failed: {outcome:?}"),
    }
    let found: Value = serde_json::from_slice(&output).context("reading what the guest wrote")?;
    print(options, &found)
}

/// Measures on this machine's own kernel, and prints.
///
/// # Errors
/// When nginx, wrk or the daemon fails, or no tier works here.
pub(super) fn here(bench: &Bench<'_>) -> Result<()> {
    let doctor = Command::new(bench.binary)
        .args(["doctor", "--json"])
        .output()
        .with_context(|| format!("starting {}", bench.binary.display()))?;
    let doctor: Value =
        serde_json::from_slice(&doctor.stdout).context("reading doctor's report")?;
    let selectors: &[&str] = if bench.options.tiers.server_only {
        &["--exe=nginx"]
    } else {
        &[]
    };
    let (mut tiers, mut refused) = (Map::new(), BTreeMap::new());
    for tier in doctor["tiers"]
        .as_array()
        .context("doctor names no tiers")?
    {
        let name = tier["name"].as_str().context("a tier without a name")?;
        if let Some(why_not) = tier["why_not"].as_str() {
            refused.insert(name, why_not);
            continue;
        }
        let flag = format!("--tier={name}");
        let arguments: Vec<&str> = [flag.as_str()]
            .into_iter()
            .chain(selectors.iter().copied())
            .collect();
        let scenario = bench.run(name, &arguments)?;
        tiers.insert(name.to_owned(), report::scenario(&scenario));
    }
    if tiers.is_empty() {
        bail!("no tier works here: {refused:?}");
    }
    let found = json!({"kernel": doctor["kernel"], "tiers": tiers, "refused": refused});
    print(bench.options, &found)
}

/// One row: what, its key, the factor to the unit shown, digits after the point.
const ROWS: [(&str, &str, f64, usize); 8] = [
    ("bare requests/s", "bare_requests_per_second", 1.0, 0),
    ("traced requests/s", "traced_requests_per_second", 1.0, 0),
    ("throughput, traced : bare", "throughput_ratio", 1.0, 3),
    (
        "kernel µs an exchange",
        "kernel_micros_per_exchange",
        1.0,
        1,
    ),
    (
        "daemon CPU µs an exchange",
        "daemon_micros_per_exchange",
        1.0,
        1,
    ),
    ("bare p99, ms", "bare_p99_micros", 1e-3, 1),
    ("p99, traced : bare", "p99_ratio", 1.0, 2),
    ("exchanges a request", "exchanges_per_request", 1.0, 3),
];

fn print(options: &Options, found: &Value) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    if options.json {
        return Ok(writeln!(stdout, "{found:#}")?);
    }
    let tiers = found["tiers"].as_object().context("no tiers")?;
    let kernel = found["kernel"].as_str().unwrap_or("?");
    let (pairs, seconds) = (options.pairs, options.seconds);
    let traced = if options.tiers.server_only {
        "nginx traced"
    } else {
        "nginx and wrk traced"
    };
    let tls = if options.tls { " over TLS" } else { "" };
    let clock = if options.tiers.instructions {
        "; all times in instructions of 2 ns"
    } else {
        ""
    };
    writeln!(
        stdout,
        "{kernel}; nginx, 1 worker, wrk -t1 -c16{tls}; {traced}; medians of {pairs} pairs of {seconds} s{clock}\n"
    )?;
    write!(stdout, "{:<28}", "")?;
    for name in tiers.keys() {
        write!(stdout, "{name:>10}")?;
    }
    writeln!(stdout)?;
    for (label, key, factor, digits) in ROWS {
        write!(stdout, "{label:<28}")?;
        for tier in tiers.values() {
            let value = tier[key].as_f64().unwrap_or(f64::NAN) * factor;
            write!(stdout, "{value:>10.digits$}")?;
        }
        writeln!(stdout)?;
    }
    for (name, why_not) in found["refused"].as_object().into_iter().flatten() {
        writeln!(stdout, "{name}: {}", why_not.as_str().unwrap_or_default())?;
    }
    Ok(())
}
