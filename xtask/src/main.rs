//! The project's own commands: `cargo xtask <command>`.
//!
//! Comes in: the work tree and the machine as they are. Goes out: a built eBPF object, a machine that can run the
//! tests, a measured cost. Owns: everything below `target/` that is not cargo's, and the committed object.

mod bench;
mod chart;
mod cluster;
mod command;
mod debian;
mod dist;
mod ebpf;
mod fuzz;
mod image;
mod mutants;
mod test;
mod truth;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Build, test and measure observer.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build the kernel programs and write the object that the daemon embeds
    Ebpf(ebpf::Options),
    /// Measure what tracing costs nginx under load, and processes that are not traced
    Bench(bench::Options),
    /// Check the Helm chart and render it, for examples and for clusters without Helm
    Chart(chart::Options),
    /// Run the tests that need a Kubernetes API server, against one that is built from its modules (as root)
    Cluster(cluster::Options),
    /// Make the packages: .deb, .rpm, tarball, bill of materials, checksums
    Dist(dist::Options),
    /// Make an OCI image with nothing in it but the daemon; no container engine is needed
    Image(image::Options),
    /// Look for inputs that break the protocol parsers
    Fuzz(fuzz::Options),
    /// See whether the protocol parsers' tests notice mistakes
    Mutants(mutants::Options),
    /// Install what the tests need, build the daemon, and run all tests (as root)
    Test(test::Options),
    #[command(hide = true)]
    TestProgram(test::ProgramOptions),
    /// Run chains of real services whose true parents are known, and count right, missing and wrong ones (as root)
    Truth(truth::Options),
    #[command(hide = true)]
    TruthLeaf(truth::leaf::Options),
    /// Run the behaviour suite on real kernels in virtual machines, or anything else in one of them
    #[command(args_conflicts_with_subcommands = true)]
    Vm(vm::Options),
}

fn main() -> ExitCode {
    if let Some(code) = ebpf::run_as_compiler() {
        return code;
    }
    let result = match Cli::parse().task {
        Task::Ebpf(options) => ebpf::run(&options).map(|()| ExitCode::SUCCESS),
        Task::Bench(options) => bench::run(&options).map(|()| ExitCode::SUCCESS),
        Task::Chart(options) => chart::run(&options).map(|()| ExitCode::SUCCESS),
        Task::Cluster(options) => cluster::run(&options).map(|()| ExitCode::SUCCESS),
        Task::Dist(options) => dist::run(&options).map(|()| ExitCode::SUCCESS),
        Task::Image(options) => image::run(&options).map(|()| ExitCode::SUCCESS),
        Task::Fuzz(options) => fuzz::run(&options).map(|()| ExitCode::SUCCESS),
        Task::Mutants(options) => mutants::run(&options).map(|()| ExitCode::SUCCESS),
        Task::Test(options) => test::run(&options).map(|()| ExitCode::SUCCESS),
        Task::TestProgram(options) => test::run_program(&options),
        Task::Truth(options) => truth::run(options).map(|()| ExitCode::SUCCESS),
        Task::TruthLeaf(options) => truth::leaf::run(&options).map(|()| ExitCode::SUCCESS),
        Task::Vm(options) => vm::run(options),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }
}
