//! `cargo xtask vm`: real distribution kernels, booted under software emulation with this machine's files.
//!
//! Comes in: kernels from Debian's packages, the host's root (read-only), a command. Goes out: the command's output
//! and exit status; from the whole matrix `docs/kernels.md`. Owns: `target/vm/`, every qemu and virtiofsd it starts.

mod cpio;
mod decompress;
mod fetch;
mod guest;
mod initramfs;
mod kernel;
mod machine;
mod matrix;
mod modules;
mod script;
mod share;
mod shell;
mod vmlinux;

use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::Result;
use clap::Subcommand;

use crate::debian;
pub(crate) use guest::{Job, Outcome, run as run_job};
pub(crate) use kernel::Kernel;
pub(crate) use machine::Machine;
pub(crate) use script::script;

/// Exit statuses of `vm run` that are not the command's own.
const TIMED_OUT: u8 = 124;
const DIED: u8 = 125;

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    matrix: matrix::MatrixOptions,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Subcommand)]
enum Action {
    /// Fetch kernels, all of the matrix without a version
    Fetch {
        /// Such as 6.12
        versions: Vec<String>,
    },
    /// Boot a kernel and run a command in it; its output and exit status are ours (124: timed out, 125: the guest died)
    Run {
        /// Such as 6.12
        version: String,
        #[command(flatten)]
        machine: Machine,
        /// Stop the guest after this many seconds
        #[arg(long, value_name = "S", default_value_t = 120)]
        timeout: u64,
        /// A program and its arguments, or one word that is a line for the shell
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Boot a kernel and give you a shell in it
    Shell {
        /// Such as 6.12
        version: String,
        #[command(flatten)]
        machine: Machine,
    },
}

/// Does what was asked for.
///
/// # Errors
/// When something can't be installed, fetched or started, or a cell of the matrix fails.
pub(crate) fn run(options: Options) -> Result<ExitCode> {
    let Some(action) = options.action else {
        return matrix::run(&options.matrix).map(|()| ExitCode::SUCCESS);
    };
    prepare()?;
    match action {
        Action::Fetch { versions } => {
            let all = versions.is_empty();
            for version in if all { matrix::versions() } else { versions } {
                let kernel = Kernel::get(&version)?;
                println!("{version} {}", kernel.release);
            }
            Ok(ExitCode::SUCCESS)
        }
        Action::Run {
            version,
            machine,
            timeout,
            command,
        } => run_command(&version, machine, timeout, &command),
        Action::Shell { version, machine } => {
            shell::run(&Kernel::get(&version)?, machine)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Installs what booting takes; quick when all is there.
///
/// # Errors
/// When something can't be installed.
pub(crate) fn prepare() -> Result<()> {
    debian::install(&[
        ("busybox", "busybox-static"),
        ("qemu-system-x86_64", "qemu-system-x86"),
        ("zstd", "zstd"),
        ("xz", "xz-utils"),
    ])?;
    if !share::is_installed() {
        debian::install(&[("virtiofsd", "virtiofsd")])?;
    }
    Ok(())
}

fn run_command(
    version: &str,
    machine: Machine,
    timeout: u64,
    command: &[String],
) -> Result<ExitCode> {
    let outcome = guest::run(Job {
        kernel: &Kernel::get(version)?,
        machine,
        script: script(command),
        timeout: Duration::from_secs(timeout),
        stdout: &mut std::io::stdout(),
        stderr: &mut std::io::stderr(),
    })?;
    Ok(ExitCode::from(match outcome {
        Outcome::Ended { status, .. } => status,
        Outcome::TimedOut(tail) => {
            eprintln!("the guest was stopped after {timeout} s; its console:\n{tail}");
            TIMED_OUT
        }
        Outcome::Died(tail) => {
            eprintln!("the guest died before the command ended; its console:\n{tail}");
            DIED
        }
    }))
}

/// Begins a command line for a child that must not outlive us, however we end.
fn dies_with_us() -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]);
    command
}
