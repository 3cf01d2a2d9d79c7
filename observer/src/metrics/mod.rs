//! RED metrics from every exchange.
//!
//! In: every [`Exchange`](crate::exchange::Exchange), before any sampling, and its [`Service`].
//! Out: a [`Snapshot`] whenever an exporter asks.
//! Owns: series and their bounds, learned routes. Which instruments there are, each protocol says in its groups.

mod cells;
mod merge;
mod registry;
pub mod routes;
mod series;

use std::sync::Arc;

pub use self::{
    merge::{Merge, snapshot},
    registry::{Handle, Limits, Registry, Views},
    series::OpenCount,
};
use crate::process::{Service, Value};
pub use crate::protocol::Instrument;

/// Attributes of a series, sorted by key.
pub type Attributes = Arc<[(&'static str, Value)]>;

/// A trace that a histogram's bucket can point at.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// Measured value.
    pub value: f64,
    /// When, ns since the Unix epoch.
    pub time_unix_nano: u64,
    /// W3C trace id.
    pub trace_id: [u8; 16],
    /// W3C span id.
    pub span_id: [u8; 8],
}

/// A histogram's state since its start.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct HistogramPoint {
    /// Number of values.
    pub count: u64,
    /// Sum of values.
    pub sum: f64,
    /// Smallest value, `None` when empty.
    pub min: Option<f64>,
    /// Largest value, `None` when empty.
    pub max: Option<f64>,
    /// Values per bucket, one more than the instrument's bounds.
    pub buckets: Vec<u64>,
    /// At most one for each bucket, newest.
    pub exemplars: Vec<Exemplar>,
}

/// One series' value.
#[derive(Clone, Debug, PartialEq)]
pub enum Point {
    /// Cumulative histogram with explicit bounds.
    Histogram(HistogramPoint),
    /// Monotonic sum.
    Counter(u64),
    /// Sum that goes both ways (`up-down counter`).
    UpDown(i64),
}

/// One instrument's series for one service.
#[derive(Clone, Debug)]
pub struct Metric {
    /// What it is.
    pub instrument: &'static Instrument,
    /// Series by attributes.
    pub points: Vec<(Attributes, Point)>,
}

/// One service's metrics.
#[derive(Clone, Debug)]
pub struct ServiceMetrics {
    /// The resource.
    pub service: Arc<Service>,
    /// Start of its cumulative series, ns since the Unix epoch.
    pub start_unix_nano: u64,
    /// Its metrics.
    pub metrics: Vec<Metric>,
}

/// All metrics at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// ns since the Unix epoch.
    pub time_unix_nano: u64,
    /// By service.
    pub services: Vec<ServiceMetrics>,
}
