//! Exchanges and services for tests of spans and metrics.

pub(crate) use crate::protocol::samples::*;
