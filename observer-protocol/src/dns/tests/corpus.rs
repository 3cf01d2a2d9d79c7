//! Messages as real programs send them, and what they are.

/// A message and what is in it.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) bytes: &'static [u8],
    pub(super) id: u16,
    pub(super) is_response: bool,
    pub(super) opcode: u8,
    pub(super) truncated: bool,
    pub(super) code: &'static str,
    /// Name, type and class, and how many bytes of the message hold it and the header; `None`: 12 bytes are enough.
    pub(super) question: Option<(&'static str, &'static str, u16, usize)>,
}

/// What a row does not say.
const QUERY: Case = Case {
    name: "",
    bytes: b"",
    id: 0,
    is_response: false,
    opcode: 0,
    truncated: false,
    code: "NOERROR",
    question: None,
};
const ANSWER: Case = Case {
    is_response: true,
    ..QUERY
};

pub(super) const MESSAGES: &[Case] = &[
    Case {
        name: "glibc asks for an address",
        bytes: b"\x8e\x21\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x03com\x00\x00\x01\x00\x01",
        id: 0x8e21,
        question: Some(("www.example.com", "A", 1, 33)),
        ..QUERY
    },
    Case {
        name: "the answer, with a pointer to the question's name",
        bytes: b"\x8e\x21\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\x03www\x07example\x03com\x00\x00\x01\x00\x01\
            \xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x01",
        id: 0x8e21,
        question: Some(("www.example.com", "A", 1, 33)),
        ..ANSWER
    },
    Case {
        name: "dig asks, with the extension for larger answers",
        bytes: b"\x00\x01\x01\x20\x00\x01\x00\x00\x00\x00\x00\x01\x07example\x03org\x00\x00\x1c\x00\x01\
            \x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00",
        id: 1,
        question: Some(("example.org", "AAAA", 1, 29)),
        ..QUERY
    },
    Case {
        name: "a resolver that mixes upper and lower case in what it asks",
        bytes: b"\x40\x00\x00\x10\x00\x01\x00\x00\x00\x00\x00\x01\x07eXaMPle\x03NeT\x00\x00\x0f\x00\x01\
            \x00\x00\x29\x04\xd0\x00\x00\x80\x00\x00\x00",
        id: 0x4000,
        question: Some(("example.net", "MX", 1, 29)),
        ..QUERY
    },
    Case {
        name: "no such name, and who says so",
        bytes: b"\xff\xff\x85\x83\x00\x01\x00\x00\x00\x01\x00\x00\x04nope\x07example\x00\x00\x01\x00\x01\
            \xc0\x11\x00\x06\x00\x01\x00\x00\x0e\x10\x00\x16\xc0\x11\xc0\x11\x00\x00\x00\x01\x00\x00\x00\x02\
            \x00\x00\x00\x03\x00\x00\x00\x04\x00\x00\x00\x05",
        id: 0xffff,
        code: "NXDOMAIN",
        question: Some(("nope.example", "A", 1, 30)),
        ..ANSWER
    },
    Case {
        name: "an answer that did not fit",
        bytes: b"\x00\x07\x83\x80\x00\x01\x00\x00\x00\x00\x00\x00\x03big\x04test\x00\x00\x10\x00\x01",
        id: 7,
        truncated: true,
        question: Some(("big.test", "TXT", 1, 26)),
        ..ANSWER
    },
    Case {
        name: "who has this address",
        bytes: b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x011\x012\x010\x03192\x07in-addr\x04arpa\x00\
            \x00\x0c\x00\x01",
        id: 0x1234,
        question: Some(("1.2.0.192.in-addr.arpa", "PTR", 1, 40)),
        ..QUERY
    },
    Case {
        name: "a resolver asks for the root's name servers",
        bytes: b"\x9a\xbc\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01",
        id: 0x9abc,
        question: Some((".", "NS", 1, 17)),
        ..QUERY
    },
    Case {
        name: "multicast DNS looks for printers, and asks for an answer to itself",
        bytes: b"\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x04_ipp\x04_tcp\x05local\x00\x00\x0c\x80\x01\
            \x05_ipps\xc0\x11\x00\x0c\x80\x01",
        question: Some(("_ipp._tcp.local", "PTR", 0x8001, 33)),
        ..QUERY
    },
    Case {
        name: "BIND's version, in the class CHAOS",
        bytes: b"\x00\x02\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07version\x04bind\x00\x00\x10\x00\x03",
        id: 2,
        question: Some(("version.bind", "TXT", 3, 30)),
        ..QUERY
    },
    Case {
        name: "a primary server notifies a secondary one",
        bytes: b"\x00\x03\x24\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04zone\x04test\x00\x00\x06\x00\x01",
        id: 3,
        opcode: 4,
        question: Some(("zone.test", "SOA", 1, 27)),
        ..QUERY
    },
    Case {
        name: "a dynamic update that is refused",
        bytes: b"\x00\x04\xa8\x05\x00\x01\x00\x00\x00\x00\x00\x00\x04zone\x04test\x00\x00\x06\x00\x01",
        id: 4,
        opcode: 5,
        code: "REFUSED",
        question: Some(("zone.test", "SOA", 1, 27)),
        ..ANSWER
    },
    Case {
        name: "an answer to what could not be understood",
        bytes: b"\xbe\xef\x80\x01\x00\x00\x00\x00\x00\x00\x00\x00",
        id: 0xbeef,
        code: "FORMERR",
        question: None,
        ..ANSWER
    },
];
