//! The daemon's Prometheus page.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// One page, as (name with labels, value).
pub(crate) struct Page(Vec<(String, f64)>);

impl Page {
    /// Fetches the page.
    ///
    /// # Errors
    /// When the daemon does not answer with 200 within ten seconds.
    pub(crate) fn fetch(address: SocketAddr) -> Result<Self> {
        let mut stream = TcpStream::connect(address).context("connecting to the metrics page")?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(
            b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: text/plain\r\nConnection: close\r\n\r\n",
        )?;
        let mut text = String::new();
        stream
            .read_to_string(&mut text)
            .context("reading the metrics page")?;
        if !text.starts_with("HTTP/1.1 200") {
            bail!("the metrics page answered {:?}", text.lines().next());
        }
        Ok(Self::parse(&text))
    }

    /// Lines that are no sample (comments, HTTP headers, chunk sizes) are left out.
    fn parse(text: &str) -> Self {
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            if line.starts_with('#') || series.ends_with(':') {
                return None;
            }
            Some((series.to_owned(), value.parse().ok()?))
        };
        Self(text.lines().filter_map(sample).collect())
    }

    /// The sum over all series of a family, with or without the `_total` that counters carry.
    pub(super) fn sum(&self, family: &str) -> f64 {
        self.family(family).map(|(_, value)| value).sum()
    }

    /// (labels, value) of a family's series.
    pub(crate) fn family(&self, family: &str) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().filter_map(move |(series, value)| {
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let name = name.strip_suffix("_total").unwrap_or(name);
            (name == family).then_some((labels.trim_end_matches('}'), *value))
        })
    }

    /// Exchanges counted by the metrics, on either side.
    pub(super) fn exchanges(&self) -> f64 {
        self.sum("http_server_request_duration_seconds_count")
            + self.sum("http_client_request_duration_seconds_count")
    }
}

#[cfg(test)]
mod tests {
    use super::Page;

    #[test]
    fn samples_are_summed_over_their_labels() {
        let page = Page::parse(
            "HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n# TYPE a counter\na_total{x=\"1 2\"} 3\na_total 4\nb 9\n",
        );
        assert!((page.sum("a") - 7.0).abs() < 1e-9);
        assert!((page.sum("b") - 9.0).abs() < 1e-9);
        assert!(page.sum("content-length").abs() < 1e-9);
        assert_eq!(page.family("a").next(), Some(("x=\"1 2\"", 3.0)));
    }
}
