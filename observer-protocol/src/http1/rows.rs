//! How messages of HTTP/1 begin, for the kernel programs.

use crate::detection::{Row, Sender, Shape, Test};

/// Status lines, then request lines. What a method may be is not listed: any word is one.
pub const ROWS: &[Row] = &[
    Row {
        least: 8,
        ..Row::prefix(b"HTTP/1.", Sender::Server, Shape::Head)
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

    #[test]
    fn what_the_parser_takes_for_a_response_fits_the_first_row() {
        for text in ["HTTP/1.1 200 OK\r\n", "HTTP/1.0 404 Not Found\r\n"] {
            assert_eq!(detect(text.as_bytes()), Detection::Response);
            assert!(ROWS[0].fits(text.as_bytes()));
        }
    }
}
