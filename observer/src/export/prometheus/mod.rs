//! The Prometheus page.
//!
//! In: a [`Snapshot`](crate::metrics::Snapshot) and the daemon's own [`Family`]s. Out: text on `/metrics`; on `/healthz` and
//! `/readyz` how the daemon is.
//! Owns: names, labels and escaping by the OpenTelemetry-to-Prometheus rules; the HTTP server.
//!
//! Every series carries `service_name` and `service_instance_id`; the other resource attributes are in
//! `target_info` with the same two labels (`* on (service_instance_id) group_left (…) target_info`). The
//! specification's `job` and `instance` are left to the scrape: one page tells of many services, Prometheus would
//! rename ours to `exported_job`, and the two names above are those that an OTLP-fed Prometheus promotes too, so
//! one dashboard reads both.
//!
//! A client that accepts OpenMetrics (Prometheus does) gets it, with exemplars.

mod names;
mod pages;
mod server;
mod text;

pub use self::{
    pages::{Ask, MakePage, Pages},
    server::{DEFAULT_ADDRESS, ServeError, Server, serve},
    text::render,
};
pub use super::family::{Family, Kind, Labels};

/// The text's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text exposition format 0.0.4; has no exemplars.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// `Content-Type` of the page.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The format that an `Accept` header prefers; Prometheus' own where it says nothing (RFC 9110 section 12.5.1).
    pub fn of_accept(accept: &str) -> Self {
        let quality = |wanted: &str| {
            accept.split(',').fold(0.0_f32, |best, range| {
                let mut parts = range.split(';').map(str::trim);
                if !parts
                    .next()
                    .is_some_and(|name| name.eq_ignore_ascii_case(wanted))
                {
                    return best;
                }
                let q = parts.find_map(|part| part.strip_prefix("q="));
                best.max(q.map_or(1.0, |q| q.parse().unwrap_or(0.0)))
            })
        };
        let open_metrics = quality("application/openmetrics-text");
        if open_metrics > 0.0 && open_metrics >= quality("text/plain") {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preferred_format_is_chosen() {
        use Format::*;
        for (accept, expected) in [
            ("", Prometheus),
            ("*/*", Prometheus),
            ("text/html,text/plain;q=0.8", Prometheus),
            (
                "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.2",
                OpenMetrics,
            ),
            ("application/openmetrics-text;q=0.4, text/plain", Prometheus),
            ("application/openmetrics-text", OpenMetrics),
            ("application/openmetrics-text;q=0", Prometheus),
            ("application/openmetrics-text;q=x", Prometheus),
        ] {
            assert_eq!(Format::of_accept(accept), expected, "{accept}");
        }
    }
}
