//! `cargo xtask test`: everything, from unit tests to real servers under a real kernel.
//!
//! Comes in: the work tree. Goes out: the test runner's own summary as the last lines. Owns: `target/test-env/`.

mod ability;
pub(crate) mod environment;
mod fresh;
mod limit;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{
    command,
    dist::executable::FEATURES,
    workspace::{self, Profile},
};
use ability::EndToEnd;
pub(crate) use limit::{ProgramOptions, run as run_program};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Handed to the test runner (cargo nextest where it is there, else cargo test), e.g. `-- -E 'test(nginx)'`
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Installs what the tests need, builds the daemon as users get it, and runs all tests.
///
/// # Errors
/// When we are not root, something can't be installed or built, a second build compiles something, a test fails, or, in
/// CI, the kernel can't trace.
pub(crate) fn run(options: &Options) -> Result<()> {
    if std::fs::metadata("/proc/self")?.uid() != 0 {
        bail!(
            "`cargo xtask test` loads kernel programs and installs packages, so it needs root; \
             `cargo test` runs what needs no root"
        );
    }
    let environment = environment::prepare()?;
    let made_up = made_up(&environment)?;
    // The e2e tests measure durations and counts under load: the build that users get, not the debug one.
    let binary = workspace::daemon(None, Profile::Release)?;
    fresh::check()?;

    let doctor = Command::new(&binary)
        .arg("doctor")
        .output()
        .with_context(|| format!("starting {}", binary.display()))?;
    let report = String::from_utf8_lossy(&doctor.stdout);
    let mut tests = runner()?;
    match ability::decide(doctor.status.success(), std::env::var_os("CI").as_deref()) {
        EndToEnd::Run => {
            tests
                .env("PATH", command::path_to_python()?)
                .env("OBSERVER_TEST_BINARY", &binary)
                .env("OBSERVER_TEST_MADE_UP", &made_up)
                .env("OBSERVER_TEST_XTASK", std::env::current_exe()?)
                .env("OBSERVER_TEST_ENV", &environment);
        }
        EndToEnd::Skip => skipped(&report),
        EndToEnd::Fail => bail!(
            "this kernel can't trace, so the end-to-end tests can't run, and in CI (the variable CI is set) they must; \
             `observer doctor` says:\n{report}"
        ),
    }
    tests.args(&options.arguments);
    command::run(&mut tests)
}

/// Builds a daemon that knows a protocol that nobody speaks, too, and puts it aside: the next build writes where this one did.
fn made_up(environment: &Path) -> Result<PathBuf> {
    command::run(workspace::build_daemon(Profile::Release).args(["--features", "made-up"]))?;
    let built = workspace::binary(Profile::Release);
    let aside = environment.join("observer-made-up");
    std::fs::copy(&built, &aside).with_context(|| format!("copying {}", built.display()))?;
    Ok(aside)
}

/// With the features of what is shipped: unit tests of what only they have run, and all others on the same build.
///
/// nextest where it is installed: it gives every test its own process, and says which ones hang.
///
/// # Errors
/// When our own executable, which limits `cargo test`, is not known.
fn runner() -> Result<Command> {
    let mut cargo = workspace::cargo();
    let features = ["--features".to_owned(), format!("observer/{FEATURES}")];
    if command::succeeds(workspace::cargo().args(["nextest", "--version"])) {
        cargo.args(["nextest", "run", "--workspace"]).args(features);
    } else {
        // Without it, the first program with a failure hides what the others say.
        cargo
            .args(["test", "--workspace", "--no-fail-fast"])
            .args(features);
        limit::install(&mut cargo)?;
    }
    Ok(cargo)
}

fn skipped(report: &str) {
    eprintln!(
        "!!! END-TO-END TESTS ARE SKIPPED: `observer doctor` says that this kernel can't trace."
    );
    for line in report.lines() {
        eprintln!("!!!   {line}");
    }
}
