//! observer traces services that carry no instrumentation.
//!
//! Kernel programs see the bytes that processes exchange over sockets; this library parses them, pairs requests
//! with responses, and turns each pair into metrics and spans. The stages stand in the order of the flow:
//!
//! [`kernel`] → [`stream`] → [`exchange`] → [`metrics`] and [`trace`] → [`export`]
//!
//! [`identity`] has the keys that all stages share; [`protocol`] tells what the exchanges of each protocol mean,
//! [`process`] which program is behind a socket; [`config`] and [`cli`] are what a person touches.

pub mod cli;
pub mod config;
pub mod daemon;
mod elf;
pub mod exchange;
pub mod export;
pub mod identity;
pub mod kernel;
pub mod kubernetes;
pub mod metrics;
mod percent;
pub mod process;
pub mod protocol;
pub mod stream;
mod thread_group;
pub mod tls;
pub mod trace;

#[cfg(test)]
#[path = "arrows_tests.rs"]
mod arrows;
