//! One of the demo's services: the whole program of a child process. Plain blocking sockets, a thread for each
//! connection, HTTP/1.1 with keep-alive; nothing in it knows of tracing.

mod http;
mod load;
mod random;
mod shop;

use std::{
    io::{self, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::ExitCode,
};

use anyhow::Context;
use clap::{Subcommand, ValueEnum};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

/// Arguments of the hidden command.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// The demo's process: the service ends with it
    #[arg(long)]
    parent: i32,
    /// Which service
    #[command(subcommand)]
    service: Service,
}

/// The services.
#[derive(Clone, Debug, Subcommand)]
enum Service {
    /// Takes orders; asks the other two
    Gateway {
        /// Where the catalog listens
        catalog: SocketAddr,
        /// Where the payments listen
        payments: SocketAddr,
    },
    /// Quick
    Catalog,
    /// Slow, and fails now and then
    Payments,
    /// Sends requests to the gateway
    Load {
        /// Where the gateway listens
        gateway: SocketAddr,
        /// Requests a second
        rate: u32,
    },
}

/// The services' names: of the hidden subcommands, and as `service.name`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Name {
    Gateway,
    Catalog,
    Payments,
    Load,
}

impl Name {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Catalog => "catalog",
            Self::Payments => "payments",
            Self::Load => "load",
        }
    }
}

/// Runs the service until its parent ends. Says `ADDRESS` and a newline on standard output when it listens.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .context("cannot tie the service to the demo")?;
    if getppid().map(Pid::as_raw_pid) != Some(arguments.parent) {
        // The demo ended before the line above took hold.
        return Ok(ExitCode::SUCCESS);
    }
    match arguments.service {
        Service::Gateway { catalog, payments } => {
            http::serve(&listen()?, || shop::Gateway::new(catalog, payments))
        }
        Service::Catalog => http::serve(&listen()?, shop::Catalog::default),
        Service::Payments => http::serve(&listen()?, shop::Payments::default),
        Service::Load { gateway, rate } => {
            say("started")?;
            load::run(gateway, rate)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A port that is free, on the loopback only, and tells the demo which.
fn listen() -> anyhow::Result<TcpListener> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen on the loopback")?;
    say(&listener.local_addr()?.to_string())?;
    Ok(listener)
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
