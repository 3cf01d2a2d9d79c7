//! Which datagrams ask, which answer, and what answers what.

use super::{corpus::MESSAGES, message};
use crate::{
    dns::{Dns, Malformed, Message, Question, parse},
    protocol::{self, Datagrams},
};

/// A question for `a`, type A, class IN.
const QUESTION: &[u8] = b"\x01a\x00\x00\x01\x00\x01";

/// The question that a datagram asks; `None` where it asks nothing.
fn asked(bytes: &[u8]) -> Option<(u64, Question)> {
    match Dns::read(bytes)? {
        protocol::Message::Request { id, request } => Some((id, request)),
        protocol::Message::Response { .. } => None,
    }
}

/// The answer that a datagram is; `None` where it answers nothing.
fn answered(bytes: &[u8]) -> Option<(u64, Message)> {
    match Dns::read(bytes)? {
        protocol::Message::Response { id, response } => Some((id, response)),
        protocol::Message::Request { .. } => None,
    }
}

#[test]
fn every_query_asks_and_every_answer_answers() {
    for case in MESSAGES {
        let message = parse(case.bytes).unwrap();
        let id = u64::from(case.id);
        if case.is_response {
            let expected = Some((id, message));
            assert_eq!(answered(case.bytes), expected, "{}", case.name);
        } else {
            // What is no standard query asks nothing.
            let question = message.question.filter(|_| case.opcode == 0);
            let expected = question.map(|question| (id, question));
            assert_eq!(asked(case.bytes), expected, "{}", case.name);
            assert_eq!(answered(case.bytes), None, "{}", case.name);
        }
    }
}

#[test]
fn only_a_standard_query_asks_and_an_answer_of_any_kind_answers() {
    for opcode in 0..16u16 {
        let query = message(opcode << 11, 1, QUESTION);
        assert_eq!(asked(&query).is_some(), opcode == 0, "{opcode}");
        assert_eq!(answered(&query), None, "{opcode}");
        let answer = message(0x8000 | opcode << 11, 1, QUESTION);
        assert!(answered(&answer).is_some(), "{opcode}");
    }
    let nothing = message(0, 0, b"");
    assert_eq!(Dns::read(&nothing), None, "a query without a question");
}

#[test]
fn every_prefix_is_none_until_the_question_has_ended() {
    for case in MESSAGES {
        for length in 0..case.bytes.len() {
            let prefix = &case.bytes[..length];
            let read = Dns::read(prefix);
            if parse(prefix) == Err(Malformed::Truncated) {
                assert_eq!(read, None, "{} at {length}", case.name);
            } else {
                assert_eq!(read, Dns::read(case.bytes), "{} at {length}", case.name);
            }
        }
    }
}

#[test]
fn an_answer_repeats_the_question_or_has_none() {
    let request = asked(&message(0, 1, QUESTION)).unwrap().1;
    for (questions, rest, same) in [
        (1, QUESTION, true),
        (1, b"\x01A\x00\x00\x01\x00\x01", true),
        (0, b"", true),
        (1, b"\x01b\x00\x00\x01\x00\x01", false),
        (1, b"\x01a\x00\x00\x1c\x00\x01", false),
        (1, b"\x01a\x00\x00\x01\x00\x03", false),
    ] {
        let response = answered(&message(0x8000, questions, rest)).unwrap().1;
        let answers = Dns::answers(&request, &response);
        assert_eq!(answers, same, "{}", rest.escape_ascii());
    }
}
