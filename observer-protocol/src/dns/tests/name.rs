//! Names: their text, and the bounds of labels and of the whole.

use super::message;
use crate::dns::{Malformed, parse};

/// The name that `labels` are, followed by a type and a class.
fn name(labels: &[u8]) -> Result<String, Malformed> {
    let rest = [labels, &[0, 1, 0, 1]].concat();
    let message = parse(&message(0, 1, &rest))?;
    Ok(message.question.unwrap().name.into())
}

/// Labels of these sizes and the root, as they are sent.
fn labels(sizes: &[u8]) -> Vec<u8> {
    let mut sent = Vec::new();
    for size in sizes {
        sent.push(*size);
        sent.extend(vec![b'x'; usize::from(*size)]);
    }
    sent.push(0);
    sent
}

#[test]
fn names_are_written_so_that_they_can_be_read_back() {
    let table: [(&[u8], &str); 10] = [
        (b"\x00", "."),
        (b"\x01a\x00", "a"),
        (b"\x01a\x01b\x00", "a.b"),
        (b"\x03a.b\x01c\x00", "a\\.b.c"),
        (b"\x01.\x01\\\x00", "\\..\\\\"),
        (b"\x02\\ \x00", "\\\\\\032"),
        (b"\x04_tcp\x02X\xff\x00", "_tcp.x\\255"),
        (b"\x01\x00\x00", "\\000"),
        (b"\x02!~\x00", "!~"),
        (b"\x03\x1f \x7f\x00", "\\031\\032\\127"),
    ];
    for (sent, expected) in table {
        assert_eq!(name(sent).as_deref(), Ok(expected), "{expected}");
    }
}

#[test]
fn names_are_compared_without_regard_to_case() {
    // RFC 4343: the letters of ASCII alone have a case.
    let letters: Vec<u8> = (b'A'..=b'Z').collect();
    let sent = [&[26], &letters[..], &[0]].concat();
    assert_eq!(name(&sent).as_deref(), Ok("abcdefghijklmnopqrstuvwxyz"));
    assert_eq!(
        name(b"\x04\xc3\x84@[\x00").as_deref(),
        Ok("\\195\\132@["),
        "no letters of ASCII"
    );
}

#[test]
fn a_label_has_63_bytes_at_most() {
    for size in 1..=63 {
        let expected = "x".repeat(usize::from(size));
        assert_eq!(name(&labels(&[size])), Ok(expected), "{size}");
    }
    for size in 64..=255 {
        assert_eq!(name(&labels(&[size])), Err(Malformed::Name), "{size}");
    }
}

#[test]
fn a_name_has_255_bytes_at_most_its_lengths_and_the_root_included() {
    // Sizes of labels, and the bytes of all: one of length before each, and the root's.
    let table: [(Vec<u8>, usize); 8] = [
        (vec![63, 63, 63, 60], 254),
        (vec![63, 63, 63, 61], 255),
        (vec![63, 63, 63, 62], 256),
        (vec![63, 63, 63, 63], 257),
        (vec![1; 127], 255),
        (vec![1; 128], 257),
        ([vec![1; 126], vec![2]].concat(), 256),
        (vec![63; 8], 513),
    ];
    for (sizes, length) in table {
        let sent = labels(&sizes);
        assert_eq!(sent.len(), length, "{sizes:?}");
        let read = name(&sent);
        if length <= 255 {
            assert_eq!(read.unwrap().len(), length - 2, "{sizes:?}");
        } else {
            assert_eq!(read, Err(Malformed::Name), "{sizes:?}");
        }
    }
}

#[test]
fn a_question_cannot_point_anywhere() {
    // RFC 1035 section 4.1.4: a pointer goes to a prior occurrence of a name, and none comes before the question.
    for pointer in [&b"\xc0\x0c"[..], b"\xc0\x00", b"\xff\xff", b"\x01a\xc0\x0c"] {
        assert_eq!(
            name(pointer),
            Err(Malformed::Name),
            "{}",
            pointer.escape_ascii()
        );
    }
    // 01 and 10 are kinds of labels that are not assigned (RFC 6891 section 5).
    for kind in [0x40, 0x41, 0x80] {
        assert_eq!(name(&[kind, 0, 0]), Err(Malformed::Name), "{kind:#x}");
    }
}
