//! The cost to a traced server: pairs of load runs without and with the daemon.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;

use super::http::Page;
use super::load::{self, Connections, Load};
use super::observer::Observer;
use super::server::Nginx;
use super::statistics::median;
use super::{Options, kernel};

/// Seconds of load before each that is measured.
const WARM_UP: u32 = 2;

/// What every measurement needs.
pub(super) struct Bench<'a> {
    pub(super) options: &'a Options,
    pub(super) binary: &'a Path,
    pub(super) sink: SocketAddr,
    pub(super) nginx: &'a Nginx,
    pub(super) connections: Connections,
}

/// Medians over the pairs of one scenario.
pub(super) struct Scenario {
    /// Requests a second without the daemon.
    pub(super) bare_rate: f64,
    /// Requests a second with it.
    pub(super) traced_rate: f64,
    /// Rate with the daemon over rate without, within a pair.
    pub(super) rate_ratio: f64,
    /// 99th percentile of latency without the daemon, in µs.
    pub(super) bare_p99: f64,
    /// 99th percentile with the daemon over without, within a pair.
    pub(super) p99_ratio: f64,
    /// Exchanges that the daemon's metrics counted, over requests that wrk counted: 1 with one end traced, 2 with
    /// both. Slightly above, since wrk forgets the requests that are under way when its time is over.
    pub(super) exchanges_per_request: f64,
    /// µs in kernel programs an exchange, from a run of its own.
    pub(super) kernel_micros: f64,
    /// µs of daemon CPU an exchange.
    pub(super) daemon_micros: f64,
    /// Resident memory of the daemon after the load, in bytes.
    pub(super) resident: f64,
    /// The largest it was, in bytes.
    pub(super) peak_resident: f64,
    /// Kernel memory of its maps, in bytes.
    pub(super) map_bytes: f64,
    /// Seconds to ready.
    pub(super) ready_after: f64,
    /// Spans that the backend accepted a second.
    pub(super) spans_a_second: f64,
    /// Losses over all pairs, by reason; reasons without a loss are left out.
    pub(super) lost: BTreeMap<String, f64>,
}

/// One run of load with the daemon.
struct Traced {
    load: Load,
    exchanges: f64,
    cpu_seconds: f64,
    resident: (f64, f64),
    ready_after: f64,
    /// Seconds from ready to `page`.
    seconds: f64,
    page: Page,
}

impl Bench<'_> {
    /// Measures one way to select what is traced.
    ///
    /// # Errors
    /// When nginx, wrk or the daemon fails.
    pub(super) fn run(&self, name: &str, selectors: &[&str]) -> Result<Scenario> {
        let mut pairs = Vec::new();
        for pair in 1..=self.options.pairs {
            self.warm_up()?;
            let bare = self.drive()?;
            let traced = self.traced(selectors)?;
            eprintln!(
                "{name}: pair {pair}: {:.0} and {:.0} requests/s, {:.3}",
                bare.rate,
                traced.load.rate,
                traced.load.rate / bare.rate
            );
            pairs.push((bare, traced));
        }
        let kernel_micros = self.kernel_micros(selectors)?;
        Ok(summarize(&pairs, kernel_micros))
    }

    fn drive(&self) -> Result<Load> {
        load::drive(self.nginx, self.connections, self.options.seconds)
    }

    /// A load that is not measured, before each that is: what has just been started (the daemon, its programs) is cold,
    /// on an emulated processor for seconds.
    fn warm_up(&self) -> Result<()> {
        load::drive(self.nginx, self.connections, WARM_UP).map(drop)
    }

    fn traced(&self, selectors: &[&str]) -> Result<Traced> {
        let observer = Observer::start(self.binary, self.sink, selectors)?;
        let ready = Instant::now();
        self.warm_up()?;
        let before = observer.settled_page()?.exchanges();
        let cpu = observer.cpu_seconds()?;
        let load = self.drive()?;
        let page = observer.settled_page()?;
        let traced = Traced {
            load,
            exchanges: page.exchanges() - before,
            cpu_seconds: observer.cpu_seconds()? - cpu,
            resident: observer.resident()?,
            ready_after: observer.ready_after,
            seconds: ready.elapsed().as_secs_f64(),
            page,
        };
        observer.stop()?;
        Ok(traced)
    }

    /// µs in the daemon's kernel programs an exchange, while the kernel counts it.
    fn kernel_micros(&self, selectors: &[&str]) -> Result<f64> {
        let others = kernel::loaded()?;
        let observer = Observer::start(self.binary, self.sink, selectors)?;
        let counting = kernel::Statistics::enable()?;
        self.warm_up()?;
        let before = (
            observer.settled_page()?.exchanges(),
            kernel::run_time(&others)?,
        );
        self.drive()?;
        let after = (
            observer.settled_page()?.exchanges(),
            kernel::run_time(&others)?,
        );
        drop(counting);
        observer.stop()?;
        Ok((after.1 - before.1) / 1000.0 / (after.0 - before.0))
    }
}

fn summarize(pairs: &[(Load, Traced)], kernel_micros: f64) -> Scenario {
    let of = |value: fn(&(Load, Traced)) -> f64| median(pairs.iter().map(value));
    let mut lost = BTreeMap::new();
    for (_, traced) in pairs {
        for (reason, count) in traced.page.family("observer_lost") {
            if count > 0.0 {
                *lost.entry(reason.to_owned()).or_insert(0.0) += count;
            }
        }
    }
    Scenario {
        bare_rate: of(|(bare, _)| bare.rate),
        traced_rate: of(|(_, traced)| traced.load.rate),
        rate_ratio: of(|(bare, traced)| traced.load.rate / bare.rate),
        bare_p99: of(|(bare, _)| bare.p99),
        p99_ratio: of(|(bare, traced)| traced.load.p99 / bare.p99),
        exchanges_per_request: of(|(_, traced)| traced.exchanges / traced.load.requests),
        kernel_micros,
        daemon_micros: of(|(_, traced)| traced.cpu_seconds * 1e6 / traced.exchanges),
        resident: of(|(_, traced)| traced.resident.0),
        peak_resident: of(|(_, traced)| traced.resident.1),
        map_bytes: of(|(_, traced)| traced.page.sum("observer_kernel_map_bytes")),
        ready_after: of(|(_, traced)| traced.ready_after),
        spans_a_second: of(|(_, traced)| sent(&traced.page) / traced.seconds),
        lost,
    }
}

/// Spans that the backend accepted.
fn sent(page: &Page) -> f64 {
    page.family("observer_export_sent")
        .filter(|(labels, _)| labels.contains("traces"))
        .map(|(_, count)| count)
        .sum()
}
