//! `cargo xtask bench`: what tracing costs, in paired runs on this machine.
//!
//! Comes in: the daemon as it is packaged (the `dist` profile), nginx and wrk. Goes out: a table or JSON of medians and ratios.
//! Owns: every process that it starts, each ended before it returns.
//!
//! A run with the daemon always stands between two without it, so that a machine that gets slower or faster while
//! we measure moves both sides. Ratios are taken within a pair, and the median over the pairs is reported.

mod http;
mod kernel;
mod load;
mod observer;
mod pipeline;
mod report;
mod server;
pub(crate) use http::Page;
pub(crate) use observer::free_address;
pub(crate) use server::{Nginx, terminate};
mod sink;
mod statistics;
mod tiers;
mod traced;
mod untraced;

use std::path::PathBuf;

use anyhow::Result;

use crate::{debian, workspace};
use load::Connections;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Runs with and without the daemon, of each kind
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pairs: u32,
    /// Length of one load run, in seconds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// One JSON object on stdout instead of the table
    #[arg(long)]
    json: bool,
    /// Measure this daemon instead of building one
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// nginx and wrk speak TLS to each other: over kept connections, and over one for each request
    #[arg(long, conflicts_with = "pipeline")]
    tls: bool,
    /// Replay ring records on one core instead: exchanges a second and instructions an exchange, for each protocol
    #[arg(long, conflicts_with_all = ["tiers", "json", "binary"])]
    pipeline: bool,
    #[command(flatten)]
    tiers: tiers::TierOptions,
}

/// Measures and prints.
///
/// # Errors
/// When a program can't be installed, built or started, or answers something that can't be read.
pub(crate) fn run(options: &Options) -> Result<()> {
    if options.pipeline {
        return pipeline::run();
    }
    debian::install(&[
        ("bpftool", "bpftool"),
        ("nginx", "nginx-light"),
        ("openssl", "openssl"),
        ("wrk", "wrk"),
    ])?;
    let binary = workspace::daemon(options.binary.as_deref(), workspace::Profile::Dist)?;
    if options.tiers.tiers && !options.tiers.here {
        return tiers::in_guest(options, &binary);
    }
    let sink = sink::Sink::start()?;
    let nginx = server::Nginx::start(options.tls)?;
    let bench = traced::Bench {
        options,
        binary: &binary,
        sink: sink.address(),
        nginx: &nginx,
        connections: Connections::Kept,
    };
    if options.tiers.here {
        return tiers::here(&bench);
    }
    let (scenarios, untraced) = if options.tls {
        let fresh = traced::Bench {
            connections: Connections::Fresh,
            ..bench
        };
        let scenarios = [
            ("kept", bench.run("kept connections", &[])?),
            ("fresh", fresh.run("a connection each", &[])?),
        ];
        (scenarios, Vec::new())
    } else {
        let scenarios = [
            (
                "server only",
                bench.run("server only", &["--exe", "nginx"])?,
            ),
            ("both ends", bench.run("both ends", &[])?),
        ];
        (scenarios, untraced::run(&bench)?)
    };
    let report = report::Report {
        pairs: options.pairs,
        seconds: options.seconds,
        tls: options.tls,
        scenarios,
        untraced,
    };
    if options.json {
        println!("{:#}", report.json());
    } else {
        print!("{}", report.table());
    }
    Ok(())
}
