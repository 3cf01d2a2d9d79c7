//! What messages on the wire are, and what is none.

use super::*;

/// A message with these flags and questions, and what follows them.
fn message(flags: u16, questions: u16, rest: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34];
    for word in [flags, questions, 0, 0, 0] {
        bytes.extend(word.to_be_bytes());
    }
    bytes.extend(rest);
    bytes
}

const EXAMPLE: &[u8] = b"\x07eXample\x03COM\x00\x00\x1c\x00\x01";

#[test]
fn a_query_and_its_answer_ask_the_same() {
    let query = parse(&message(0x0100, 1, EXAMPLE)).unwrap();
    let question = query.question.clone().unwrap();
    assert_eq!(&*question.name, "example.com");
    assert_eq!(
        (question.kind.to_string().as_str(), question.class),
        ("AAAA", 1)
    );
    assert_eq!(
        (query.id, query.is_response, query.opcode),
        (0x1234, false, 0)
    );

    let mut rest = EXAMPLE.to_ascii_lowercase();
    rest.extend(b"\xc0\x0c whatever follows");
    let answer = parse(&message(0x8383, 1, &rest)).unwrap();
    assert_eq!(answer.question, query.question);
    assert!(answer.is_response && answer.truncated);
    assert_eq!(answer.response_code, ResponseCode::NAME_ERROR);
    assert_eq!(answer.response_code.as_str(), Some("NXDOMAIN"));
}

#[test]
fn an_answer_may_have_no_question() {
    let answer = parse(&message(0x8001, 0, b"")).unwrap();
    assert_eq!(answer.question, None);
    assert_eq!(answer.response_code.as_str(), Some("FORMERR"));
    assert_eq!(ResponseCode(15).as_str(), None);
}

#[test]
fn names_are_written_so_that_they_can_be_read_back() {
    let table: [(&[u8], &str); 5] = [
        (b"\x00", "."),
        (b"\x03a.b\x01c\x00", "a\\.b.c"),
        (b"\x02\\ \x00", "\\\\\\032"),
        (b"\x04_tcp\x02X\xff\x00", "_tcp.x\\255"),
        (b"\x01\x00\x00", "\\000"),
    ];
    for (sent, expected) in table {
        let mut rest = sent.to_vec();
        rest.extend([0, 1, 0, 1]);
        let question = parse(&message(0, 1, &rest)).unwrap().question.unwrap();
        assert_eq!(&*question.name, expected);
    }
    assert_eq!(RecordType(4711).to_string(), "TYPE4711");
}

#[test]
fn what_ends_early_or_points_back_is_refused() {
    let whole = message(0x0100, 1, EXAMPLE);
    for length in 0..whole.len() {
        assert_eq!(
            parse(&whole[..length]),
            Err(Malformed::Truncated),
            "{length}"
        );
    }
    let pointer = message(0x0100, 1, b"\xc0\x0c\x00\x01\x00\x01");
    assert_eq!(parse(&pointer), Err(Malformed::Name));
    let long: Vec<u8> =
        b"\x3faaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".repeat(8);
    assert_eq!(parse(&message(0, 1, &long)), Err(Malformed::Name));
}
