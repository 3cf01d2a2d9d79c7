//! `cargo xtask fuzz`: the protocol parsers' fuzz targets, on the stable compiler.
//!
//! Comes in: the targets in `observer-protocol/fuzz`. Goes out: an error with the input that broke a parser. Owns:
//! `target/fuzz/`, where the corpus grows from run to run.
//!
//! libFuzzer needs the compiler's coverage instrumentation, which stable has, and no sanitizer: the parsers forbid
//! unsafe code, so what can go wrong is a panic, a hang, or memory without bound.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{command, debian, workspace};

/// What cargo-fuzz passes for `--sanitizer none` (its `project.rs`).
const COVERAGE: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions -Ccodegen-units=1";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// How long each target runs, in seconds
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Only this target
    target: Option<String>,
}

/// Builds and runs the targets.
///
/// # Errors
/// When one can't be built, is not there, or found an input that breaks a parser; libFuzzer says where it wrote it.
pub(crate) fn run(options: &Options) -> Result<()> {
    // libFuzzer itself is C++.
    debian::install(&[("g++", "g++")])?;
    let folder = workspace::root().join("observer-protocol/fuzz");
    let mut targets = Vec::new();
    for entry in fs::read_dir(folder.join("fuzz_targets"))? {
        let name = entry?.path();
        let name = name.file_stem().context("a target without a name")?;
        targets.push(name.to_string_lossy().into_owned());
    }
    targets.sort();
    if let Some(wanted) = &options.target {
        targets.retain(|target| target == wanted);
    }
    if targets.is_empty() {
        bail!("no such fuzz target in {}", folder.display());
    }
    let out = workspace::target().join("fuzz");
    command::run(
        workspace::cargo()
            .current_dir(&folder)
            .args(["build", "--release", "--locked", "--target-dir"])
            .arg(&out)
            // Build scripts and libFuzzer itself must not be instrumented.
            .args(["--target", host()?.as_str()])
            .env("RUSTFLAGS", COVERAGE),
    )?;
    for target in targets {
        let corpus = out.join("corpus").join(&target);
        let artifacts = out.join("artifacts").join(&target);
        fs::create_dir_all(&corpus)?;
        fs::create_dir_all(&artifacts)?;
        let program = out.join(host()?).join("release").join(&target);
        command::run(
            Command::new(program)
                .arg(corpus)
                .arg(format!("-artifact_prefix={}/", artifacts.display()))
                .arg(format!("-max_total_time={}", options.seconds))
                .args(["-timeout=10", "-rss_limit_mb=1024", "-print_final_stats=1"]),
        )?;
    }
    Ok(())
}

/// The machine's target triple, as its compiler names it.
fn host() -> Result<String> {
    let version = command::output(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not name its host")?.to_owned())
}
