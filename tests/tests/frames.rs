//! A protocol that nobody speaks, from the kernel to the exports: one line in the list of protocols, one file behind it, one row in
//! detection. Its frames are followed in the kernel, and what they carry is counted, not shipped.
//!
//! The daemon that reads it is built with the feature `made-up`; what is shipped has nothing of it.
#![allow(clippy::unwrap_used, reason = "tests panic, they don't return errors")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use observer_tests::{
    Environment, Folder, Observer, Page, Receiver, Server, Span, free_port, until,
};

/// The client, which does what it is told.
struct Asking {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Asking {
    fn start(server: &Server) -> Self {
        let mut child = Command::new("python3")
            .arg(Environment::programs().join("made_up.py"))
            .args(["ask", &server.port().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self {
            child,
            input,
            output: BufReader::new(output),
        }
    }

    fn does(&mut self, step: &str) -> &mut Self {
        writeln!(self.input, "{step}").unwrap();
        let mut said = String::new();
        self.output.read_line(&mut said).unwrap();
        assert_eq!(said, "done\n", "{step}");
        self
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serving() -> Server {
    serving_with(&[])
}

fn serving_with(more: &[String]) -> Server {
    let port = free_port();
    let mut command = Command::new("python3");
    command
        .arg(Environment::programs().join("made_up.py"))
        .args(["serve", &port.to_string()])
        .args(more);
    Server::start(&mut command, port)
}

/// The daemon that knows the protocol, tracing the server and, where `both`, the client, too.
fn observe(environment: &Environment, server: &Server, both: bool, more: &[&str]) -> Observer {
    let port = format!("--port={}", server.port());
    let selectors: &[&str] = if both {
        // By name, however this Python is called.
        &["--exe=python3*"]
    } else {
        &[&port]
    };
    let arguments = [selectors, more].concat();
    Observer::start_made_up(environment, &arguments, &[])
}

const COUNT: &str = "made_up_call_duration_seconds_count";

/// The page once so many of an end's exchanges are counted, and no more come.
fn page_with(observer: &Observer, end: &str, count: u64) -> Page {
    let end = format!("made_up_end=\"{end}\"");
    let counted = |page: &Page| page.sum(COUNT, &[&end]) as u64;
    until(&format!("{count} exchanges are counted"), || {
        (counted(&observer.page()) >= count).then_some(())
    });
    let (mut same, mut before) = (0, count);
    let page = until("the count stands still", || {
        let page = observer.page();
        let now = counted(&page);
        same = if now == before { same + 1 } else { 0 };
        before = now;
        (same >= 15).then_some(page)
    });
    assert_eq!(counted(&page), count, "{}", page.troubles());
    page
}

fn number(span: &Span, key: &str) -> Option<u64> {
    span.attribute(key).as_u64()
}

fn id(span: &Span) -> u64 {
    span.attribute("made_up.id")
        .as_str()
        .unwrap()
        .parse()
        .unwrap()
}

/// The spans of an end, by id.
fn of_end(spans: &[Span], kind: &str) -> Vec<Span> {
    let mut found: Vec<Span> = spans
        .iter()
        .filter(|span| span.kind() == kind && span.name().starts_with("made up "))
        .cloned()
        .collect();
    found.sort_by_key(id);
    found
}

fn shipped(page: &Page) -> f64 {
    page.sum("observer_record_bytes", &[])
}

/// Bytes that went by and should have been told.
fn assert_whole(page: &Page) {
    assert_eq!(page.lost(), 0.0, "{}", page.troubles());
    for event in [
        "gaps",
        "lost_bytes",
        "malformed_records",
        "unreadable_records",
    ] {
        let label = format!("event=\"{event}\"");
        assert_eq!(
            page.sum("observer_stream", &[&label]),
            0.0,
            "{}",
            page.troubles()
        );
    }
}

#[test]
fn a_framed_protocol_is_detected_counted_printed_and_exported_under_its_own_name() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let (server, receiver) = (serving(), Receiver::start(&environment));
    let endpoint = format!("--otlp-endpoint=http://127.0.0.1:{}", receiver.port());
    let more = [endpoint.as_str(), "--otlp-protocol=http/protobuf"];
    let observer = observe(&environment, &server, false, &more);
    Asking::start(&server)
        .does("calls 1 20 50 30")
        .does("calls 100 1 20 0")
        .does("tell 200 40")
        .does("watch 300 25");
    let page = page_with(&observer, "server", 23);
    assert_whole(&page);
    let spans = observer.stop();
    let served = of_end(&spans, "server");
    let ids: Vec<u64> = served.iter().map(id).collect();
    assert_eq!(ids, (1..=20).chain([100, 200, 300]).collect::<Vec<_>>());
    for span in &served {
        let (name, reply, sizes) = match id(span) {
            100 => ("call", Some(4), (Some(20), Some(0))),
            200 => ("tell", None, (Some(40), None)),
            300 => ("watch", Some(5), (Some(25), Some(75))),
            _ => ("call", Some(4), (Some(50), Some(30))),
        };
        assert_eq!(span.name(), format!("made up {name}"));
        assert!(!span.is_incomplete(), "{span:?}");
        assert_eq!(number(span, "made_up.reply"), reply, "{span:?}");
        let found = (
            number(span, "made_up.request.size"),
            number(span, "made_up.response.size"),
        );
        assert_eq!(found, sizes, "{span:?}");
    }
    // Each is a request of its own, and has an id.
    let mut own: Vec<&str> = served.iter().map(Span::span_id).collect();
    own.sort_unstable();
    own.dedup();
    assert_eq!(own.len(), served.len());
    receiver.received(&own);
}

#[test]
fn bodies_are_counted_in_the_kernel_and_not_shipped() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let server = serving();
    let observer = observe(&environment, &server, true, &[]);
    let before = shipped(&observer.page());
    // Forty bodies of a quarter of a megabyte each way, some in one write with others, one in writes that end anywhere.
    let mut asking = Asking::start(&server);
    for step in 0..4 {
        asking.does(&format!("calls {} 10 250000 250000", 1 + 10 * step));
    }
    asking.does("one 41 99990 1");
    let page = page_with(&observer, "server", 41);
    page_with(&observer, "client", 41);
    assert_whole(&page);
    let shipped = shipped(&page) - before;
    let spans = observer.stop();
    for kind in ["server", "client"] {
        let spans = of_end(&spans, kind);
        assert_eq!(
            spans.iter().map(id).collect::<Vec<_>>(),
            (1..=41).collect::<Vec<_>>()
        );
        for span in &spans {
            assert!(!span.is_incomplete(), "{span:?}");
            let sizes = if id(span) == 41 {
                (99_990, 1)
            } else {
                (250_000, 250_000)
            };
            let found = (
                number(span, "made_up.request.size"),
                number(span, "made_up.response.size"),
            );
            assert_eq!(found, (Some(sizes.0), Some(sizes.1)), "{span:?}");
        }
    }
    // Forty megabytes were seen at both ends.
    assert!(shipped < 400_000.0, "{shipped} bytes were shipped");
}

#[test]
fn a_connection_that_is_joined_late_is_read_from_its_next_frames_on() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let server = serving();
    let mut asking = Asking::start(&server);
    asking.does("calls 1 5 100 100000");
    let observer = observe(&environment, &server, false, &[]);
    asking
        .does("calls 11 5 100 100000")
        .does("calls 21 5 5000 10");
    page_with(&observer, "server", 10);
    let served = of_end(&observer.stop(), "server");
    let ids: Vec<u64> = served.iter().map(id).collect();
    assert_eq!(ids, (11..=15).chain(21..=25).collect::<Vec<_>>());
    assert!(
        served.iter().all(|span| !span.is_incomplete()),
        "{served:?}"
    );
}

#[test]
fn series_are_capped() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let folder = Folder::new();
    let file = folder.file("observer.yaml", "metrics: {max_series: 10}\n");
    let server = serving();
    let config = format!("--config={}", file.display());
    let observer = observe(&environment, &server, false, &[&config]);
    let mut asking = Asking::start(&server);
    asking.does("calls 1 50 20 20");
    let page = until("all are counted", || {
        let page = observer.page();
        (page.sum(COUNT, &[]) >= 50.0).then_some(page)
    });
    assert_eq!(page.sum(COUNT, &[]), 50.0);
    let beyond = page.sum(COUNT, &["otel_metric_overflow=\"true\""]);
    assert!(
        (39.0..=41.0).contains(&beyond),
        "{beyond} calls in the overflow series"
    );
}

#[test]
fn the_last_bytes_of_a_long_answer_are_shipped_where_its_protocol_asks_for_them() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let server = serving();
    let observer = observe(&environment, &server, true, &[]);
    let before = shipped(&observer.page());
    let sizes = [6, 100, 4096, 20_000, 20_002, 60_000, 2_000_001, 3_000_000];
    let mut asking = Asking::start(&server);
    for (id, size) in sizes.iter().enumerate() {
        asking.does(&format!("turn {id} {size}"));
    }
    let page = page_with(&observer, "server", 8);
    page_with(&observer, "client", 8);
    assert_whole(&page);
    let shipped = shipped(&page) - before;
    let spans = observer.stop();
    for kind in ["server", "client"] {
        let spans = of_end(&spans, kind);
        assert_eq!(spans.len(), sizes.len());
        for (span, size) in spans.iter().zip(sizes) {
            assert!(!span.is_incomplete(), "{span:?}");
            assert_eq!(
                number(span, "made_up.response.size"),
                Some(size),
                "{span:?}"
            );
        }
    }
    // Ten megabytes were seen.
    assert!(shipped < 300_000.0, "{shipped} bytes were shipped");
}

#[test]
fn what_is_asked_for_one_of_many_requests_never_has_another_one_as_its_parent() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let backend = Server::stdlib("threads");
    let server = serving_with(&[backend.port().to_string()]);
    let observer = observe(&environment, &server, false, &[]);
    Asking::start(&server)
        .does("calls 1 1 20 20")
        .does("calls 11 5 20 20")
        .does("calls 21 5 2000 2000");
    page_with(&observer, "server", 11);
    let spans = observer.stop();
    let served = of_end(&spans, "server");
    let calls: Vec<&Span> = spans
        .iter()
        .filter(|span| span.kind() == "client")
        .collect();
    assert_eq!((served.len(), calls.len()), (11, 11));
    for call in calls {
        let url = call.attribute("url.full").as_str().unwrap();
        let asked: u64 = url.rsplit('/').next().unwrap().parse().unwrap();
        if let Some(parent) = call.parent_span_id() {
            let parent = served.iter().find(|span| span.span_id() == parent);
            assert_eq!(parent.map(id), Some(asked), "{call:?}");
        }
    }
}
