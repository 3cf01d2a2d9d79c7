//! `observer demo`: small services of its own, traced like anyone's.
//!
//! In: a rate. Out: trees of traces and the RED table on standard output.
//! Owns: the services (which know nothing of tracing), the load, the screen.

mod latency;
mod run;
mod screen;
pub mod service;
mod services;
mod table;
mod traces;
mod tree;

pub use run::run;
pub use screen::Screen;
pub use services::Services;
