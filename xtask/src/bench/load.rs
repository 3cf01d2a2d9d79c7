//! wrk: closed-loop load, as fast as the server answers.

use std::process::Command;

use anyhow::{Context, Result, bail};

use super::server::Nginx;
use crate::command;

/// What one run of wrk reached.
#[derive(Clone, Copy)]
pub(super) struct Load {
    /// Answered requests.
    pub(super) requests: f64,
    /// Requests a second.
    pub(super) rate: f64,
    /// 99th percentile of latency, in microseconds.
    pub(super) p99: f64,
}

/// What becomes of connections.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Connections {
    /// They are kept.
    Kept,
    /// Each request has one of its own.
    Fresh,
}

/// Drives the server for some seconds over 16 connections from one thread.
///
/// # Errors
/// When wrk fails, or any request was answered with an error: such a run measures something else.
pub(super) fn drive(nginx: &Nginx, connections: Connections, seconds: u32) -> Result<Load> {
    let scheme = if nginx.tls { "https" } else { "http" };
    let mut wrk = Command::new("wrk");
    wrk.args(["-t1", "-c16", "--latency"])
        .arg(format!("-d{seconds}s"));
    if connections == Connections::Fresh {
        wrk.args(["-H", "Connection: close"]);
    }
    let text = command::output(wrk.arg(format!("{scheme}://{}/", nginx.address)))?;
    parse(&text).with_context(|| format!("wrk wrote:\n{text}"))
}

fn parse(text: &str) -> Result<Load> {
    if text.contains("Socket errors") || text.contains("Non-2xx") {
        bail!("the server failed requests");
    }
    let find = |mark: &str| text.lines().find(|line| line.contains(mark));
    let word = |line: &str, at: usize| line.split_whitespace().nth(at).map(str::to_owned);
    let rate = find("Requests/sec:").and_then(|line| word(line, 1)?.parse().ok());
    let requests = find(" requests in ").and_then(|line| word(line, 0)?.parse().ok());
    let p99 = find("99% ").and_then(|line| microseconds(&word(line, 1)?));
    Ok(Load {
        requests: requests.context("no count of requests")?,
        rate: rate.context("no rate")?,
        p99: p99.context("no 99th percentile")?,
    })
}

/// `417.00us`, `1.20ms`, `1.03s`
fn microseconds(text: &str) -> Option<f64> {
    let units = [("us", 1.0), ("ms", 1e3), ("s", 1e6)];
    let (number, factor) = units
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    Some(number.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "Running 5s test @ http://127.0.0.1:8080/
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   350.52us  120.01us   5.20ms   90.11%
    Req/Sec    45.10k     1.20k   47.00k    80.00%
  Latency Distribution
     50%  340.00us
     75%  380.00us
     90%  430.00us
     99%    1.25ms
  224512 requests in 5.00s, 182.10MB read
Requests/sec:  44891.22
Transfer/sec:     36.41MB
";

    #[test]
    fn wrks_numbers_are_read() {
        let load = parse(OUTPUT).unwrap();
        assert!((load.requests - 224_512.0).abs() < 1e-9);
        assert!((load.rate - 44_891.22).abs() < 1e-9);
        assert!((load.p99 - 1250.0).abs() < 1e-9);
    }

    #[test]
    fn a_run_with_failed_requests_is_refused() {
        let failed = format!("{OUTPUT}  Non-2xx or 3xx responses: 12\n");
        assert!(parse(&failed).is_err());
        assert!(parse("").is_err());
    }
}
