//! RED metrics from every exchange.
//!
//! In: every [`Exchange`](crate::exchange::Exchange), before any sampling, and its [`Service`].
//! Out: a [`Snapshot`] whenever an exporter asks.
//! Owns: instruments, series and their bounds, learned routes.

mod histogram;
mod identity;
pub mod instruments;
mod merge;
mod registry;
pub mod routes;
mod series;

use std::sync::Arc;

use self::histogram::Histogram;
pub use self::{
    merge::{Merge, snapshot},
    registry::{Limits, Registry},
};
use crate::process::{Service, Value};

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

/// A metric's description.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Instrument {
    /// OpenTelemetry name, e.g. `http.server.request.duration`.
    pub name: &'static str,
    /// UCUM unit, e.g. `s`.
    pub unit: &'static str,
    /// One sentence.
    pub description: &'static str,
    /// Histogram bounds, ascending; empty for sums.
    pub bounds: &'static [f64],
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
