//! End-to-end tests: real servers that know nothing of tracing, real clients, the daemon as users run it.
//!
//! Comes in: the daemon's binary and the folder that `cargo xtask test` prepares (`OBSERVER_TEST_BINARY`,
//! `OBSERVER_TEST_ENV`), one that knows a protocol more (`OBSERVER_TEST_MADE_UP`), and `cargo xtask` itself (`OBSERVER_TEST_XTASK`). Goes out: panics. Owns: every process that a
//! test starts, each ended when its guard drops.
//!
//! A test reads: enter the [`Environment`], start a [`Server`], start the [`Observer`] with selectors for that server
//! only, send requests, stop the daemon, compare. Nothing sleeps where it can wait for a condition.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "this crate is tests: they panic, they don't return errors"
)]

mod client;
mod environment;
mod folder;
mod hosts;
mod loaded;
mod observer;
mod page;
mod programs;
mod receiver;
mod recorder;
mod secure;
mod seen;
mod server;
mod span;
mod tls;
mod tls_programs;
mod wait;
mod wire;

pub use client::{Answer, Client, get};
pub use environment::Environment;
pub use folder::Folder;
pub use hosts::{Host, Hosts};
pub use loaded::{Counting, InKernel, left_in_kernel};
pub use observer::{Observer, Refused, refused, tier};
pub use page::Page;
pub use programs::{nginx, nginx_with};
pub use receiver::Receiver;
pub use recorder::{Received, Recorder};
pub use secure::{Got, SIZES, files, got, nginx_files};
pub use seen::{CONNECTIONS, Seen, exchanges, paths, paths_and_uploads, said, sorted};
pub use server::{Server, free_port};
pub use span::Span;
pub use tls::{Certificate, openssl_client};
pub use tls_programs::packaged;
pub use wait::{patience, until};
pub use wire::{Segment, Wire};
