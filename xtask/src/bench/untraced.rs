//! The cost to processes that have nothing to do with what is traced.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Result, bail};

use super::observer::Observer;
use super::statistics::median;
use super::traced::Bench;

/// One workload: its time without the daemon, and with it over without.
pub(super) struct Workload {
    pub(super) name: &'static str,
    /// Median seconds without the daemon.
    pub(super) bare_seconds: f64,
    /// Median over the pairs.
    pub(super) ratio: f64,
}

/// Small system calls that move no socket's byte, and a walk over many files. The daemon traces everything.
///
/// # Errors
/// When a workload or the daemon fails.
pub(super) fn run(bench: &Bench<'_>) -> Result<Vec<Workload>> {
    let folder = std::env::temp_dir().join(format!("observer-bench-files-{}", std::process::id()));
    let workloads = files(&folder).and_then(|()| measure(bench, &folder));
    fs::remove_dir_all(&folder)?;
    workloads
}

fn measure(bench: &Bench<'_>, folder: &Path) -> Result<Vec<Workload>> {
    let dd = || {
        let mut dd = Command::new("dd");
        dd.args(["if=/dev/zero", "of=/dev/null", "bs=1", "count=1000000"]);
        dd.arg("status=none");
        dd
    };
    let walk = || {
        let mut find = Command::new("find");
        find.arg(folder)
            .args(["-type", "f", "-exec", "cat", "{}", "+"]);
        find
    };
    Ok(vec![
        pairs(bench, "dd bs=1 (2 million calls)", &dd)?,
        pairs(bench, "find and cat of 20,000 files", &walk)?,
    ])
}

fn pairs(
    bench: &Bench<'_>,
    name: &'static str,
    workload: &dyn Fn() -> Command,
) -> Result<Workload> {
    seconds(workload)?;
    let mut pairs = Vec::new();
    for _ in 0..bench.options.pairs {
        let bare = seconds(workload)?;
        let observer = Observer::start(bench.binary, bench.sink, &[])?;
        let beside = seconds(workload)?;
        observer.stop()?;
        pairs.push((bare, beside));
    }
    let workload = Workload {
        name,
        bare_seconds: median(pairs.iter().map(|(bare, _)| *bare)),
        ratio: median(pairs.iter().map(|(bare, beside)| beside / bare)),
    };
    eprintln!("{name}: {:.3}", workload.ratio);
    Ok(workload)
}

fn seconds(workload: &dyn Fn() -> Command) -> Result<f64> {
    let mut program = workload();
    program.stdout(Stdio::null());
    let began = Instant::now();
    let status = program.status()?;
    if !status.success() {
        bail!("{program:?} failed: {status}");
    }
    Ok(began.elapsed().as_secs_f64())
}

/// 20,000 files of 2 KB in 100 folders.
fn files(folder: &Path) -> Result<()> {
    for part in 0..100 {
        let part = folder.join(part.to_string());
        fs::create_dir_all(&part)?;
        for file in 0..200 {
            fs::write(part.join(file.to_string()), [b'\n'; 2048])?;
        }
    }
    Ok(())
}
