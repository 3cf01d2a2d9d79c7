//! A message's header and question (RFC 1035 sections 4.1.1 and 4.1.2).

use super::{
    codes::{RecordType, ResponseCode},
    name::name,
};

/// Bytes of the header.
const HEADER: usize = 12;

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
    let (header, rest) = bytes
        .split_first_chunk::<HEADER>()
        .ok_or(Malformed::Truncated)?;
    let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let flags = word(2);
    let question = match word(4) {
        0 => None,
        _ => Some(question(rest)?),
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

fn question(mut rest: &[u8]) -> Result<Question, Malformed> {
    let name = name(&mut rest)?;
    let (fixed, _) = rest.split_first_chunk::<4>().ok_or(Malformed::Truncated)?;
    Ok(Question {
        name,
        kind: RecordType(u16::from_be_bytes([fixed[0], fixed[1]])),
        class: u16::from_be_bytes([fixed[2], fixed[3]]),
    })
}
