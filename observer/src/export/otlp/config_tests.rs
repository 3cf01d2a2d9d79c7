use super::*;

fn read(
    overrides: OtlpOverrides,
    vars: &[(&str, &str)],
) -> Result<Option<OtlpConfig>, ConfigError> {
    OtlpConfig::from_env_and(overrides, |name| {
        vars.iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| (*value).to_owned())
    })
}

fn env(vars: &[(&str, &str)]) -> OtlpConfig {
    read(OtlpOverrides::default(), vars).unwrap().unwrap()
}

fn message(vars: &[(&str, &str)]) -> String {
    read(OtlpOverrides::default(), vars)
        .unwrap_err()
        .to_string()
}

fn traces_url(config: &OtlpConfig) -> String {
    config.traces.as_ref().unwrap().signal.endpoint.to_string()
}

fn metrics_url(config: &OtlpConfig) -> String {
    config.metrics.as_ref().unwrap().signal.endpoint.to_string()
}

#[test]
fn without_any_endpoint_nothing_is_exported() {
    assert!(read(OtlpOverrides::default(), &[]).unwrap().is_none());
    let vars = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", " "),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ];
    assert!(read(OtlpOverrides::default(), &vars).unwrap().is_none());
}

#[test]
fn an_endpoint_alone_gives_the_specified_defaults() {
    let config = env(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")]);
    assert_eq!(traces_url(&config), "http://collector:4318/v1/traces");
    assert_eq!(metrics_url(&config), "http://collector:4318/v1/metrics");
    let traces = config.traces.unwrap();
    assert_eq!(traces.signal.protocol, Protocol::HttpProtobuf);
    assert_eq!(traces.signal.compression, Compression::None);
    assert_eq!(traces.signal.timeout, Duration::from_millis(10_000));
    assert_eq!(traces.signal.total_timeout, Duration::from_millis(30_000));
    assert_eq!(traces.max_batch, 512);
    assert_eq!(traces.queue_bytes, 8 << 20);
    assert_eq!(traces.schedule_delay, Duration::from_millis(1000));
    let metrics = config.metrics.unwrap();
    assert_eq!(metrics.interval, Duration::from_millis(60_000));
    assert_eq!(metrics.temporality, Temporality::Cumulative);
}

#[test]
fn http_urls_follow_the_three_examples_of_the_specification() {
    let config = env(&[
        (
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "http://collector:4318",
        ),
        (
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
            "https://collector.example.com/v1/metrics",
        ),
    ]);
    assert_eq!(traces_url(&config), "http://collector:4318/");
    assert_eq!(
        metrics_url(&config),
        "https://collector.example.com/v1/metrics"
    );
    let config = env(&[
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "http://collector:4318/mycollector/",
        ),
        (
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
            "https://collector.example.com/v1/metrics/",
        ),
    ]);
    assert_eq!(
        traces_url(&config),
        "http://collector:4318/mycollector/v1/traces"
    );
    assert_eq!(
        metrics_url(&config),
        "https://collector.example.com/v1/metrics/"
    );
}

#[test]
fn a_signal_without_endpoint_is_off_when_only_the_other_has_one() {
    let config = env(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c/x")]);
    assert!(config.traces.is_some() && config.metrics.is_none());
}

#[test]
fn grpc_endpoints_keep_their_scheme_and_insecure_decides_without_one() {
    let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let with = |endpoint, insecure| {
        traces_url(&env(&[
            grpc,
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
            ("OTEL_EXPORTER_OTLP_INSECURE", insecure),
        ]))
    };
    assert_eq!(with("http://c:4317", "false"), "http://c:4317/");
    assert_eq!(with("https://c:4317", "true"), "https://c:4317/");
    assert_eq!(with("c:4317", ""), "https://c:4317/");
    assert_eq!(with("c:4317", "TRUE"), "http://c:4317/");
    assert_eq!(with("c:4317", "1"), "https://c:4317/");
}

#[test]
fn the_port_of_grpc_implies_it_where_no_protocol_is_named() {
    let protocol = |vars: &[(&str, &str)]| env(vars).traces.unwrap().signal.protocol;
    const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
    assert_eq!(protocol(&[(ENDPOINT, "http://c:4317")]), Protocol::Grpc);
    for other in ["http://c:4318", "http://c", "http://c/4317"] {
        assert_eq!(protocol(&[(ENDPOINT, other)]), Protocol::HttpProtobuf);
    }
    let named = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
    assert_eq!(
        protocol(&[(ENDPOINT, "http://c:4317"), named]),
        Protocol::HttpProtobuf
    );
}

#[test]
fn asking_for_the_otlp_exporter_gives_the_default_endpoints() {
    let config = env(&[
        ("OTEL_TRACES_EXPORTER", "otlp"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ]);
    assert_eq!(traces_url(&config), "http://localhost:4317/");
    assert!(config.metrics.is_none());
    let config = env(&[("OTEL_METRICS_EXPORTER", "otlp,prometheus")]);
    assert_eq!(metrics_url(&config), "http://localhost:4318/v1/metrics");
}

#[test]
fn signals_and_everything_can_be_switched_off() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");
    let config = env(&[endpoint, ("OTEL_METRICS_EXPORTER", "none")]);
    assert!(config.traces.is_some() && config.metrics.is_none());
    let disabled = [endpoint, ("OTEL_SDK_DISABLED", "True")];
    assert!(read(OtlpOverrides::default(), &disabled).unwrap().is_none());
    assert!(
        read(
            OtlpOverrides::default(),
            &[endpoint, ("OTEL_SDK_DISABLED", "1")]
        )
        .unwrap()
        .is_some()
    );
}

#[test]
fn per_signal_variables_win_over_general_ones() {
    let config = env(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "500"),
        ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "0"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "none"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=1"),
        ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "b=2"),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "Delta"),
        ("OTEL_METRICS_EXEMPLAR_FILTER", "always_off"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "5000"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
    ]);
    let traces = config.traces.unwrap();
    let metrics = config.metrics.unwrap();
    assert_eq!(traces.signal.timeout, Duration::from_millis(500));
    assert_eq!(metrics.signal.timeout, UNLIMITED, "zero is without limit");
    assert_eq!(
        (traces.signal.compression, metrics.signal.compression),
        (Compression::Gzip, Compression::None)
    );
    assert_eq!(
        (traces.signal.headers.len(), metrics.signal.headers.len()),
        (1, 1)
    );
    assert_eq!(metrics.signal.headers["b"], "2");
    assert_eq!(
        (traces.signal.protocol, metrics.signal.protocol),
        (Protocol::HttpProtobuf, Protocol::Grpc)
    );
    assert_eq!(metrics.temporality, Temporality::Delta);
    assert_eq!(metrics.interval, Duration::from_secs(5));
    assert!(!metrics.exemplars);
    assert_eq!((traces.queue_spans, traces.max_batch), (Some(100), 100));
}

#[test]
fn explicit_settings_win_over_every_variable() {
    let overrides = OtlpOverrides {
        endpoint: Some("http://flag:1".into()),
        protocol: Some("http/protobuf".into()),
        headers: Some(vec![("k".into(), "a,b=c".into())]),
        compression: Some("none".into()),
        timeout: Some(Duration::from_secs(1)),
        metric_interval: Some(Duration::from_secs(2)),
        temporality: Some("delta".into()),
        queue_bytes: Some(1000),
        ..OtlpOverrides::default()
    };
    let vars = [
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://env:2"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x=y"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "9"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "9"),
    ];
    let config = read(overrides, &vars).unwrap().unwrap();
    assert_eq!(traces_url(&config), "http://flag:1/v1/traces");
    let traces = config.traces.unwrap();
    assert_eq!(traces.signal.protocol, Protocol::HttpProtobuf);
    assert_eq!(traces.signal.headers["k"], "a,b=c");
    assert_eq!(traces.signal.headers.len(), 1);
    assert_eq!(traces.signal.compression, Compression::None);
    assert_eq!(traces.signal.timeout, Duration::from_secs(1));
    assert_eq!(traces.queue_bytes, 1000);
    let metrics = config.metrics.unwrap();
    assert_eq!(
        (metrics.interval, metrics.temporality),
        (Duration::from_secs(2), Temporality::Delta)
    );
}

#[test]
fn errors_name_variable_value_and_accepted_form() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");
    assert_eq!(
        message(&[
            endpoint,
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json")
        ]),
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=\"http/json\": JSON encoding is not supported; \
         accepted: grpc or http/protobuf"
    );
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "gprc"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "-1"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "0"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "both"),
        (
            "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
            "x",
        ),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "ftp://collector"),
    ] {
        let message = message(&[endpoint, (name, value)]);
        assert!(
            message.starts_with(&format!("{name}={value:?}: ")),
            "{message}"
        );
        assert!(message.contains("; accepted: "), "{message}");
    }
}

#[test]
fn certificate_files_are_checked_at_start_and_only_for_https() {
    let missing = ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/does/not/exist.pem");
    let message = message(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c:4318"), missing]);
    assert!(
        message.contains("/does/not/exist.pem") && message.contains("can't be read"),
        "{message}"
    );
    env(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318"), missing]);
}

#[test]
fn passwords_in_a_url_are_not_shown() {
    let config = env(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://u:secret@c:4318")]);
    assert_eq!(traces_url(&config), "http://c:4318/v1/traces");
}
