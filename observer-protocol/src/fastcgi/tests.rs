//! Connections as they were recorded, made by hand.

use super::{FastCgi, record::kind};
use crate::{
    Segment,
    fuzzing::{self, Said},
    mutation::{Random, keeps_its_word},
    protocol::{Input, Joined, Missing, Protocol, Side},
};

/// A name-value pair.
pub(super) fn pair(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for length in [name.len(), value.len()] {
        match u8::try_from(length) {
            Ok(short) if short < 0x80 => bytes.push(short),
            _ => bytes.extend((length as u32 | 1 << 31).to_be_bytes()),
        }
    }
    bytes.extend(name.as_bytes());
    bytes.extend(value.as_bytes());
    bytes
}

/// A record; its length and padding are even multiples of eight, as servers have them.
fn record(kind: u8, id: u16, content: &[u8]) -> Vec<u8> {
    let padding = content.len().wrapping_neg() & 7;
    let mut bytes = vec![1, kind];
    bytes.extend(id.to_be_bytes());
    bytes.extend((content.len() as u16).to_be_bytes());
    bytes.extend([padding as u8, 0]);
    bytes.extend(content);
    bytes.resize(bytes.len() + padding, 0);
    bytes
}

fn begin(id: u16) -> Vec<u8> {
    record(kind::BEGIN_REQUEST, id, &[0, 1, 1, 0, 0, 0, 0, 0])
}

/// A request as nginx sends it.
fn request(id: u16, method: &str, uri: &str, body: &[u8]) -> Vec<u8> {
    let parameters = [
        pair("SCRIPT_FILENAME", "/srv/index.php"),
        pair("QUERY_STRING", "token=secret"),
        pair("REQUEST_METHOD", method),
        pair("CONTENT_LENGTH", &body.len().to_string()),
        pair("REQUEST_URI", uri),
        pair("SERVER_PROTOCOL", "HTTP/1.1"),
        pair("HTTP_HOST", "example.com"),
    ]
    .concat();
    let mut bytes = [begin(id), record(kind::PARAMS, id, &parameters)].concat();
    bytes.extend(record(kind::PARAMS, id, &[]));
    if !body.is_empty() {
        bytes.extend(record(kind::STDIN, id, body));
    }
    bytes.extend(record(kind::STDIN, id, &[]));
    bytes
}

/// An answer as php-fpm sends it.
fn answer(id: u16, head: &str, body: &[u8]) -> Vec<u8> {
    let output = [head.as_bytes(), body].concat();
    let end = record(kind::END_REQUEST, id, &[0; 8]);
    [record(kind::STDOUT, id, &output), end].concat()
}

#[derive(Default)]
struct Told {
    said: Said,
    at: [u64; 2],
}

fn feed(protocol: &mut FastCgi, told: &mut Told, side: Side, bytes: &[u8]) {
    let at = &mut told.at[side.index()];
    let segment = Segment::whole(*at, bytes);
    *at = segment.end;
    protocol.feed(side, Input::Bytes(segment), &mut told.said);
}

/// What is said of a request's and an answer's bytes.
fn said(question: &[u8], answer: &[u8]) -> Vec<String> {
    let mut protocol = FastCgi::new(4096, Joined::AtStart);
    let mut told = Told::default();
    feed(&mut protocol, &mut told, Side::Request, question);
    feed(&mut protocol, &mut told, Side::Response, answer);
    told.said.steps
}

fn has(steps: &[String], parts: &[&str]) -> bool {
    steps
        .iter()
        .any(|step| parts.iter().all(|part| step.contains(part)))
}

const NOT_FOUND: &str = "Status: 404 Not Found\r\nContent-type: text/html\r\n\r\n";

#[test]
fn a_request_is_named_by_its_parameters_and_its_answer_by_its_head() {
    let steps = said(
        &request(1, "POST", "/a/b?token=secret", b"name=value"),
        &answer(1, NOT_FOUND, b"no such thing"),
    );
    let named = [
        "Open",
        "Id(1)",
        "\"POST\"",
        "\"/a/b\"",
        "\"/srv/index.php\"",
        "whole: true",
    ];
    assert!(has(&steps, &named), "{steps:#?}");
    assert!(has(&steps, &["End", "Request", "Some(10)"]), "{steps:#?}");
    assert!(has(&steps, &["Reply", "Head { status: Some(404) }"]));
    assert!(has(
        &steps,
        &[
            "Reply",
            "application: Some(0), protocol: Some(0), complaints: 0"
        ]
    ));
    assert!(has(&steps, &["End", "Response", "Some(13)"]));
    assert!(!steps.iter().any(|step| step.contains("secret")));
    assert_eq!(steps.len(), 5, "{steps:#?}");
}

#[test]
fn complaints_are_counted_and_are_no_answer() {
    let answer = [
        record(kind::STDERR, 1, b"PHP message: no"),
        answer(1, "Content-type: text/plain\r\n\r\n", b""),
    ]
    .concat();
    let steps = said(&request(1, "GET", "/", b""), &answer);
    assert!(has(&steps, &["Head { status: Some(200) }"]), "{steps:#?}");
    assert!(has(&steps, &["complaints: 15"]));
    assert!(has(&steps, &["End", "Response", "Some(0)"]));
}

#[test]
fn a_request_that_is_refused_has_no_status() {
    let refused = record(kind::END_REQUEST, 1, &[0, 0, 0, 0, 2, 0, 0, 0]);
    let steps = said(&request(1, "GET", "/", b""), &refused);
    assert!(has(&steps, &["Reply", "protocol: Some(2)"]), "{steps:#?}");
    assert!(!has(&steps, &["head: Head {"]));
}

/// Two at once, whose records alternate, and which end in the other order.
#[test]
fn each_record_is_of_the_request_that_it_names() {
    let mut protocol = FastCgi::new(4096, Joined::AtStart);
    let mut told = Told::default();
    let (one, two) = (
        request(1, "GET", "/one", b""),
        request(2, "GET", "/two", b""),
    );
    let split = begin(1).len();
    for bytes in [&one[..split], &two, &one[split..]] {
        feed(&mut protocol, &mut told, Side::Request, bytes);
    }
    let opens: Vec<bool> = told
        .said
        .steps
        .iter()
        .filter(|step| step.starts_with("Open"))
        .map(|step| step.contains("/one"))
        .collect();
    assert_eq!(opens, [true, false], "in the order in which they began");
    for bytes in [
        answer(2, "Status: 500 No\r\n\r\n", b"x"),
        answer(1, "Status: 201 Yes\r\n\r\n", b"yy"),
    ] {
        feed(&mut protocol, &mut told, Side::Response, &bytes);
    }
    let steps = &told.said.steps;
    assert!(has(steps, &["Reply", "Id(2)", "Some(500)"]), "{steps:#?}");
    assert!(has(steps, &["Reply", "Id(1)", "Some(201)"]));
    assert!(has(steps, &["End", "Id(1)", "Response", "Some(2)"]));
}

#[test]
fn what_is_given_up_is_cancelled_and_its_end_is_nobodys() {
    let mut protocol = FastCgi::new(4096, Joined::AtStart);
    let mut told = Told::default();
    feed(
        &mut protocol,
        &mut told,
        Side::Request,
        &request(1, "GET", "/", b""),
    );
    feed(
        &mut protocol,
        &mut told,
        Side::Request,
        &record(kind::ABORT_REQUEST, 1, &[]),
    );
    let before = told.said.steps.len();
    assert!(
        has(&told.said.steps, &["Cancel {"]),
        "{:#?}",
        told.said.steps
    );
    feed(
        &mut protocol,
        &mut told,
        Side::Response,
        &answer(1, NOT_FOUND, b""),
    );
    assert_eq!(told.said.steps.len(), before);
}

/// Of a body only the first bytes are captured.
#[test]
fn what_was_only_counted_of_a_body_is_counted() {
    let mut protocol = FastCgi::new(4096, Joined::AtStart);
    let mut told = Told::default();
    feed(
        &mut protocol,
        &mut told,
        Side::Request,
        &request(1, "GET", "/", b""),
    );
    let all = answer(1, "Status: 200 OK\r\n\r\n", &[b'x'; 5000]);
    let end = all.len() - 16;
    let segment = Segment {
        start: 0,
        bytes: &all[..264],
        end: end as u64,
    };
    protocol.feed(Side::Response, Input::Bytes(segment), &mut told.said);
    told.at[1] = end as u64;
    feed(&mut protocol, &mut told, Side::Response, &all[end..]);
    let steps = &told.said.steps;
    assert!(has(steps, &["End", "Response", "Some(5000)"]), "{steps:#?}");
    assert!(has(steps, &["Head { status: Some(200) }"]));
}

#[test]
fn a_loss_makes_what_it_touches_unknown_and_the_next_request_is_read() {
    let mut protocol = FastCgi::new(4096, Joined::AtStart);
    let mut told = Told::default();
    let question = request(1, "POST", "/a", b"name=value");
    // Its parameters are cut off.
    feed(&mut protocol, &mut told, Side::Request, &question[..60]);
    told.at[0] = question.len() as u64;
    let gap = Input::Gap {
        to: told.at[0],
        why: Missing::Lost,
    };
    protocol.feed(Side::Request, gap, &mut told.said);
    let lost = told.said.steps.clone();
    assert!(has(&lost, &["Open", "Id(1)", "whole: false"]), "{lost:#?}");
    assert!(has(&lost, &["Lost", "Unseen"]));
    let reply = answer(1, NOT_FOUND, b"no");
    // The head is lost, too.
    told.at[1] = reply.len() as u64 - 16;
    let gap = Input::Gap {
        to: told.at[1],
        why: Missing::Lost,
    };
    protocol.run_started(Side::Response, 0, &mut told.said);
    protocol.feed(Side::Response, gap, &mut told.said);
    feed(
        &mut protocol,
        &mut told,
        Side::Response,
        &reply[reply.len() - 16..],
    );
    let steps = &told.said.steps[lost.len()..];
    assert!(
        has(steps, &["Reply", "status: None", "whole: false"]),
        "{steps:#?}"
    );
    assert!(has(steps, &["End", "Response", "size: None"]));
    assert!(has(steps, &["End", "Request", "size: None"]));
    let before = told.said.steps.len();
    feed(
        &mut protocol,
        &mut told,
        Side::Request,
        &request(1, "GET", "/b", b""),
    );
    feed(
        &mut protocol,
        &mut told,
        Side::Response,
        &answer(1, NOT_FOUND, b"no"),
    );
    let steps = &told.said.steps[before..];
    assert!(has(steps, &["Open", "/b", "whole: true"]), "{steps:#?}");
    assert!(has(steps, &["Head { status: Some(404) }"]));
    assert_eq!(steps.len(), 5);
}

#[test]
fn every_prefix_of_a_connection_is_incomplete_and_nothing_else() {
    let question = request(1, "POST", "/a/b", b"name=value");
    let reply = [
        record(kind::STDERR, 1, b"PHP message: no"),
        answer(1, NOT_FOUND, b"no such thing"),
    ]
    .concat();
    let whole = said(&question, &reply);
    let asked = whole
        .iter()
        .take_while(|step| !step.starts_with("Reply"))
        .count();
    for end in 0..question.len() {
        let steps = said(&question[..end], &[]);
        assert_eq!(steps, whole[..steps.len()], "{end}");
        assert!(steps.len() < asked, "{end}");
    }
    for end in 0..reply.len() {
        let steps = said(&question, &reply[..end]);
        assert_eq!(steps, whole[..steps.len()], "{end}");
        assert!(steps.len() < whole.len(), "{end}");
    }
}

#[test]
fn what_is_no_record_is_foreign() {
    let steps = said(b"GET / HTTP/1.1\r\n\r\n", b"");
    assert_eq!(steps, ["foreign Request"]);
}

#[test]
fn no_mutation_breaks_the_parsers_word() {
    let script = |random: &mut Random| {
        let mut data = Vec::new();
        let mut push = |random: &mut Random, side: u8, bytes: &[u8]| {
            let size = (bytes.len() as u16 & 0x0fff).to_be_bytes();
            let choice = if random.below(4) == 0 {
                random.byte() & 0x1e
            } else {
                0x0c
            };
            data.extend([choice | side, size[0], size[1]]);
            data.extend(bytes);
        };
        for _ in 0..random.below(6) {
            let id = 1 + random.below(3) as u16;
            let mut question = request(id, "GET", "/a?b", &vec![b'x'; random.below(40)]);
            let mut reply = answer(id, NOT_FOUND, &vec![b'y'; random.below(40)]);
            let telling = [0, 1, 3, 4, 5, 6, 7, 8, 0x80, 0xff, b'\n', b':'];
            random.mutate(&mut question, &telling);
            random.mutate(&mut reply, &telling);
            push(random, 0, &question);
            push(random, 1, &reply);
        }
        data
    };
    keeps_its_word(Random(5), 3000, script, fuzzing::fastcgi);
    let noise = |random: &mut Random| {
        let count = random.below(300);
        random.bytes(count)
    };
    keeps_its_word(Random(6), 2000, noise, fuzzing::fastcgi);
}
