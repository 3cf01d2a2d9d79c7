//! What the first bytes of a run say: rows of plain numbers, and how a run is held against them.
//!
//! The daemon hands the rows over before load. The kernel programs and the tests use the same functions.

use crate::{
    connection::{INBOUND, role, role_source},
    plain,
};

/// Rows that the kernel programs have room for.
pub const MAX_ROWS: usize = 32;

/// The number of a protocol. 0 is none, or not known yet; the others are the daemon's.
pub const UNKNOWN_PROTOCOL: u8 = 0;

/// How a row's words are compared: [`Row::test`].
pub mod test {
    /// The first sixteen bytes, under a mask, are the row's.
    pub const BYTES: u8 = 0;
    /// A start line of text: a word of letters, `-` and `_`, a space, then `/`, `*`, `http` or, behind `CONNECT`, anything.
    /// The row's bytes, under its mask, stand further on in the line: `HTTP/1.` of HTTP/1.
    pub const START_LINE: u8 = 1;
}

/// Bits of [`Row::flags`].
pub mod flag {
    /// Nothing else begins like this: a role may be taken from it. For a [`test::START_LINE`] only with the bytes further
    /// on in the line.
    pub const CERTAIN: u8 = 1;
    /// What begins like this is a request of its own (or the answer to one), with ids.
    pub const MESSAGE: u8 = 1 << 1;
    /// A connection of the protocol carries several requests at once.
    pub const MULTIPLEXED: u8 = 1 << 2;
    /// What begins like this may have TLS follow it on the same connection.
    pub const TLS_FOLLOWS: u8 = 1 << 3;
}

/// One way in which a message of a protocol begins.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// The bytes, the first one highest.
    pub value: [u64; 2],
    /// Which of their bits count.
    pub mask: [u64; 2],
    /// Whose: a number of the daemon's.
    pub protocol: u8,
    /// Which end sends it, one of [`role`]; [`role::UNKNOWN`] where either does.
    pub sender: u8,
    /// What is shipped of the connection from here on, one of [`shape`](crate::control::shape).
    pub shape: u8,
    /// One of [`test`].
    pub test: u8,
    /// Bits of [`flag`].
    pub flags: u8,
    /// So many bytes must be there.
    pub least: u8,
    /// The row of [`Layout`](crate::frames::Layout)s that its frames are of, counted from 1; 0 for none.
    pub layout: u8,
    /// Bytes at the beginning of what fits that come before its first frame.
    pub preface: u8,
}
plain!(Row, 40);

/// All rows, as the kernel programs have them.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Rows {
    /// How many there are.
    pub count: u64,
    /// The rows; the first that fits counts.
    pub rows: [Row; MAX_ROWS],
}
plain!(Rows, 8 + 40 * MAX_ROWS);

/// The longest word of a start line that is recognised.
pub const MAX_WORD: u32 = 17;

impl Row {
    /// Whether a run that begins with these sixteen bytes, of which `there` are its own, fits a row of [`test::BYTES`].
    #[inline(always)]
    #[must_use]
    pub fn fits_bytes(&self, first: [u64; 2], there: u32) -> bool {
        there >= self.least as u32
            && (first[0] ^ self.value[0]) & self.mask[0] == 0
            && (first[1] ^ self.value[1]) & self.mask[1] == 0
    }
}

/// What of a start line is there, see [`test::START_LINE`].
pub mod line {
    /// It is none.
    pub const NO: u32 = 0;
    /// It may be one: so short a first read that no space is in it. (Go reads one byte ahead while it answers.)
    pub const SHORT: u32 = 1;
    /// It is one.
    pub const YES: u32 = 2;
}

/// Whether a run that begins with the bytes that `byte` returns, of which `there` are its own, begins with a start
/// line: one of [`line`]. `byte` is asked for positions below 24.
#[inline(always)]
pub fn start_line(there: u32, byte: impl Fn(u32) -> u8) -> u32 {
    let mut index = 0;
    while index < MAX_WORD {
        if index + 1 >= there {
            let may_be = index > 0 || (there == 1 && is_word_byte(byte(0)));
            return if may_be { line::SHORT } else { line::NO };
        }
        let found = byte(index);
        if found == b' ' {
            if index == 0 {
                return line::NO;
            }
            if index == 3 && byte(0) == b'P' && byte(1) == b'R' && byte(2) == b'I' {
                // No method, so that no server of HTTP/1 takes what begins HTTP/2 for a request (RFC 9113 section 3.4).
                return line::NO;
            }
            let connects = index == 7 && byte(0) == b'C';
            let fits = connects || follows(there, index + 1, &byte);
            return if fits { line::YES } else { line::NO };
        }
        if !is_word_byte(found) {
            return line::NO;
        }
        index += 1;
    }
    line::NO
}

/// Whether what stands at `at` is a path, `*`, or as much of `http` as is there.
#[inline(always)]
fn follows(there: u32, at: u32, byte: &impl Fn(u32) -> u8) -> bool {
    match byte(at) {
        b'/' | b'*' => true,
        b'h' => {
            let mut same = 1;
            while same < 4 && at + same < there {
                if byte(at + same) != b"http"[same as usize] {
                    return false;
                }
                same += 1;
            }
            true
        }
        _ => false,
    }
}

#[inline(always)]
const fn is_word_byte(byte: u8) -> bool {
    let upper = byte.wrapping_sub(b'A') < 26;
    let lower = byte.wrapping_sub(b'a') < 26;
    upper || lower || byte == b'-' || byte == b'_'
}

/// What the bytes of a run say of the connection's role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Role {
    /// One of [`role`].
    pub role: u8,
    /// One of [`role_source`].
    pub source: u8,
}

/// What a run's beginning was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which end sends such a message, one of [`role`]; [`role::UNKNOWN`] where no row fits, or either end does.
    pub sender: u8,
    /// Whether a role may be taken from it.
    pub certain: bool,
    /// Whether enough of the run was there to say that it is none.
    pub enough: bool,
}

/// The role of this end once a run in `direction` has begun with what was `found`.
///
/// A role that bytes alone told is believed for good when the other direction agrees. It is taken back when a run that
/// should be an answer is none, or one end sends what only the other does, and is then never again taken from bytes:
/// text that happens to look like a request would make a client a server time and again.
#[inline(always)]
#[must_use]
pub fn role_after(known: Role, direction: u8, found: Found) -> Role {
    let inbound = direction == INBOUND;
    let told = match (found.sender, inbound) {
        (role::SERVER, true) | (role::CLIENT, false) => role::CLIENT,
        (role::CLIENT, true) | (role::SERVER, false) => role::SERVER,
        _ => role::UNKNOWN,
    };
    match known.source {
        role_source::GIVEN
            if known.role == role::UNKNOWN && told != role::UNKNOWN && found.certain =>
        {
            Role {
                role: told,
                source: role_source::BYTES,
            }
        }
        role_source::BYTES => {
            let answers = if known.role == role::CLIENT {
                inbound
            } else {
                !inbound
            };
            if told == known.role && found.sender == role::SERVER {
                // An answer, where an answer belongs.
                let source = if answers {
                    role_source::AGREED
                } else {
                    role_source::BYTES
                };
                Role {
                    role: known.role,
                    source,
                }
            } else if (told != role::UNKNOWN && told != known.role)
                || (told == role::UNKNOWN && answers && found.enough)
            {
                Role {
                    role: role::UNKNOWN,
                    source: role_source::REVOKED,
                }
            } else {
                known
            }
        }
        _ => known,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::OUTBOUND;

    fn line_of(bytes: &[u8]) -> u32 {
        start_line(bytes.len() as u32, |at| {
            bytes.get(at as usize).copied().unwrap_or(0)
        })
    }

    #[test]
    fn start_lines_of_any_method_are_recognised() {
        for text in [
            "GET / HTTP/1.1",
            "PROPFIND /a",
            "M-SEARCH * HTTP/1.1",
            "get /",
            "CONNECT host:443",
            "OPTIONS http://a/",
        ] {
            assert_eq!(line_of(text.as_bytes()), line::YES, "{text}");
        }
    }

    #[test]
    fn other_text_is_no_start_line() {
        for text in [
            "VALUE hello 0 5",
            "get hello\r\n",
            " GET /",
            "HTTP/1.1 200 OK",
            "GET x",
            "VERYLONGMETHODWORDS /",
            "+OK",
            "PRI * HTTP/2.0",
        ] {
            assert_eq!(line_of(text.as_bytes()), line::NO, "{text}");
        }
    }

    #[test]
    fn a_first_read_without_a_space_may_be_one() {
        for text in ["G", "GE", "GET"] {
            assert_eq!(line_of(text.as_bytes()), line::SHORT, "{text}");
        }
        // With the space but nothing behind it, one byte is missing to tell.
        assert_eq!(line_of(b"GET "), line::SHORT);
        assert_eq!(line_of(b"GET h"), line::YES);
        assert_eq!(line_of(b""), line::NO);
        assert_eq!(line_of(b"1"), line::NO);
    }

    #[test]
    fn a_rows_bytes_count_under_its_mask_once_there_are_enough() {
        let row = Row {
            value: [u64::from_be_bytes(*b"HTTP/1.\0"), 0],
            mask: [!0xff, 0],
            least: 8,
            ..Row::default()
        };
        let first = [u64::from_be_bytes(*b"HTTP/1.1"), 7];
        assert!(row.fits_bytes(first, 8));
        assert!(!row.fits_bytes(first, 7));
        assert!(!row.fits_bytes([u64::from_be_bytes(*b"HTTP/2.0"), 7], 8));
    }

    const UNKNOWN: Role = Role {
        role: role::UNKNOWN,
        source: role_source::GIVEN,
    };
    const REQUEST: Found = Found {
        sender: role::CLIENT,
        certain: true,
        enough: true,
    };
    const RESPONSE: Found = Found {
        sender: role::SERVER,
        certain: true,
        enough: true,
    };
    const OTHER: Found = Found {
        sender: role::UNKNOWN,
        certain: false,
        enough: true,
    };

    #[test]
    fn a_role_is_taken_from_what_only_one_end_sends() {
        let role_of = |direction, found| role_after(UNKNOWN, direction, found);
        assert_eq!(
            role_of(INBOUND, REQUEST),
            Role {
                role: role::SERVER,
                source: role_source::BYTES
            }
        );
        assert_eq!(
            role_of(OUTBOUND, REQUEST),
            Role {
                role: role::CLIENT,
                source: role_source::BYTES
            }
        );
        assert_eq!(
            role_of(INBOUND, RESPONSE),
            Role {
                role: role::CLIENT,
                source: role_source::BYTES
            }
        );
        assert_eq!(
            role_of(OUTBOUND, RESPONSE),
            Role {
                role: role::SERVER,
                source: role_source::BYTES
            }
        );
        assert_eq!(role_of(INBOUND, OTHER), UNKNOWN);
        assert_eq!(
            role_of(
                INBOUND,
                Found {
                    certain: false,
                    ..REQUEST
                }
            ),
            UNKNOWN
        );
    }

    #[test]
    fn text_that_looks_like_a_request_does_not_make_a_client_a_server_for_ever() {
        // A memcached client reads a value whose key is a path and whose text is a request's, then asks for the next.
        let read = role_after(UNKNOWN, INBOUND, REQUEST);
        assert_eq!(read.role, role::SERVER);
        let asked = role_after(read, OUTBOUND, OTHER);
        assert_eq!(
            asked,
            Role {
                role: role::UNKNOWN,
                source: role_source::REVOKED
            }
        );
        assert_eq!(role_after(asked, INBOUND, REQUEST), asked);
    }

    #[test]
    fn a_role_that_both_directions_told_is_not_taken_back() {
        let known = role_after(role_after(UNKNOWN, INBOUND, REQUEST), OUTBOUND, RESPONSE);
        assert_eq!(
            known,
            Role {
                role: role::SERVER,
                source: role_source::AGREED
            }
        );
        assert_eq!(role_after(known, OUTBOUND, OTHER), known);
        assert_eq!(role_after(known, OUTBOUND, REQUEST), known);
    }

    #[test]
    fn a_body_in_pieces_takes_no_role_back_nor_does_an_answer_that_cannot_be_read() {
        let known = role_after(UNKNOWN, INBOUND, REQUEST);
        assert_eq!(role_after(known, INBOUND, OTHER), known);
        assert_eq!(
            role_after(
                known,
                OUTBOUND,
                Found {
                    enough: false,
                    ..OTHER
                }
            ),
            known
        );
    }

    #[test]
    fn a_role_from_the_establishment_is_never_taken_back() {
        let known = Role {
            role: role::CLIENT,
            source: role_source::GIVEN,
        };
        for direction in [INBOUND, OUTBOUND] {
            for found in [REQUEST, RESPONSE, OTHER] {
                assert_eq!(role_after(known, direction, found), known);
            }
        }
    }
}
