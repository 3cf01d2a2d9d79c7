//! DNS messages (RFC 1035), as far as a lookup is concerned: the header and the question.

use std::fmt::{self, Write as _};

/// Bytes of the header.
const HEADER: usize = 12;
/// Most bytes of a name as it is sent.
const MAX_NAME: usize = 255;

/// The header and the first question of a message. What follows (answers, extensions) is not looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What a query and its answers share.
    pub id: u16,
    /// It answers; else it asks.
    pub is_response: bool,
    /// What is asked for: 0 is a standard query.
    pub opcode: u8,
    /// The answer did not fit: whoever asked may do so again over TCP.
    pub truncated: bool,
    /// How it went, of an answer; the lower four bits, as the header has them.
    pub response_code: ResponseCode,
    /// The first question; `None` where there is none, as in some answers to what could not be understood.
    pub question: Option<Question>,
}

/// What a query asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// The name without its final dot, in lower case (names are compared so); the root is `.`. Bytes that are no
    /// printable ASCII, and dots and backslashes within a label, are written as in zone files: `\DDD`, `\.`, `\\`.
    pub name: Box<str>,
    /// The type of record.
    pub kind: RecordType,
    /// The class: 1 is the Internet.
    pub class: u16,
}

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// They end within the header or the question.
    Truncated,
    /// The question's name is compressed, too long, or has a label of an unknown kind.
    Name,
}

/// Reads a message, or the beginning of one.
///
/// # Errors
/// [`Malformed`], when the header or the first question cannot be read.
pub fn parse(bytes: &[u8]) -> Result<Message, Malformed> {
    let (header, mut rest) = bytes
        .split_first_chunk::<HEADER>()
        .ok_or(Malformed::Truncated)?;
    let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let flags = word(2);
    let question = match word(4) {
        0 => None,
        _ => Some(question(&mut rest)?),
    };
    Ok(Message {
        id: word(0),
        is_response: flags & 0x8000 != 0,
        opcode: (flags >> 11 & 0xf) as u8,
        truncated: flags & 0x0200 != 0,
        response_code: ResponseCode((flags & 0xf) as u8),
        question,
    })
}

fn question(rest: &mut &[u8]) -> Result<Question, Malformed> {
    let name = name(rest)?;
    let (fixed, behind) = rest.split_first_chunk::<4>().ok_or(Malformed::Truncated)?;
    *rest = behind;
    Ok(Question {
        name,
        kind: RecordType(u16::from_be_bytes([fixed[0], fixed[1]])),
        class: u16::from_be_bytes([fixed[2], fixed[3]]),
    })
}

fn name(rest: &mut &[u8]) -> Result<Box<str>, Malformed> {
    let mut name = String::new();
    let mut length = 0;
    loop {
        let (&size, behind) = rest.split_first().ok_or(Malformed::Truncated)?;
        length += 1 + usize::from(size);
        // Two bits tell labels from pointers; nothing lies before a question that one could point to.
        if size > 63 || length > MAX_NAME {
            return Err(Malformed::Name);
        }
        let (label, behind) = behind
            .split_at_checked(usize::from(size))
            .ok_or(Malformed::Truncated)?;
        *rest = behind;
        if label.is_empty() {
            break;
        }
        if !name.is_empty() {
            name.push('.');
        }
        for &byte in label {
            match byte {
                b'.' | b'\\' => name.extend(['\\', char::from(byte)]),
                b'!'..=b'~' => name.push(char::from(byte.to_ascii_lowercase())),
                // Writing to a String does not fail.
                _ => drop(write!(name, "\\{byte:03}")),
            }
        }
    }
    if name.is_empty() {
        name.push('.');
    }
    Ok(name.into())
}

/// How a lookup went: RCODE of the header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ResponseCode(pub u8);

impl ResponseCode {
    /// There is an answer, if perhaps an empty one.
    pub const NO_ERROR: Self = Self(0);
    /// No such name exists.
    pub const NAME_ERROR: Self = Self(3);

    /// The mnemonic of IANA's registry ("DNS RCODEs"); `None` for one that is not assigned.
    pub const fn as_str(self) -> Option<&'static str> {
        Some(match self.0 {
            0 => "NOERROR",
            1 => "FORMERR",
            2 => "SERVFAIL",
            3 => "NXDOMAIN",
            4 => "NOTIMP",
            5 => "REFUSED",
            6 => "YXDOMAIN",
            7 => "YXRRSET",
            8 => "NXRRSET",
            9 => "NOTAUTH",
            10 => "NOTZONE",
            11 => "DSOTYPENI",
            _ => return None,
        })
    }
}

/// Which kind of record is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RecordType(pub u16);

impl fmt::Display for RecordType {
    /// The mnemonic of IANA's registry, or `TYPE` and the number (RFC 3597).
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self.0 {
            1 => "A",
            2 => "NS",
            5 => "CNAME",
            6 => "SOA",
            12 => "PTR",
            15 => "MX",
            16 => "TXT",
            28 => "AAAA",
            33 => "SRV",
            35 => "NAPTR",
            43 => "DS",
            48 => "DNSKEY",
            64 => "SVCB",
            65 => "HTTPS",
            255 => "ANY",
            257 => "CAA",
            number => return write!(formatter, "TYPE{number}"),
        })
    }
}

#[cfg(test)]
mod tests {
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
}
