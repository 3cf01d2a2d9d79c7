//! One shard's flow by itself, for who measures it: no kernel, no exporter, and one service for all processes.

use std::sync::{Arc, Mutex};

use super::{
    certificates::Certificates,
    flow::{Flow, FlowShared, Known},
    lineage::Lineage,
    tallies::Tallies,
};
use crate::{
    exchange::{Exchange, HeaderContext, Sink, Started},
    identity::{ConnectionKey, ProcessKey, Role},
    metrics::{Limits, Registry, Snapshot, routes::Routes, snapshot},
    process::{Instrumentation, Service},
    trace::{Sampler, SamplerConfig},
};

/// Takes what a shard finds all the way to metrics, as the daemon does, and counts it. Its times are monotonic ones.
pub struct Rehearsal {
    flow: Flow,
    known: Known,
    registry: Arc<Mutex<Registry>>,
    /// Exchanges of which nothing is missing.
    pub whole: u64,
    /// The others.
    pub incomplete: u64,
}

impl Rehearsal {
    /// Nothing was seen yet.
    pub fn new() -> Self {
        let registry = Arc::new(Mutex::new(Registry::new(Limits::default())));
        let shared = Arc::new(FlowShared {
            lineage: Lineage::new(1 << 20),
            leave_to_sdk: true,
            tallies: Tallies::new(1),
            own_port: None,
            certificates: Certificates::default(),
            peers: None,
        });
        let flow = Flow::new(
            shared,
            0,
            Arc::clone(&registry),
            Routes::learning(200),
            Sampler::new(SamplerConfig::default()),
            false,
            None,
        );
        let service = Service {
            name: "rehearsal".into(),
            instance_id: "rehearsal".into(),
            attributes: Vec::new(),
            extra_attributes: Vec::new(),
            instrumentation: Instrumentation::default(),
        };
        Self {
            flow,
            known: Known::new(Arc::new(service)),
            registry,
            whole: 0,
            incomplete: 0,
        }
    }

    /// The metrics so far.
    pub fn metrics(&self) -> Snapshot {
        let registry = self
            .registry
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        snapshot(&[&registry], Limits::default().series, 1)
    }
}

impl Default for Rehearsal {
    fn default() -> Self {
        Self::new()
    }
}

impl Sink for Rehearsal {
    fn exchange(&mut self, exchange: &mut Exchange) {
        match exchange.incomplete {
            None => self.whole += 1,
            Some(_) => self.incomplete += 1,
        }
        self.flow.now_ns = exchange.times.request_end;
        self.flow.exchange(&mut self.known, exchange);
    }

    fn request_started(&mut self, started: &Started<'_>) {
        let request = started.detail.describe();
        if let Some(open) = request.open(started.role, started.tls) {
            self.flow.started(&mut self.known, open);
        }
    }

    fn request_ended(&mut self, started: &Started<'_>) {
        let request = started.detail.describe();
        if let Some(open) = request.open(started.role, started.tls) {
            self.flow.ended(&mut self.known, open);
        }
    }

    fn set_mode(&mut self, _key: ConnectionKey, _mode: u8, _protocol: u8) {}

    fn process_seen(&mut self, _process: ProcessKey, _tid: u32) {}

    fn header_seen(&mut self, process: ProcessKey, role: Role, header: &HeaderContext) {
        let lineage = &self.flow.shared.lineage;
        lineage.header_seen(process, role, header, false, self.flow.now_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{metrics::Point, trace::samples::exchange};

    #[test]
    fn what_is_rehearsed_is_measured() {
        let mut rehearsal = Rehearsal::new();
        rehearsal.exchange(&mut exchange(Role::Server));
        let snapshot = rehearsal.metrics();
        let duration = &snapshot.services[0].metrics[0];
        let Point::Histogram(point) = &duration.points[0].1 else {
            panic!("{duration:?}")
        };
        assert_eq!(
            (point.count, rehearsal.whole, rehearsal.incomplete),
            (1, 1, 0)
        );
    }
}
