//! Runtimes whose threads work for many requests at once.
//!
//! In: breakpoints in programs, state changes of an event loop's sockets. Out: what the runtime's own unit (goroutine,
//! context, fiber, task, turn of a loop) works for. Owns: event loops, and what their client sockets are for.

pub(crate) mod connecting;
pub(crate) mod current;
pub(crate) mod event_loop;
pub(crate) mod go;
pub(crate) mod node;
pub(crate) mod python;
pub(crate) mod ruby;
pub(crate) mod tokio;
