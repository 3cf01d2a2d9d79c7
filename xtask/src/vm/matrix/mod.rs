//! The kernel matrix: the behaviour suite in every tier on every kernel.
//!
//! Comes in: the release build of the daemon, the suite, the kernels. Goes out: `docs/kernels.md`, a line a cell on
//! stderr, an error when a cell that must pass does not. Owns: `target/vm/matrix/`, the output of every boot.
//!
//! A kernel first boots to say which tiers it can (`observer doctor`), then once for each of them. An emulated machine
//! uses one core of ours, so as many run at once as we have.

mod cell;
mod compare;
mod expected;
mod made;
mod page;
mod queue;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::Kernel;
use crate::{command, debian, workspace};
use cell::{Bench, Cell, Row};
use made::{Extent, Made};

/// What to run, and what to do with the result.
#[derive(clap::Args)]
pub(crate) struct MatrixOptions {
    /// Only this kernel (repeatable); the page is not written then
    #[arg(long = "kernel", value_name = "VERSION")]
    kernels: Vec<String>,
    /// Only this tier (repeatable); the page is not written then
    #[arg(long = "tier", value_name = "TIER")]
    tiers: Vec<String>,
    /// Use this daemon instead of building one
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Don't run again what the run before brought to its end and passed. With a daemon that differs in what those cells
    /// show, the page lies
    #[arg(long, conflicts_with = "check")]
    resume: bool,
    /// Fail where docs/kernels.md does not say what was found, instead of writing it
    #[arg(long)]
    check: bool,
    /// With --check: two kernels where the eBPF object or the loader changed since docs/kernels.md was made, else none
    #[arg(long, requires = "check", conflicts_with_all = ["kernels", "tiers"])]
    changed: bool,
}

/// A kernel, and words for its command line.
struct Column {
    version: &'static str,
    append: &'static str,
    /// As it is called in the table.
    name: &'static str,
}

/// Debian 11, 12, 13, the first kernels with `tcp_sendmsg_locked`, the newest. Control groups are mounted as each
/// generation had them.
const COLUMNS: [Column; 6] = [
    column("5.10", "5.10", "observer.cgroups=v1"),
    column("6.1", "6.1", "observer.cgroups=hybrid"),
    column("6.12", "6.12", ""),
    column("6.18", "6.18", ""),
    column("7.2", "7.2", ""),
    column("6.12, lockdown", "6.12", "lockdown=confidentiality"),
];

/// The oldest, and one in the middle: what `--check --changed` boots, by their names in the table.
const SAMPLE: [&str; 2] = ["5.10", "6.12"];

const fn column(name: &'static str, version: &'static str, append: &'static str) -> Column {
    Column {
        version,
        append,
        name,
    }
}

/// The versions that the matrix boots.
pub(super) fn versions() -> Vec<String> {
    let mut versions: Vec<String> = COLUMNS.iter().map(|it| it.version.to_owned()).collect();
    versions.sort();
    versions.dedup();
    versions
}

/// Runs the matrix.
///
/// # Errors
/// When something can't be built or booted, or a cell that must pass does not.
pub(crate) fn run(options: &MatrixOptions) -> Result<()> {
    let file = workspace::root().join("docs/kernels.md");
    let committed = fs::read_to_string(&file).unwrap_or_default();
    let made = Made::of_tree()?;
    if options.changed {
        match made.extent_since(Made::of_page(&committed).as_ref()) {
            Extent::Nothing => {
                println!(
                    "no kernel is booted: docs/kernels.md was made with this eBPF object and this loader"
                );
                return Ok(());
            }
            Extent::Some(reason) => {
                println!("booting {}, since {reason}", SAMPLE.join(" and "));
            }
        }
    }
    super::prepare()?;
    let bench = prepare(options)?;
    let mut rows = rows(options)?;
    queue::run(&bench, &mut rows, &options.tiers)?;
    let mut problems: Vec<String> = rows.iter().flat_map(expected::failures).collect();
    let page = page::render(&rows, &made);
    let whole = options.kernels.is_empty() && options.tiers.is_empty();
    if options.check && whole {
        problems.extend(compare::differences(&committed, &page, !options.changed));
    } else if whole {
        fs::write(&file, &page).with_context(|| file.display().to_string())?;
    } else {
        println!("{page}");
    }
    if !problems.is_empty() {
        bail!(
            "{} problems; all output is below {}\n  {}",
            problems.len(),
            bench.output.display(),
            problems.join("\n  ")
        );
    }
    let ran = rows.iter().flat_map(|row| row.cells.values());
    let ran = ran.filter(|cell| matches!(cell, Cell::Ran { .. })).count();
    println!("{ran} cells of kernel and tier pass");
    Ok(())
}

/// The kernels that were asked for, nothing known of them yet.
fn rows(options: &MatrixOptions) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for column in &COLUMNS {
        let wanted = match options.changed {
            true => SAMPLE.contains(&column.name),
            false => {
                options.kernels.is_empty() || options.kernels.iter().any(|it| it == column.version)
            }
        };
        if wanted {
            let kernel = Kernel::get(column.version)?;
            rows.push(Row::new(column.name, column.append, kernel));
        }
    }
    if rows.is_empty() {
        bail!(
            "the matrix has none of these kernels, only {}",
            versions().join(", ")
        );
    }
    Ok(rows)
}

/// Installs and builds.
fn prepare(options: &MatrixOptions) -> Result<Bench> {
    debian::install(&[
        ("bpftool", "bpftool"),
        ("dnsmasq", "dnsmasq-base"),
        ("ip", "iproute2"),
        ("nginx", "nginx-light"),
        ("nsenter", "util-linux"),
        ("openssl", "openssl"),
        ("python3", "python3"),
        ("unshare", "util-linux"),
    ])?;
    let binary = workspace::daemon(options.binary.as_deref(), workspace::Profile::Release)?;
    command::run(workspace::cargo().args(["build", "--package", "observer-tests", "--bins"]))?;
    let output = workspace::target().join("vm/matrix");
    if output.exists() && !options.resume {
        fs::remove_dir_all(&output)?;
    }
    fs::create_dir_all(&output)?;
    Ok(Bench {
        binary,
        suite: workspace::target().join("debug/behaviours"),
        path: command::path_to_python()?.to_string_lossy().into_owned(),
        output,
    })
}
