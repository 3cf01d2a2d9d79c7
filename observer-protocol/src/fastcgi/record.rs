//! Records (section 3.3 of the specification).

use crate::framing::{Found, Header};

/// What a record is (section 8).
pub mod kind {
    /// Begins a request.
    pub const BEGIN_REQUEST: u8 = 1;
    /// The web server gives it up.
    pub const ABORT_REQUEST: u8 = 2;
    /// The application has ended it.
    pub const END_REQUEST: u8 = 3;
    /// A piece of its parameters; an empty one ends them.
    pub const PARAMS: u8 = 4;
    /// Of its body.
    pub const STDIN: u8 = 5;
    /// Of the answer: a CGI head and a body.
    pub const STDOUT: u8 = 6;
    /// Of what the application complains of.
    pub const STDERR: u8 = 7;
    /// Of a file, for a filter.
    pub const DATA: u8 = 8;
    /// Asks what the application is capable of.
    pub const GET_VALUES: u8 = 9;
    /// The last one.
    pub(super) const UNKNOWN: u8 = 11;
}

/// What an application is asked to be (section 6).
pub(super) mod role {
    pub(in super::super) const RESPONDER: u16 = 1;
    pub(in super::super) const AUTHORIZER: u16 = 2;
    pub(in super::super) const FILTER: u16 = 3;
}

/// The bytes of a header.
pub(super) const HEADER: usize = 8;

/// The header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) kind: u8,
    /// Which request it is of; 0 for none.
    pub(super) id: u16,
    pub(super) content: u16,
    pub(super) padding: u8,
}

impl Header for Record {
    fn read(bytes: &[u8]) -> Found<Self> {
        let is_one = bytes.first().is_none_or(|version| *version == 1)
            && bytes
                .get(1)
                .is_none_or(|kind| (kind::BEGIN_REQUEST..=kind::UNKNOWN).contains(kind))
            && bytes.get(7).is_none_or(|reserved| *reserved == 0);
        match bytes {
            _ if !is_one => Found::None,
            [_, kind, id_1, id_0, content_1, content_0, padding, _, ..] => Found::Frame(Self {
                kind: *kind,
                id: u16::from_be_bytes([*id_1, *id_0]),
                content: u16::from_be_bytes([*content_1, *content_0]),
                padding: *padding,
            }),
            _ => Found::More,
        }
    }

    fn length(&self) -> usize {
        HEADER
    }

    fn content(&self) -> u64 {
        self.content.into()
    }

    fn padding(&self) -> u64 {
        self.padding.into()
    }
}
