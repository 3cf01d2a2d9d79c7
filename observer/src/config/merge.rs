//! Defaults, then the file; the environment and flags stand above.

use std::collections::BTreeMap;

use super::{Endpoint, File, OtlpVariables, Settings, file::OtlpSection};
use crate::percent;

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// Variables that name an OTLP endpoint.
const ENDPOINT_VARIABLES: [&str; 3] = [
    ENDPOINT,
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
];

/// Puts what was said in the place of what was there.
fn set<T>(place: &mut T, said: Option<T>) {
    if let Some(value) = said {
        *place = value;
    }
}

impl Settings {
    /// Defaults, with what the file says in their place. `environment` is asked for the `OTEL_*` endpoints alone,
    /// since one of them turns OTLP on again that the file turned off.
    pub fn from_file(file: File, environment: impl Fn(&str) -> Option<String>) -> Self {
        let mut settings = Self::default();
        let select = file.select.unwrap_or_default();
        set(&mut settings.selection.pids, select.pids);
        set(&mut settings.selection.exe, select.exe);
        set(&mut settings.selection.exclude_exe, select.exclude_exe);
        set(&mut settings.selection.ports, select.ports);
        set(&mut settings.tier, file.tier);
        set(
            &mut settings.duration,
            file.duration.map(|duration| duration.0),
        );
        set(&mut settings.print, file.print);
        file.prometheus
            .into_iter()
            .for_each(|listen| settings.listen(listen));
        let otlp = file.otlp.unwrap_or_default();
        if otlp.endpoint == Some(Endpoint::Off) {
            let is_set = |name| environment(name).is_some_and(|value: String| !value.is_empty());
            settings.otlp.enabled = ENDPOINT_VARIABLES.into_iter().any(is_set);
        }
        settings.otlp.file = variables(otlp);
        let spans = file.spans.unwrap_or_default();
        set(&mut settings.spans.rate, spans.rate);
        set(&mut settings.spans.instrumented, spans.instrumented);
        set(&mut settings.spans.breakpoints, spans.breakpoints);
        set(&mut settings.spans.inferred_links, spans.inferred_links);
        let metrics = file.metrics.unwrap_or_default();
        set(&mut settings.metrics.routes, metrics.routes);
        set(&mut settings.metrics.max_series, metrics.max_series);
        set(&mut settings.dns, file.dns);
        set(&mut settings.tls, file.tls);
        set(&mut settings.inject_headers, file.inject_headers);
        let tcp_option = file.tcp_option.unwrap_or_default();
        set(&mut settings.tcp_option.peers, tcp_option.peers);
        let kubernetes = file.kubernetes.unwrap_or_default();
        set(&mut settings.kubernetes.watch, kubernetes.watch);
        set(&mut settings.kubernetes.node, kubernetes.node.map(Some));
        let pods = kubernetes.select.unwrap_or_default();
        let selected = &mut settings.selection.pods;
        set(&mut selected.namespaces, pods.namespaces);
        set(&mut selected.exclude_namespaces, pods.exclude_namespaces);
        set(&mut selected.labels, pods.labels);
        set(&mut selected.images, pods.images);
        let attributes = kubernetes.attributes.unwrap_or_default();
        set(&mut settings.kubernetes.labels, attributes.labels);
        set(&mut settings.kubernetes.annotations, attributes.annotations);
        set(
            &mut settings.kubernetes.namespace_labels,
            attributes.namespace_labels,
        );
        set(
            &mut settings.kubernetes.namespace_annotations,
            attributes.namespace_annotations,
        );
        set(
            &mut settings.kubernetes.service_labels,
            kubernetes.service_labels,
        );
        set(&mut settings.kubernetes.services, kubernetes.services);
        set(&mut settings.resource, file.resource);
        let limits = file.limits.unwrap_or_default();
        set(&mut settings.limits.ring_bytes, limits.ring_bytes);
        set(&mut settings.limits.max_connections, limits.max_connections);
        set(&mut settings.limits.queue_bytes, limits.queue_bytes);
        let log = file.log.unwrap_or_default();
        set(&mut settings.log.level, log.level);
        set(&mut settings.log.format, log.format);
        settings
    }
}

fn variables(otlp: OtlpSection) -> OtlpVariables {
    let mut variables = BTreeMap::new();
    if let Some(Endpoint::Url(url)) = otlp.endpoint {
        variables.insert(ENDPOINT, url);
    }
    if let Some(protocol) = otlp.protocol {
        variables.insert("OTEL_EXPORTER_OTLP_PROTOCOL", protocol.as_str().to_owned());
    }
    if let Some(headers) = otlp.headers.filter(|headers| !headers.is_empty()) {
        let pairs: Vec<String> = headers
            .iter()
            .map(|(name, value)| format!("{name}={}", percent::encode(value)))
            .collect();
        variables.insert("OTEL_EXPORTER_OTLP_HEADERS", pairs.join(","));
    }
    OtlpVariables(variables)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Print, Tier};

    const EXAMPLE: &str = include_str!("../../../docs/observer.example.yaml");

    fn settings(text: &str, environment: &[(&str, &str)]) -> Settings {
        let file = File::parse(Path::new("observer.yaml"), text).unwrap();
        Settings::from_file(file, |name| {
            environment
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_example_says_what_the_defaults_are() {
        assert_eq!(settings(EXAMPLE, &[]), Settings::default());
    }

    #[test]
    fn the_example_shows_every_key() {
        let all = "select: {pids: , exe: , exclude_exe: , ports: }\ntier:\nduration:\nprint:\nprometheus:\notlp: {endpoint: , protocol: , headers: }\nspans: {rate: , instrumented: , breakpoints: , inferred_links: }\nmetrics: {routes: , max_series: }\ndns:\ntls:\ninject_headers:\ntcp_option: {peers: }\nkubernetes: {watch: , node: , select: {namespaces: , exclude_namespaces: , labels: , images: }, attributes: {labels: , annotations: , namespace_labels: , namespace_annotations: }, service_labels: , services: }\nresource:\nlimits: {ring_bytes: , max_connections: , queue_bytes: }\nlog: {level: , format: }\n";
        File::parse(Path::new("all"), all).unwrap();
        for key in all
            .split(['{', '}', ',', '\n'])
            .filter_map(|part| part.trim().strip_suffix(':'))
        {
            let shown = |line: &str| {
                line.trim_start_matches(['#', ' '])
                    .starts_with(&format!("{key}:"))
            };
            assert!(EXAMPLE.lines().any(shown), "{key}");
        }
    }

    #[test]
    fn the_file_replaces_defaults() {
        let settings = settings(
            "tier: socket\nprint: json\nprometheus: off\nselect: {ports: [80, 8000-8010]}\nduration: 1m\nspans: {rate: unlimited}\n",
            &[],
        );
        assert_eq!(
            (settings.tier, settings.print, settings.prometheus),
            (Tier::Socket, Print::Json, None)
        );
        assert_eq!(settings.selection.ports.len(), 2);
        assert_eq!(settings.duration.map(|d| d.as_secs()), Some(60));
        assert_eq!(settings.spans.rate.0, None);
        assert_eq!(settings.limits, Settings::default().limits);
    }

    #[test]
    fn the_environment_stands_above_the_file() {
        let settings = settings(
            "otlp: {endpoint: \"http://file:4317\", headers: {api-key: \"a b,c=%\"}}",
            &[],
        );
        let none = |_: &str| None;
        assert_eq!(
            settings.otlp.variable_from(ENDPOINT, none).as_deref(),
            Some("http://file:4317")
        );
        assert_eq!(
            settings
                .otlp
                .variable_from(ENDPOINT, |_| Some("http://env".into()))
                .as_deref(),
            Some("http://env")
        );
        assert_eq!(
            settings
                .otlp
                .variable_from(ENDPOINT, |_| Some(String::new()))
                .as_deref(),
            Some("http://file:4317")
        );
        assert_eq!(
            settings
                .otlp
                .variable_from("OTEL_EXPORTER_OTLP_HEADERS", none)
                .as_deref(),
            Some("api-key=a%20b%2Cc%3D%25")
        );
    }

    #[test]
    fn otlp_is_off_only_where_no_one_above_names_an_endpoint() {
        assert!(!settings("otlp: {endpoint: off}", &[]).otlp.enabled);
        assert!(
            settings(
                "otlp: {endpoint: off}",
                &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://a")]
            )
            .otlp
            .enabled
        );
        assert!(
            !settings("otlp: {endpoint: off}", &[(ENDPOINT, "")])
                .otlp
                .enabled
        );
    }
}
