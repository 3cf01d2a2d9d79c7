//! The header's fields, and where a message ends too early.

use super::{corpus::MESSAGES, message};
use crate::dns::{Malformed, ResponseCode, parse};

/// A question for `a`, type A, class IN.
const QUESTION: &[u8] = b"\x01a\x00\x00\x01\x00\x01";

#[test]
fn every_message_of_the_corpus_is_understood() {
    for case in MESSAGES {
        let message = parse(case.bytes).unwrap();
        assert_eq!(message.id, case.id, "{}", case.name);
        assert_eq!(message.is_response, case.is_response, "{}", case.name);
        assert_eq!(message.opcode, case.opcode, "{}", case.name);
        assert_eq!(message.truncated, case.truncated, "{}", case.name);
        assert_eq!(
            message.response_code.as_str(),
            Some(case.code),
            "{}",
            case.name
        );
        let question = message.question.map(|question| {
            let kind = question.kind.to_string();
            (question.name.into_string(), kind, question.class)
        });
        let expected = case
            .question
            .map(|(name, kind, class, _)| (name.to_owned(), kind.to_owned(), class));
        assert_eq!(question, expected, "{}", case.name);
    }
}

#[test]
fn every_prefix_is_incomplete_until_the_question_has_ended_and_then_the_same() {
    for case in MESSAGES {
        let whole = parse(case.bytes);
        let needed = case.question.map_or(12, |(.., end)| end);
        for length in 0..=case.bytes.len() {
            let prefix = parse(&case.bytes[..length]);
            if length < needed {
                assert_eq!(
                    prefix,
                    Err(Malformed::Truncated),
                    "{} at {length}",
                    case.name
                );
            } else {
                assert_eq!(prefix, whole, "{} at {length}", case.name);
            }
        }
    }
}

#[test]
fn each_flag_stands_where_rfc_1035_has_it() {
    // Response, opcode, truncated and code of each bit, from the highest on: QR, four of the opcode, AA, TC, RD, RA,
    // Z, AD, CD, four of the code.
    let bits = [
        (true, 0, false, 0),
        (false, 8, false, 0),
        (false, 4, false, 0),
        (false, 2, false, 0),
        (false, 1, false, 0),
        (false, 0, false, 0),
        (false, 0, true, 0),
        (false, 0, false, 0),
        (false, 0, false, 0),
        (false, 0, false, 0),
        (false, 0, false, 0),
        (false, 0, false, 0),
        (false, 0, false, 8),
        (false, 0, false, 4),
        (false, 0, false, 2),
        (false, 0, false, 1),
    ];
    for (index, (is_response, opcode, truncated, code)) in bits.into_iter().enumerate() {
        let flag = 0x8000 >> index;
        let alone = parse(&message(flag, 0, b"")).unwrap();
        assert_eq!(
            (alone.is_response, alone.opcode, alone.truncated),
            (is_response, opcode, truncated),
            "{flag:#06x}"
        );
        assert_eq!(alone.response_code, ResponseCode(code), "{flag:#06x}");

        let others = parse(&message(!flag, 0, b"")).unwrap();
        assert_eq!(
            (others.is_response, others.opcode, others.truncated),
            (!is_response, 15 - opcode, !truncated),
            "all but {flag:#06x}"
        );
        assert_eq!(
            others.response_code,
            ResponseCode(15 - code),
            "all but {flag:#06x}"
        );
    }
}

#[test]
fn every_opcode_is_told_whatever_the_other_flags_are() {
    for opcode in 0..16u8 {
        for others in [0, 0x87ff] {
            let flags = u16::from(opcode) << 11 | others;
            assert_eq!(parse(&message(flags, 0, b"")).unwrap().opcode, opcode);
        }
    }
}

#[test]
fn the_first_of_any_number_of_questions_is_read() {
    for count in [1, 2, 0x0100, 0xffff] {
        let read = parse(&message(0, count, QUESTION)).unwrap();
        assert_eq!(&*read.question.unwrap().name, "a", "{count}");
        assert_eq!(
            parse(&message(0, count, b"")),
            Err(Malformed::Truncated),
            "{count}"
        );
    }
    let none = parse(&message(0, 0, QUESTION)).unwrap();
    assert_eq!(
        none.question, None,
        "what follows the header is no question"
    );
}

#[test]
fn the_type_comes_before_the_class_and_both_have_two_bytes() {
    let question = parse(&message(0, 1, b"\x01a\x00\x01\x02\x03\x04"))
        .unwrap()
        .question
        .unwrap();
    assert_eq!((question.kind.0, question.class), (0x0102, 0x0304));
}
