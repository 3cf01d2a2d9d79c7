//! What is printed, letter by letter.

use super::*;
use crate::{
    cli::samples::{service, set, span},
    exchange::{InferredLink, LinkMethod},
    process::{Text, Value},
    protocol::ProtocolId,
    trace::SpanKind,
};

fn text(span: &Span, palette: Palette) -> String {
    let mut out = String::new();
    text::line(&mut out, span, palette);
    out
}

fn json(span: &Span) -> String {
    let mut out = String::new();
    json::line(&mut out, span);
    out
}

#[test]
fn text_is_aligned_below_its_header() {
    let mut page = text::header(Palette::PLAIN);
    text::line(
        &mut page,
        &span(0xab, 1, 0, "GET /orders/42", SpanKind::Server, 123, 12),
        Palette::PLAIN,
    );
    let mut client = span(
        0xab,
        2,
        1,
        "POST /payments/42",
        SpanKind::Client,
        125,
        2_500,
    );
    client.service = service("a-service-with-a-long-name");
    set(&mut client, "http.response.status_code", Value::Int(503));
    set(&mut client, "error.type", Value::Text("503".into()));
    client.error = Some("".into());
    text::line(&mut page, &client, Palette::PLAIN);
    let mut cut = span(0xcd, 3, 0, "GET /download", SpanKind::Server, 0, 7);
    cut.attributes
        .retain(|(key, _)| !key.starts_with("http.response"));
    set(&mut cut, "observer.incomplete", Value::Text("reset".into()));
    set(
        &mut cut,
        "error.type",
        Value::Text("connection_reset".into()),
    );
    cut.error = Some("".into());
    text::line(&mut page, &cut, Palette::PLAIN);
    let mut lookup = span(0xcd, 4, 3, "DNS AAAA", SpanKind::Client, 1, 2);
    lookup.protocol = ProtocolId::Dns;
    lookup.attributes = vec![
        ("dns.question.name", Value::Text("db.internal".into())),
        ("observer.dns.question.type", Value::Text("AAAA".into())),
        ("observer.dns.response_code", Value::Text("NOERROR".into())),
        ("observer.parent.method", Value::Text("thread".into())),
    ];
    text::line(&mut page, &lookup, Palette::PLAIN);
    assert_eq!(
        page,
        "\
TIME (UTC)    SERVICE          KIND   METHOD  PATH                                  ST    TOOK  BYTES  TRACE     PARENT
22:13:20.123  gateway          server GET     /orders/42                           200    12ms   1.5K  abababab  none
22:13:20.125  a-service-with-… client POST    127.0.0.1:8080/payments/42           503   2.50s   1.5K  abababab  handoff
22:13:20.000  gateway          server GET     /download                              -   7.0ms      -  cdcdcdcd  none  !reset  !connection_reset
22:13:20.001  gateway          client AAAA    db.internal                           ok   2.0ms      -  cdcdcdcd  thread
"
    );
}

#[test]
fn what_may_be_the_cause_is_shown() {
    let mut call = span(0xab, 2, 0, "GET /stock", SpanKind::Client, 0, 1);
    call.link = Some(InferredLink {
        trace_id: [0xcd; 16],
        span_id: [0xef; 8],
        sampled: true,
        method: LinkMethod::LastResumed,
    });
    let line = text(&call, Palette::PLAIN);
    assert!(
        line.ends_with("  abababab  none  maybe caused by cdcdcdcd/efefefef\n"),
        "{line}"
    );
    assert!(
        json(&call).ends_with(
            ",\"links\":[{\"trace_id\":\"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd\",\"span_id\":\"efefefefefefefef\",\
             \"attributes\":{\"observer.link.inferred\":true,\"observer.link.method\":\"last_resumed\"}}]}\n"
        ),
        "{}",
        json(&call)
    );
}

#[test]
fn colour_is_added_and_changes_nothing_else() {
    let span = span(1, 1, 0, "GET /", SpanKind::Server, 0, 1);
    let coloured = text(&span, Palette::COLOURED);
    assert!(coloured.contains("\u{1b}[32m200\u{1b}[0m"), "{coloured:?}");
    let mut plain = String::new();
    for (at, part) in coloured.split('\u{1b}').enumerate() {
        plain.push_str(if at == 0 {
            part
        } else {
            part.split_once('m').unwrap().1
        });
    }
    assert_eq!(plain, text(&span, Palette::PLAIN));
}

#[test]
fn a_json_line_has_exactly_the_documented_keys_in_order() {
    let mut span = span(0xab, 2, 1, "GET /orders/{id}", SpanKind::Server, 0, 12);
    span.attributes = vec![
        ("a", Value::Text("x\"y".into())),
        ("b", Value::Int(-1)),
        ("c", Value::Double(f64::NAN)),
        ("d", Value::Bool(true)),
        ("e", Value::Texts(["p".into(), "q".into()].into())),
    ];
    assert_eq!(
        json(&span),
        "{\"trace_id\":\"abababababababababababababababab\",\"span_id\":\"0202020202020202\",\"parent_span_id\":\"0101010101010101\",\
         \"name\":\"GET /orders/{id}\",\"kind\":\"server\",\"service\":\"gateway\",\"start_unix_nano\":1700000000000000000,\
         \"duration_ns\":12000000,\"status\":\"unset\",\"attributes\":{\"a\":\"x\\\"y\",\"b\":-1,\"c\":null,\"d\":true,\"e\":[\"p\",\"q\"]},\"links\":[]}\n"
    );
    span.parent_span_id = None;
    span.error = Some("boom".into());
    span.kind = SpanKind::Client;
    let value: serde_json::Value = serde_json::from_str(&json(&span)).unwrap();
    assert_eq!(value["parent_span_id"], serde_json::Value::Null);
    assert_eq!(
        (&value["status"], &value["kind"]),
        (&"error".into(), &"client".into())
    );
}

#[test]
fn bytes_from_the_wire_steer_no_terminal() {
    let hostile: String = (0..0x500u32)
        .chain([0x2028, 0x202e, 0xe0001])
        .filter_map(char::from_u32)
        .collect();
    for place in 0..4 {
        let mut span = span(1, 1, 0, "GET /", SpanKind::Server, 0, 1);
        match place {
            0 => set(&mut span, "url.path", Value::Text(Text::copied(&hostile))),
            1 => set(
                &mut span,
                "http.request.method_original",
                Value::Text(Text::copied(&hostile)),
            ),
            2 => span.service = service(&hostile),
            _ => set(
                &mut span,
                "observer.incomplete",
                Value::Text(Text::copied(&hostile)),
            ),
        }
        for line in [text(&span, Palette::PLAIN), json(&span)] {
            let line = line.strip_suffix('\n').unwrap();
            assert!(!line.chars().any(crate::cli::escape::is_unsafe), "{line:?}");
        }
        let value: serde_json::Value = serde_json::from_str(&json(&span)).unwrap();
        if place == 0 {
            assert_eq!(value["attributes"]["url.path"], hostile.as_str());
        }
    }
}

#[test]
fn every_span_is_a_line_of_its_own() {
    let (mut reader, writer) = io::pipe().unwrap();
    let mut printer = Printer::to(true, Palette::PLAIN, writer).unwrap();
    let reading = std::thread::spawn(move || io::read_to_string(&mut reader).unwrap());
    for id in 0..200 {
        printer.span(&span(1, id, 0, "GET /\n", SpanKind::Server, 0, 1));
    }
    printer.finish();
    let page = reading.join().unwrap();
    assert_eq!(
        page.lines()
            .filter(|line| serde_json::from_str::<serde_json::Value>(line).is_ok())
            .count(),
        200
    );
    assert_eq!(page.lines().count(), 200);
}
