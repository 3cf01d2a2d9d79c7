//! OpenTelemetry's semantic conventions (1.45) that several protocols share.
//!
//! A protocol's file says which of them hold for it. What only one protocol has stands in its own file.

pub mod http;
pub mod network;
