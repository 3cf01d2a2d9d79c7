//! OTLP: a real receiver, and backends that are none.
#![allow(clippy::unwrap_used, reason = "tests panic, they don't return errors")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::time::Instant;

use observer_tests::{Client, Environment, Observer, Receiver, Server, free_port, get};

#[test]
fn an_otlp_receiver_gets_spans_and_metrics_of_the_service() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let receiver = Receiver::start(&environment);
    let server = Server::stdlib("threads");
    let observer = Observer::start(
        &environment,
        &[
            &format!("--port={}", server.port()),
            &format!("--otlp-endpoint=http://127.0.0.1:{}", receiver.port()),
            "--otlp-protocol=http/protobuf",
        ],
    );
    for _ in 0..5 {
        get(server.port(), "/status/418").unwrap();
    }
    observer.page_with(5);
    // Ending drains the exporters.
    let spans = observer.stop();
    let all = receiver.received(&[
        "\"http.server.request.duration\"",
        "418",
        "\"observer.records\"",
    ]);
    for span in &spans {
        assert!(
            mentions(&all, span.trace_id()),
            "{} is missing in {all}",
            span.trace_id()
        );
    }
}

/// Ids come as hex or, as protobuf's JSON has bytes, as base64.
fn mentions(text: &str, hex: &str) -> bool {
    let bytes: Vec<u8> = (0..hex.len() / 2)
        .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    text.contains(hex) || text.contains(&base64(&bytes))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut three = [0; 4];
        three[1..=chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes(three);
        for at in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * at)) as usize & 63];
            text.push(if at <= chunk.len() { digit.into() } else { '=' });
        }
    }
    text
}

/// Traces some requests with an endpoint that takes nothing; all of them are counted, none is slowed.
fn assert_unharmed(environment: &Environment, endpoint: &str) {
    let server = Server::node();
    let mut observer = Observer::start(
        environment,
        &[
            &format!("--port={}", server.port()),
            &format!("--otlp-endpoint={endpoint}"),
            "--otlp-protocol=http/protobuf",
        ],
    );
    let mut client = Client::connect(server.port()).unwrap();
    for _ in 0..500 {
        let answer = client.request("GET", "/status/200", "").unwrap();
        assert_eq!(answer.status, 200);
    }
    let page = observer.page_with(500);
    assert_eq!(page.served(&[]), 500);
    assert!(observer.is_alive());
    let asked = Instant::now();
    assert_eq!(observer.stop().len(), 500);
    // Five seconds to drain, and one to come down.
    assert!(asked.elapsed().as_secs_f64() < 6.0, "{:?}", asked.elapsed());
}

#[test]
fn a_backend_that_refuses_connections_costs_counted_drops_only() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    assert_unharmed(&environment, &format!("http://127.0.0.1:{}", free_port()));
}

#[test]
fn a_backend_that_never_answers_costs_counted_drops_only() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        // Reads what comes and says nothing.
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || std::io::copy(&mut stream, &mut std::io::sink()));
        }
    });
    assert_unharmed(&environment, &format!("http://{address}"));
}

#[test]
fn a_backend_that_answers_nonsense_costs_counted_drops_only() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 1000]);
            let _ = stream.write_all(b"\x00\xffnonsense\r\n\r\n");
        }
    });
    assert_unharmed(&environment, &format!("http://{address}"));
}
