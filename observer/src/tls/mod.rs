//! TLS, read at the wire.
//!
//! In: the files of programs and libraries that speak TLS.
//! Out: where in them each traffic secret passes.
//! Owns: what was found in each file.

pub mod points;
