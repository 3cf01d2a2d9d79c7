//! `cargo xtask mutants`: whether the protocol parsers' tests would notice a mistake.
//!
//! Comes in: `observer-protocol`, of which cargo-mutants makes copies with one small mistake each (an operator turned
//! around, a function that returns a constant), and runs the crate's tests on each. Goes out: how many each protocol's
//! folder catches, and an error below 95 %. Owns: `target/mutants/`, the tool's notes on each mutant.

mod tally;

use std::fs;

use anyhow::{Context, Result, bail};

use crate::{command, workspace};

const PACKAGE: &str = "observer-protocol";
const TOOL_VERSION: &str = "27.1.0";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only these protocols, such as `dns`; all without one
    protocols: Vec<String>,
    /// Only the K-th of N parts, such as `0/8`: a folder then fails when this part alone has more misses than the whole
    /// folder may have
    #[arg(long, value_name = "K/N")]
    shard: Option<String>,
    /// How many mutants are built and tested at once
    #[arg(long, default_value_t = 2)]
    jobs: usize,
}

/// Makes the mutants and runs the tests on each.
///
/// # Errors
/// When cargo-mutants can't be installed or run, the tests fail without any mistake, or a folder's tests catch too few.
pub(crate) fn run(options: &Options) -> Result<()> {
    prepare()?;
    let filters = filters(&options.protocols)?;
    let all = tally::listed(&command::output(
        workspace::cargo()
            .args(["mutants", "--list", "--json", "--package", PACKAGE])
            .args(&filters),
    )?)?;
    let output = workspace::target().join("mutants");
    fs::create_dir_all(&output)?;
    let mut mutants = workspace::cargo();
    mutants
        .args([
            "mutants",
            "--package",
            PACKAGE,
            "--no-times",
            "--colors=never",
        ])
        .args(&filters)
        .args(["--jobs", &options.jobs.to_string()])
        .arg("--output")
        .arg(&output);
    if let Some(shard) = &options.shard {
        // Every N-th, so that a part has mutants of every file.
        mutants.args(["--shard", shard, "--sharding", "round-robin"]);
    }
    // Each copy of the sources has a target folder of its own.
    mutants.env_remove("CARGO_TARGET_DIR");
    // Examples in documentation take longest and find least.
    mutants.args(["--", "--lib", "--tests"]);
    let status = mutants.status().context("starting cargo mutants")?;
    // 2: some were missed, 3: some ran into the time limit. Both are counted below.
    if !matches!(status.code(), Some(0 | 2 | 3)) {
        bail!("cargo mutants failed: {status}");
    }
    let outcomes = output.join("mutants.out/outcomes.json");
    let text = fs::read_to_string(&outcomes).with_context(|| outcomes.display().to_string())?;
    let tally = tally::Tally::new(&all, &text)?;
    print!("{tally}");
    let short = tally.short();
    if !short.is_empty() {
        bail!(
            "tests catch less than {} % of the mutants of {}; what they missed stands in {}",
            tally::WANTED,
            short.join(", "),
            output.join("mutants.out/missed.txt").display()
        );
    }
    Ok(())
}

/// Which files are changed: of some protocols, or all that are no test and no test's tool.
fn filters(protocols: &[String]) -> Result<Vec<String>> {
    let sources = format!("{PACKAGE}/src");
    let mut filters = vec!["--exclude".to_owned(), format!("{sources}/fuzzing.rs")];
    for protocol in protocols {
        let folder = workspace::root().join(&sources).join(protocol);
        if !folder.is_dir() && !folder.with_extension("rs").is_file() {
            bail!("{sources} has no protocol `{protocol}`");
        }
        for files in [format!("{protocol}.rs"), format!("{protocol}/**")] {
            filters.push("--file".to_owned());
            filters.push(format!("{sources}/{files}"));
        }
    }
    Ok(filters)
}

/// Installs cargo-mutants, unless it is there.
fn prepare() -> Result<()> {
    let installed = command::output(workspace::cargo().args(["mutants", "--version"])).ok();
    let version = installed
        .as_deref()
        .and_then(|it| it.split_whitespace().nth(1));
    if version == Some(TOOL_VERSION) {
        return Ok(());
    }
    eprintln!("installing cargo-mutants {TOOL_VERSION} (a few minutes)");
    command::run(workspace::cargo().args([
        "install",
        "cargo-mutants",
        "--version",
        TOOL_VERSION,
        "--locked",
        "--force",
    ]))
}
