//! The `traceparent` line that is put into requests: where, with which ids, and that nothing else changes.
//!
//! The test's own process is the client, and holds the server. `force` here, since these clients do not mind what the
//! socket maps of some kernels break.
#![allow(clippy::unwrap_used, reason = "tests panic, they don't return errors")]

use std::collections::HashMap;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use observer_tests::{Environment, Observer, Received, Recorder, patience, until};

/// Whether the daemon of this test can inject at all.
fn force(environment: &Environment, pid: u32) -> Option<Observer> {
    if !std::fs::read_to_string("/proc/mounts")
        .unwrap()
        .contains(" cgroup2 ")
    {
        eprintln!("skipped: no control groups of version 2 are mounted");
        return None;
    }
    let pid = format!("--pid={pid}");
    Some(Observer::start(
        environment,
        &[&pid, "--inject-headers=force", "--span-rate=unlimited"],
    ))
}

fn connect(recorder: &Recorder) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, recorder.port())).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(patience())).unwrap();
    stream
}

/// Reads `count` answers of a [`Recorder`].
///
/// A blocking receive on a socket in a map may end with EAGAIN: it is asked again.
fn answers(stream: &mut TcpStream, count: usize) -> std::io::Result<()> {
    let wanted = count * b"HTTP/1.1 204 No Content\r\n\r\n".len();
    let (mut read, mut answer, began) = (0, vec![0; wanted], Instant::now());
    while read < wanted {
        match stream.read(&mut answer[read..]) {
            Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => read += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock && began.elapsed() < patience() => {
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn head(path: &str, more: &str, body: &[u8]) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\n{more}Content-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes()
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 7 % 251) as u8).collect()
}

/// A way to write requests to one connection.
struct Pattern {
    name: &'static str,
    /// What is written, one call each.
    writes: Vec<Vec<u8>>,
    /// The requests, and whether each gets the line.
    requests: Vec<(Vec<u8>, Vec<u8>, bool)>,
    /// One call for all.
    vectored: bool,
}

fn pattern(name: &'static str, writes: &[&[u8]], requests: &[(&[u8], &[u8], bool)]) -> Pattern {
    Pattern {
        name,
        writes: writes.iter().map(|it| it.to_vec()).collect(),
        requests: requests
            .iter()
            .map(|(head, body, line)| (head.to_vec(), body.to_vec(), *line))
            .collect(),
        vectored: false,
    }
}

fn patterns() -> Vec<Pattern> {
    let large = bytes(1 << 20);
    let small = b"a body".as_slice();
    let plain = head("/plain", "", b"");
    let with = head("/with", "", small);
    let heavy = head("/heavy", "", &large);
    let joined = [&with[..], small].concat();
    let carries = head(
        "/carries",
        "TRACEPARENT: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00\r\n",
        b"",
    );
    let b3 = head(
        "/b3",
        "X-B3-TraceId: 0af7651916cd43dd8448eb211c80319c\r\n",
        b"",
    );
    let expects = head("/expects", "Expect: 100-continue\r\n", small);
    let long = head("/long", &format!("Cookie: {}\r\n", "c".repeat(7000)), b"");
    let longer = head("/longer", &format!("Cookie: {}\r\n", "c".repeat(9000)), b"");
    let folded = head("/folded", "X-Folded: a\r\n b\r\n", b"");
    let requests = plain.repeat(20);
    let smuggled = head("/smuggled", "", &requests);
    let chunked =
        b"POST /chunked HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
            .as_slice();
    let chunk = [
        format!("{:x}\r\n", plain.len()).as_bytes(),
        &plain[..],
        b"\r\n",
    ]
    .concat();
    let single: Vec<Vec<u8>> = plain.iter().map(|byte| vec![*byte]).collect();
    let lines: Vec<&[u8]> = plain.split_inclusive(|byte| *byte == b'\n').collect();
    let mut all = vec![
        pattern("a head", &[&plain], &[(&plain, b"", true)]),
        pattern(
            "head and body in one write",
            &[&joined],
            &[(&with, small, true)],
        ),
        pattern("head, body", &[&with, small], &[(&with, small, true)]),
        pattern(
            "head, body in pieces",
            &[&with, b"a", b" bo", b"dy"],
            &[(&with, small, true)],
        ),
        pattern(
            "head, large body",
            &[&heavy, &large],
            &[(&heavy, &large, true)],
        ),
        pattern(
            "large all in one",
            &[&[&heavy[..], &large].concat()],
            &[(&heavy, &large, true)],
        ),
        pattern(
            "head cut in the request line",
            &[&plain[..9], &plain[9..]],
            &[(&plain, b"", false)],
        ),
        pattern(
            "head cut in a name",
            &[&plain[..30], &plain[30..]],
            &[(&plain, b"", false)],
        ),
        pattern("a write a line", &lines, &[(&plain, b"", false)]),
        pattern(
            "a write a byte",
            &single.iter().map(Vec::as_slice).collect::<Vec<_>>(),
            &[(&plain, b"", false)],
        ),
        pattern(
            "it carries a context",
            &[&carries],
            &[(&carries, b"", false)],
        ),
        pattern("it carries b3", &[&b3], &[(&b3, b"", false)]),
        pattern(
            "it expects a continue",
            &[&expects, small],
            &[(&expects, small, true)],
        ),
        pattern("a long head", &[&long], &[(&long, b"", true)]),
        pattern(
            "a head beyond what is read",
            &[&longer],
            &[(&longer, b"", false)],
        ),
        pattern("a folded line", &[&folded], &[(&folded, b"", false)]),
        pattern(
            "pipelined in one write",
            &[&plain.repeat(3)],
            &[
                (&plain, b"", true),
                (&plain, b"", false),
                (&plain, b"", false),
            ],
        ),
        pattern(
            "pipelined in writes",
            &[&plain, &plain, &plain],
            &[
                (&plain, b"", true),
                (&plain, b"", false),
                (&plain, b"", false),
            ],
        ),
        pattern(
            "a body of requests",
            &[&[&smuggled[..]], &vec![&plain[..]; 20][..]].concat(),
            &[(&smuggled, &requests, true)],
        ),
        pattern(
            "chunks of requests",
            &[chunked, &chunk, &chunk, b"0\r\n\r\n"],
            &[(chunked, &plain.repeat(2), true)],
        ),
    ];
    let mut vectored = pattern(
        "head and large body in one writev",
        &[&heavy, &large],
        &[(&heavy, &large, true)],
    );
    vectored.vectored = true;
    all.push(vectored);
    all
}

fn write(stream: &mut TcpStream, pattern: &Pattern) {
    if pattern.vectored {
        let slices: Vec<IoSlice> = pattern.writes.iter().map(|it| IoSlice::new(it)).collect();
        let written = stream.write_vectored(&slices).unwrap();
        stream
            .write_all(&pattern.writes.concat()[written..])
            .unwrap();
    } else {
        pattern
            .writes
            .iter()
            .for_each(|it| stream.write_all(it).unwrap());
    }
}

/// Compares what arrived with what was sent, and returns the ids of those that got the line.
fn compare(pattern: &Pattern, received: &[Received]) -> Vec<(String, String)> {
    let name = pattern.name;
    assert_eq!(received.len(), pattern.requests.len(), "{name}");
    let mut ids = Vec::new();
    for (got, (head, body, line)) in received.iter().zip(&pattern.requests) {
        assert!(got.body == *body, "{name}: the body arrived altered");
        let mut plain = got.head.clone();
        let found = got.injected().filter(|_| *head != got.head);
        if let Some((trace, span, without)) = found {
            ids.push((trace, span));
            plain = without;
            assert!(*line, "{name}: it got the line");
        } else {
            assert!(!*line, "{name}: it got no line");
        }
        assert_eq!(
            String::from_utf8_lossy(&plain),
            String::from_utf8_lossy(head),
            "{name}"
        );
    }
    ids
}

#[test]
fn whatever_the_write_pattern_a_request_arrives_as_it_was_but_for_one_line_with_its_spans_ids() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let Some(observer) = force(&environment, std::process::id()) else {
        return;
    };
    let recorder = Recorder::start();
    let mut injected = Vec::new();
    let mut requests = 0;
    for pattern in patterns() {
        let mut stream = connect(&recorder);
        write(&mut stream, &pattern);
        answers(&mut stream, pattern.requests.len()).unwrap();
        injected.extend(compare(&pattern, &recorder.take()));
        requests += pattern.requests.len();
    }
    let page = observer.page_with(requests as u64);
    // The test asks for the page, too.
    assert!(page.sum("observer_headers_injected", &[]) >= injected.len() as f64);
    assert_eq!(
        page.sum("observer_headers_left_out", &["reason=\"present\""]),
        2.0
    );
    assert_eq!(
        page.sum("observer_headers_left_out", &["reason=\"failed\""]),
        0.0
    );
    let spans = observer.stop();
    for span in &spans {
        let incomplete = span.attribute("observer.incomplete");
        assert!(
            incomplete.is_null() || incomplete == "head_too_large",
            "{span:?}"
        );
    }
    let of = |kind: &str| {
        spans
            .iter()
            .filter(|span| span.kind() == kind)
            .collect::<Vec<_>>()
    };
    let clients: HashMap<&str, _> = of("client")
        .into_iter()
        .map(|span| (span.span_id(), span))
        .collect();
    for (trace, id) in &injected {
        let client = clients
            .get(&**id)
            .unwrap_or_else(|| panic!("no client span {id}"));
        assert_eq!(client.trace_id(), trace);
        let served = of("server");
        let served = served
            .iter()
            .find(|span| span.parent_span_id() == Some(id))
            .unwrap();
        assert_eq!(served.trace_id(), trace);
        assert_eq!(served.attribute("observer.parent.method"), "header");
        let size = "http.request.body.size";
        assert_eq!(
            served.attribute(size),
            client.attribute(size),
            "the line counts as body"
        );
        assert!(!client.is_incomplete(), "{client:?}");
    }
}

#[test]
fn requests_of_one_connection_get_a_line_each_and_chunks_end_that() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let Some(observer) = force(&environment, std::process::id()) else {
        return;
    };
    let recorder = Recorder::start();
    let mut stream = connect(&recorder);
    let mut spans = Vec::new();
    for index in 0..30 {
        let body = bytes(index * 997);
        let head = head(&format!("/{index}"), "", &body);
        let pattern = pattern("kept alive", &[&head, &body], &[(&head, &body, true)]);
        write(&mut stream, &pattern);
        answers(&mut stream, 1).unwrap();
        spans.extend(compare(&pattern, &recorder.take()));
    }
    let chunked = b"POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".as_slice();
    let plain = head("/after", "", b"");
    for pattern in [
        pattern(
            "chunked",
            &[chunked, b"3\r\nabc\r\n0\r\n\r\n"],
            &[(chunked, b"abc", true)],
        ),
        pattern("after chunks", &[&plain], &[(&plain, b"", false)]),
    ] {
        write(&mut stream, &pattern);
        answers(&mut stream, 1).unwrap();
        spans.extend(compare(&pattern, &recorder.take()));
    }
    observer.page_with(32);
    let seen = observer.stop();
    for (_, span) in &spans {
        assert!(
            seen.iter()
                .any(|it| it.span_id() == span && !it.is_incomplete()),
            "{span}"
        );
    }
    // Nothing of the line is taken for bytes that were lost, or for the request after it.
    assert_eq!(
        seen.iter().filter(|it| it.is_incomplete()).count(),
        0,
        "{seen:?}"
    );
}

#[test]
fn sends_that_do_not_fit_into_the_buffer_lose_and_repeat_nothing() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let Some(observer) = force(&environment, std::process::id()) else {
        return;
    };
    let recorder = Recorder::start();
    let mut stream = connect(&recorder);
    let body = bytes(20 << 20);
    let mut parts = 0;
    for index in 0..3 {
        let head = head(&format!("/{index}"), "", &body);
        let message = [&head[..], &body].concat();
        stream.set_nonblocking(true).unwrap();
        let mut sent = 0;
        while sent < message.len() {
            match stream.write(&message[sent..]) {
                Ok(count) => (sent, parts) = (sent + count, parts + 1),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    std::thread::yield_now();
                }
                Err(error) => panic!("{error}"),
            }
        }
        stream.set_nonblocking(false).unwrap();
        answers(&mut stream, 1).unwrap();
        let pattern = pattern("in parts", &[], &[(&head, &body, true)]);
        compare(&pattern, &recorder.take());
    }
    assert!(parts > 3, "every send fitted: this shows nothing");
    observer.page_with(3);
    let spans = observer.stop();
    let sizes = |span: &&observer_tests::Span| {
        !span.is_incomplete() && span.attribute("http.request.body.size").as_u64() == Some(20 << 20)
    };
    assert_eq!(spans.iter().filter(sizes).count(), 6, "{spans:?}");
}

#[test]
fn processes_that_are_not_traced_get_no_line() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let mut other = Command::new("sleep").arg("600").spawn().unwrap();
    let observer = force(&environment, other.id());
    if let Some(observer) = &observer {
        let recorder = Recorder::start();
        let plain = head("/", "", b"");
        let pattern = pattern("not traced", &[&plain], &[(&plain, b"", false)]);
        let mut stream = connect(&recorder);
        write(&mut stream, &pattern);
        answers(&mut stream, 1).unwrap();
        compare(&pattern, &recorder.take());
        assert_eq!(observer.page().sum("observer_headers_injected", &[]), 0.0);
    }
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn no_request_fails_when_the_daemon_is_killed_and_connections_are_as_before() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let Some(observer) = force(&environment, std::process::id()) else {
        return;
    };
    let recorder = Recorder::start();
    let (stop, lines, after) = (
        AtomicBool::new(false),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    let killed = AtomicBool::new(false);
    let body = bytes(100_000);
    let head = head("/", "", &body);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                // A server of its own: what arrives is in the order in which it was sent.
                let recorder = Recorder::start();
                let mut stream = connect(&recorder);
                while !stop.load(Ordering::Acquire) {
                    let was_killed = killed.load(Ordering::Acquire);
                    stream.write_all(&head).unwrap();
                    stream.write_all(&body).unwrap();
                    answers(&mut stream, 1).unwrap();
                    let received = recorder.take().pop().unwrap();
                    assert!(received.body == body, "the body arrived altered");
                    match received.injected() {
                        Some((_, _, without)) => {
                            assert_eq!(without, head);
                            lines.fetch_add(1, Ordering::AcqRel);
                        }
                        None => {
                            assert_eq!(received.head, head);
                            if was_killed {
                                after.fetch_add(1, Ordering::AcqRel);
                            }
                        }
                    }
                }
            });
        }
        until("lines are injected", || {
            (lines.load(Ordering::Acquire) > 100).then_some(())
        });
        observer.kill();
        killed.store(true, Ordering::Release);
        // The kernel takes the map apart a little later.
        until("requests get no line any more", || {
            (after.load(Ordering::Acquire) > 100).then_some(())
        });
        stop.store(true, Ordering::Release);
    });
    drop(recorder);
}

#[test]
fn auto_and_doctor_agree_and_name_the_reason() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let pid = format!("--pid={}", std::process::id());
    let observer = Observer::start(&environment, &[&pid, "--inject-headers=auto"]);
    let said = observer.said();
    let is_on = said.contains("traceparent is injected");
    assert_ne!(is_on, said.contains("no headers are injected"), "{said}");
    let output = Command::new(environment.binary())
        .args(["doctor", "--json"])
        .output()
        .unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let finding = findings
        .iter()
        .find(|it| it["name"] == "header injection")
        .unwrap();
    assert_eq!(finding["state"] == "ok", is_on, "{finding} {said}");
    let recorder = Recorder::start();
    let plain = head("/", "", b"");
    let pattern = pattern("auto", &[&plain], &[(&plain, b"", is_on)]);
    let mut stream = connect(&recorder);
    write(&mut stream, &pattern);
    answers(&mut stream, 1).unwrap();
    compare(&pattern, &recorder.take());
    if !is_on {
        let reason = finding["detail"]
            .as_str()
            .unwrap()
            .split_once("auto: ")
            .unwrap()
            .1;
        assert!(said.contains(reason), "{reason}: {said}");
    }
}

#[test]
fn nothing_is_injected_unless_asked_for() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let observer = Observer::start(&environment, &[&format!("--pid={}", std::process::id())]);
    let recorder = Recorder::start();
    let plain = head("/", "", b"");
    let pattern = pattern("off", &[&plain], &[(&plain, b"", false)]);
    let mut stream = connect(&recorder);
    write(&mut stream, &pattern);
    answers(&mut stream, 1).unwrap();
    compare(&pattern, &recorder.take());
    observer.page_with(1);
}
