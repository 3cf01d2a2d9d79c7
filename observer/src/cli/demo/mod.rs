//! `observer demo`: small services of its own, traced like anyone's.
//!
//! In: a rate. Out: trees of traces and the RED table on standard output.
//! Owns: the services (which know nothing of tracing), the load, the screen.

mod run;
pub mod service;

pub use run::run;
