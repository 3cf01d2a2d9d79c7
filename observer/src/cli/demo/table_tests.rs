//! The table, letter by letter.

use super::*;
use crate::{
    cli::samples::{EPOCH, service},
    metrics::{Metric, ServiceMetrics},
    process::{Text, Value},
    protocol::{
        SECONDS,
        conventions::http::{CLIENT_DURATION, SERVER_ACTIVE, SERVER_DURATION},
        dns::LOOKUP_DURATION,
    },
};

fn histogram(values: &[f64]) -> Point {
    let mut point = HistogramPoint {
        buckets: vec![0; SECONDS.len() + 1],
        ..HistogramPoint::default()
    };
    for value in values {
        let bucket = SECONDS.iter().position(|bound| value <= bound);
        point.buckets[bucket.unwrap_or(SECONDS.len())] += 1;
        point.count += 1;
        point.sum += value;
        point.min = Some(point.min.map_or(*value, |min| min.min(*value)));
        point.max = Some(point.max.map_or(*value, |max| max.max(*value)));
    }
    Point::Histogram(point)
}

fn text(value: &str) -> Value {
    Value::Text(Text::copied(value))
}

fn snapshot(seconds: u64) -> Snapshot {
    let order = |status, error: Option<&str>, values: &[f64]| {
        let mut attributes = vec![
            ("http.request.method", text("GET")),
            ("http.response.status_code", Value::Int(status)),
            ("http.route", text("/orders/{id}")),
        ];
        attributes.extend(error.map(|error| ("error.type", text(error))));
        (attributes.into(), histogram(values))
    };
    let server = Metric {
        instrument: &SERVER_DURATION,
        points: vec![
            order(200, None, &[0.02, 0.03, 0.04]),
            order(502, Some("502"), &[0.3]),
        ],
    };
    let client = Metric {
        instrument: &CLIENT_DURATION,
        points: vec![
            (
                [
                    ("http.request.method", text("POST")),
                    ("server.address", text("127.0.0.1")),
                    ("server.port", Value::Int(9000)),
                ]
                .into(),
                histogram(&[12.0]),
            ),
            (
                [("otel.metric.overflow", Value::Bool(true))].into(),
                histogram(&[]),
            ),
        ],
    };
    let name = |name| [("dns.question.name", text(name))].into();
    let lookups = Metric {
        instrument: &LOOKUP_DURATION,
        points: vec![
            (name("a.test"), histogram(&[0.002])),
            (name("b.test"), histogram(&[0.002])),
        ],
    };
    let active = Metric {
        instrument: &SERVER_ACTIVE,
        points: vec![(Vec::new().into(), Point::UpDown(1))],
    };
    let services = vec![ServiceMetrics {
        service: service("gateway"),
        start_unix_nano: EPOCH,
        metrics: vec![client, server, lookups, active],
    }];
    Snapshot {
        time_unix_nano: EPOCH + seconds * 1_000_000_000,
        services,
    }
}

#[test]
fn series_are_put_together_by_route_and_rates_are_since_the_last_time() {
    let (mut table, mut page) = (Table::default(), String::new());
    table.push(&mut page, &snapshot(2), Palette::PLAIN);
    assert_eq!(
        page,
        "\
SERVICE      KIND   METHOD ROUTE                           REQS   RATE/S  ERRORS     P50     P95     P99
gateway      server GET    /orders/{id}                       4      2.0   25.0%    38ms   290ms   298ms
gateway      client -      (all others)                       0      0.0    0.0%       -       -       -
gateway      client POST   127.0.0.1:9000                     1      0.5    0.0%     12s     12s     12s
gateway      dns    -      (all names)                        2      1.0    0.0%   2.0ms   2.0ms   2.0ms
"
    );
    let mut page = String::new();
    table.push(&mut page, &snapshot(5), Palette::PLAIN);
    assert!(page.contains("     4      0.0   25.0%"), "{page}");
}

#[test]
fn an_empty_snapshot_and_a_clock_that_stands_still_are_no_trouble() {
    let (mut table, mut page) = (Table::default(), String::new());
    table.push(&mut page, &Snapshot::default(), Palette::PLAIN);
    table.push(&mut page, &snapshot(0), Palette::PLAIN);
    table.push(&mut page, &snapshot(0), Palette::PLAIN);
    assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
}
