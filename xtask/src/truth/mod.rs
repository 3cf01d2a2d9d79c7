//! `cargo xtask truth`: how many parents are right, how many are missing, and how many are wrong.
//!
//! Comes in: the daemon's binary and chains of real services. Goes out: a table, and `docs/truth.md`. Owns: every
//! process that it starts, each ended before it returns, and `target/truth/`.
//!
//! A chain is load → service → service → leaf, both services in the runtime under test. Every request carries a tag in
//! its path, and every service passes the tag on to those it asks, so the true parent of each span follows from the
//! paths alone (`path.rs`). No header is passed on. One daemon watches all rows of a runtime.
//!
//! ```text
//! cargo xtask truth                                     # everything; builds the daemon
//! cargo xtask truth --quick                             # few rows, a few minutes
//! cargo xtask truth --runtime go --case calls --concurrency 64 --connections keep
//! cargo xtask truth --binary FILE --runtime node-http   # a daemon that is built already
//! cargo xtask truth --no-floors                         # only wrong parents fail
//! cargo xtask truth --kernel 6.12 --tier fentry         # few rows in an emulated machine
//! ```
//!
//! What the daemon printed is in `target/truth/RUNTIME.jsonl`, each wrong edge in
//! `target/truth/RUNTIME.wrong.txt`, with the spans that were lost.

mod case;
mod chain;
mod guest;
mod judge;
#[cfg(test)]
mod judge_tests;
pub(crate) mod leaf;
mod load;
mod observer;
mod path;
mod plan;
mod report;
mod row;
mod runtimes;
mod service;
mod span;
mod table;

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::test::environment;
use crate::workspace;
use row::Connections;
use runtimes::Machine;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only these runtimes; `--list` names them
    #[arg(long = "runtime", value_name = "NAME")]
    runtimes: Vec<String>,
    #[command(flatten)]
    rows: Rows,
    /// Run in a guest with this kernel, under software emulation, instead of on this machine's: few rows, few requests
    #[arg(long, value_name = "VERSION")]
    kernel: Option<String>,
    /// The daemon's tier, as `observer run --tier`
    #[arg(long, default_value = "auto")]
    tier: String,
    /// Judge this daemon instead of building one
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Fail for wrong parents only, not for too few right ones
    #[arg(long)]
    no_floors: bool,
    /// Write docs/truth.md; with --kernel docs/truth-VERSION.md
    #[arg(long)]
    write: bool,
    /// Write what was found as JSON, instead of a table; everything is installed already
    #[arg(long, hide = true)]
    json: bool,
    /// Name runtimes and cases, and do nothing
    #[arg(long)]
    list: bool,
}

/// Which rows of a runtime.
#[derive(clap::Args)]
struct Rows {
    /// Only these cases; `--list` names them
    #[arg(long = "case", value_name = "NAME")]
    cases: Vec<String>,
    /// Only with this many requests at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    concurrency: Vec<u32>,
    /// Only with connections used like this
    #[arg(long)]
    connections: Option<Connections>,
    /// Few rows of each case, for every change
    #[arg(long)]
    quick: bool,
    /// Fewer and shorter ones yet, for an emulated machine
    #[arg(long, hide = true)]
    emulated: bool,
    /// Requests of the load in each row, instead of a number that grows with the concurrency
    #[arg(long, value_name = "N")]
    requests: Option<usize>,
}

impl Rows {
    /// The arguments that say the same to a guest.
    fn words(&self) -> Vec<String> {
        let mut words = vec!["--emulated".to_owned()];
        words.extend(self.cases.iter().map(|case| format!("--case={case}")));
        words.extend(
            self.concurrency
                .iter()
                .map(|n| format!("--concurrency={n}")),
        );
        words.extend(
            self.connections
                .map(|it| format!("--connections={}", it.as_str())),
        );
        words.extend(self.requests.map(|n| format!("--requests={n}")));
        words
    }
}

/// Runs the chains, prints the table, and fails when a parent is wrong or too few are right.
///
/// # Errors
/// Then, and when something can't be installed, built or started.
pub(crate) fn run(mut options: Options) -> Result<()> {
    options.rows.emulated |= options.kernel.is_some();
    let options = &options;
    let plan = plan::make(&options.runtimes, &options.rows)?;
    if options.list {
        print!("{}", plan::list());
        return Ok(());
    }
    let machine = Machine {
        environment: match options.json {
            true => environment::folder(),
            false => environment::prepare()?,
        },
        programs: workspace::root().join("tests/programs/truth"),
    };
    let binary = workspace::daemon(options.binary.as_deref(), workspace::Profile::Release)?;
    let folder = workspace::target().join("truth");
    std::fs::create_dir_all(&folder)?;
    if !options.json {
        for (runtime, _) in &plan {
            (runtime.prepare)(&machine)?;
        }
    }
    let (results, place) = match &options.kernel {
        Some(version) => guest::run(options, version, &binary, &plan)?,
        None => {
            let daemon = chain::Daemon {
                binary: &binary,
                tier: &options.tier,
                folder: &folder,
            };
            let mut results = Vec::new();
            for (runtime, rows) in &plan {
                results.extend(chain::run(&machine, &daemon, runtime, rows)?);
            }
            (results, report::Where::here())
        }
    };
    if options.json {
        println!("{}", guest::write(&results, &place));
    } else {
        print!("{}", table::text(&results));
    }
    if options.write {
        report::write(&results, &place, options.kernel.as_deref())?;
    }
    let failed = results
        .iter()
        .filter(|result| result.fails(!options.no_floors))
        .count();
    if failed > 0 {
        bail!("{failed} of {} rows failed", results.len());
    }
    Ok(())
}
