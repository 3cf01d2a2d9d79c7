//! How messages of HTTP/1 begin, for the kernel programs.

use crate::detection::{Row, Sender, Shape, Test};

/// Status lines, requests for a tunnel, then request lines. What a method may be is not listed: any word is one.
pub const ROWS: &[Row] = &[
    Row {
        least: 8,
        ..Row::prefix(b"HTTP/1.", Sender::Server, Shape::Head)
    },
    Row {
        certain: false,
        tls_follows: true,
        ..Row::prefix(b"CONNECT ", Sender::Client, Shape::Head)
    },
    Row {
        test: Test::StartLine,
        least: 0,
        ..Row::prefix(b"HTTP/1.", Sender::Client, Shape::Head)
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::{Detection, detect};

    /// What the parser is sure is no response does not fit, either; of what it is not sure, the row asks for eight bytes.
    #[test]
    fn what_the_parser_takes_for_a_response_fits_the_first_row() {
        for text in ["HTTP/1.1 200 OK\r\n", "HTTP/1.0 404 Not Found\r\n"] {
            assert_eq!(detect(text.as_bytes()), Detection::Response);
            for length in 0..=text.len() {
                let first = &text.as_bytes()[..length];
                assert_eq!(ROWS[0].fits(first), length >= 8, "{length} of {text:?}");
            }
        }
        for text in [
            "HTTP/2 200\r\n",
            "http/1.1 200 OK\r\n",
            "GET / HTTP/1.1\r\n",
        ] {
            assert_ne!(detect(text.as_bytes()), Detection::Response);
            assert!(!ROWS[0].fits(text.as_bytes()), "{text:?}");
        }
    }

    #[test]
    fn a_request_for_a_tunnel_may_have_tls_follow_it_and_no_other_has() {
        let fits = |line: &[u8]| ROWS.iter().find(|row| row.fits(line));
        let tunnel = fits(b"CONNECT shop.example:443 HTTP/1.1\r\n");
        assert!(tunnel.is_some_and(|row| row.tls_follows && row.message && !row.certain));
        assert!(ROWS.iter().filter(|row| row.tls_follows).count() == 1);
        for other in [
            &b"CONNECT"[..],
            b"CONNECTS a:1 HTTP/1.1",
            b"POST / HTTP/1.1",
        ] {
            assert!(fits(other).is_none(), "{other:?}");
        }
    }

    /// The kernel programs look for a version somewhere in the line, however short the line is.
    #[test]
    fn a_request_is_a_start_line_of_any_length_with_a_version() {
        let row = &ROWS[2];
        assert_eq!((row.test, row.least), (Test::StartLine, 0));
        assert_eq!(row.value, ROWS[0].value);
        assert_eq!(&row.value[..7], b"HTTP/1.");
        assert_eq!(
            (row.sender, ROWS[0].sender),
            (Sender::Client, Sender::Server)
        );
        assert!(
            !row.fits(b"HTTP/1."),
            "only the kernel programs compare lines"
        );
    }
}
