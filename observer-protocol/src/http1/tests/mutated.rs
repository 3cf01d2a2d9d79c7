//! The fuzz target over mutated messages, and two ways of reading a head against each other.

use super::corpus::{REQUESTS, RESPONSES};
use crate::{
    fuzzing,
    http1::{
        Limits, RequestEvent, RequestKind, RequestParser, ResponseEvent, ResponseParser, Segment,
        machine::Syntax,
        plain::Plain,
        request_head::RequestSyntax,
        response_head::{ResponseSyntax, StatusHead},
    },
    mutation::{self, Random},
};

/// Bytes that decide something in HTTP/1.
const TELLING: &[u8] = b"\r\n\0 :;,0123456789abcfG/\x80\xff\t";

fn corpus() -> Vec<&'static [u8]> {
    let requests = REQUESTS.iter().map(|case| case.bytes);
    let responses = RESPONSES.iter().map(|case| case.bytes);
    requests.chain(responses).collect()
}

#[test]
fn parsers_keep_their_word_over_mutated_messages() {
    let corpus = corpus();
    mutation::keeps_its_word(
        Random(0x0b5e_17e2_0000_0001),
        4000,
        |random| {
            let mut stream: Vec<u8> = (0..1 + random.below(3))
                .flat_map(|_| corpus[random.below(corpus.len())])
                .copied()
                .collect();
            if random.below(20) == 0 {
                let count = random.below(300) + 1;
                stream = random.bytes(count);
            }
            random.mutate(&mut stream, TELLING);
            let pairs = random.below(64);
            let mut data = vec![(random.below(4) << 6 | pairs) as u8];
            data.extend(random.bytes(2 * pairs));
            data.extend(&stream);
            data
        },
        fuzzing::http1,
    );
}

/// Lines that observer asks for, which the corpus has not all of.
const LINES: &[&str] = &[
    "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n",
    "tracestate: a=1,b=2\r\nTraceState:c=3 \r\n",
    "b3: 0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1\r\n",
    "X-B3-TraceId: 0af7651916cd43dd8448eb211c80319c\r\nx-b3-spanid: b7ad6b7169203331\r\n",
    "Expect: 100-continue\r\nupgrade: h2c\r\n",
    "Content-Length: 7\r\ncontent-length : 8\r\n",
    "Transfer-Encoding:\r\n gzip, chunked\r\n",
    "Content-Type: text/event-stream; x\r\n",
    "User-Agent: \u{e9}\r\nhost:\r\n",
];

/// A plain head is to httparse what it is to us, byte for byte of what is kept.
#[test]
fn plain_heads_are_what_httparse_takes_them_for() {
    let corpus = corpus();
    let mut random = Random(0x0b5e_17e2_0000_0002);
    const ROUNDS: u32 = 10_000;
    let mut plain = 0;
    let kinds = [RequestKind::Other, RequestKind::Unknown, RequestKind::Head];
    for _ in 0..ROUNDS {
        let mut bytes = corpus[random.below(corpus.len())].to_vec();
        if let Some(first) = bytes.iter().position(|byte| *byte == b'\n') {
            let line = LINES[random.below(LINES.len())];
            bytes.splice(first + 1..first + 1, line.bytes());
        }
        random.mutate(&mut bytes, TELLING);
        let request = format!("{:?}", RequestSyntax::default().parse(&bytes, 7));
        let judged = format!("{:?}", RequestSyntax::default().parse_uncommon(&bytes, 7));
        assert_eq!(request, judged, "{}", bytes.escape_ascii());
        let syntax = ResponseSyntax {
            request: kinds[random.below(kinds.len())],
        };
        let response = format!("{:?}", syntax.parse(&bytes, 7));
        let judged = format!("{:?}", syntax.parse_uncommon(&bytes, 7));
        assert_eq!(response, judged, "{}", bytes.escape_ascii());
        plain += u32::from(Plain::read(&bytes, |_| ()).is_some());
    }
    assert!(plain > ROUNDS / 4, "{plain} of {ROUNDS} heads were plain");
}

/// What the quick way says of a segment, and what the steps of the long one; and the state that each leaves behind.
#[test]
fn a_message_that_is_taken_at_once_says_what_the_steps_say() {
    let corpus = corpus();
    let mut random = Random(0x0b5e_17e2_0000_0003);
    const ROUNDS: u32 = 10_000;
    let (mut requests, mut responses) = (0, 0);
    let kinds = [RequestKind::Other, RequestKind::Unknown, RequestKind::Head];
    for _ in 0..ROUNDS {
        let count = 1 + random.below(2);
        let mut bytes: Vec<u8> = (0..count)
            .flat_map(|_| corpus[random.below(corpus.len())])
            .copied()
            .collect();
        if random.below(2) == 0 {
            random.mutate(&mut bytes, TELLING);
        }
        let captured = match random.below(4) {
            0 => random.below(bytes.len() + 1),
            _ => bytes.len(),
        };
        let segment = Segment {
            bytes: &bytes[..captured],
            ..Segment::whole(7, &bytes)
        };
        let shown = bytes.escape_ascii();
        let mut read = |quickly: bool| {
            let (mut parser, mut segment) = (RequestParser::new(Limits::default()), segment);
            parser.run_started(7);
            let mut events = Vec::new();
            if quickly && let Some((head, end)) = parser.begin(&mut segment) {
                events.push(RequestEvent::Head(head));
                events.extend(end.map(RequestEvent::End));
                requests += 1;
            }
            events.extend(std::iter::from_fn(|| parser.poll(&mut segment)));
            format!("{events:?} {segment:?} {parser:?}")
        };
        assert_eq!(read(true), read(false), "{shown}");
        let kind = kinds[random.below(kinds.len())];
        let mut read = |quickly: bool| {
            let (mut parser, mut segment) = (ResponseParser::new(Limits::default()), segment);
            parser.run_started(7);
            let mut events = Vec::new();
            if quickly && let Some((head, end)) = parser.begin(&mut segment, kind) {
                events.push(match head {
                    StatusHead::Interim { status, at } => ResponseEvent::Interim { status, at },
                    StatusHead::Final(head) => ResponseEvent::Head(head),
                });
                events.extend(end.map(ResponseEvent::End));
                responses += 1;
            }
            events.extend(std::iter::from_fn(|| parser.poll(&mut segment, kind)));
            format!("{events:?} {segment:?} {parser:?}")
        };
        assert_eq!(read(true), read(false), "{shown}");
    }
    assert!(
        requests > ROUNDS / 4 && responses > ROUNDS / 8,
        "{requests} and {responses}"
    );
}
