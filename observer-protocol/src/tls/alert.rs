//! Alerts (RFC 8446 section 6, RFC 5246 section 7.2).

/// Why a side ends a connection, or what it warns of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alert {
    /// 1 is a warning, 2 is fatal. TLS 1.3 goes by the description alone.
    pub level: u8,
    /// The number of what happened.
    pub description: u8,
}

impl Alert {
    /// The alert of two bytes; nothing where there are not exactly as many.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        match *bytes {
            [level, description] => Some(Self { level, description }),
            _ => None,
        }
    }

    /// The side says nothing more, as it should before it closes.
    pub const fn is_close_notify(self) -> bool {
        self.description == 0
    }

    /// The connection failed. `user_canceled` and `no_renegotiation` end nothing; others are fatal where the level says so, in
    /// TLS 1.3 always.
    pub const fn is_fatal(self, version_13: bool) -> bool {
        !matches!(self.description, 0 | 90 | 100) && (self.level == 2 || version_13)
    }

    /// Its name in the registry, in lower case; nothing for numbers without.
    pub const fn name(self) -> Option<&'static str> {
        Some(match self.description {
            0 => "close_notify",
            10 => "unexpected_message",
            20 => "bad_record_mac",
            21 => "decryption_failed",
            22 => "record_overflow",
            30 => "decompression_failure",
            40 => "handshake_failure",
            41 => "no_certificate",
            42 => "bad_certificate",
            43 => "unsupported_certificate",
            44 => "certificate_revoked",
            45 => "certificate_expired",
            46 => "certificate_unknown",
            47 => "illegal_parameter",
            48 => "unknown_ca",
            49 => "access_denied",
            50 => "decode_error",
            51 => "decrypt_error",
            60 => "export_restriction",
            70 => "protocol_version",
            71 => "insufficient_security",
            80 => "internal_error",
            86 => "inappropriate_fallback",
            90 => "user_canceled",
            100 => "no_renegotiation",
            109 => "missing_extension",
            110 => "unsupported_extension",
            111 => "certificate_unobtainable",
            112 => "unrecognized_name",
            113 => "bad_certificate_status_response",
            114 => "bad_certificate_hash_value",
            115 => "unknown_psk_identity",
            116 => "certificate_required",
            120 => "no_application_protocol",
            121 => "ech_required",
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(level: u8, description: u8) -> Alert {
        Alert { level, description }
    }

    /// The registry's TLS Alerts, with RFC 8446's and RFC 5246's.
    #[test]
    fn numbers_have_the_registrys_names() {
        let table = [
            (0, "close_notify"),
            (10, "unexpected_message"),
            (20, "bad_record_mac"),
            (21, "decryption_failed"),
            (22, "record_overflow"),
            (30, "decompression_failure"),
            (40, "handshake_failure"),
            (41, "no_certificate"),
            (42, "bad_certificate"),
            (43, "unsupported_certificate"),
            (44, "certificate_revoked"),
            (45, "certificate_expired"),
            (46, "certificate_unknown"),
            (47, "illegal_parameter"),
            (48, "unknown_ca"),
            (49, "access_denied"),
            (50, "decode_error"),
            (51, "decrypt_error"),
            (60, "export_restriction"),
            (70, "protocol_version"),
            (71, "insufficient_security"),
            (80, "internal_error"),
            (86, "inappropriate_fallback"),
            (90, "user_canceled"),
            (100, "no_renegotiation"),
            (109, "missing_extension"),
            (110, "unsupported_extension"),
            (111, "certificate_unobtainable"),
            (112, "unrecognized_name"),
            (113, "bad_certificate_status_response"),
            (114, "bad_certificate_hash_value"),
            (115, "unknown_psk_identity"),
            (116, "certificate_required"),
            (120, "no_application_protocol"),
            (121, "ech_required"),
        ];
        for number in 0..=255 {
            let name = table.iter().find(|(known, _)| *known == number);
            assert_eq!(named(2, number).name(), name.map(|(_, name)| *name));
        }
    }

    #[test]
    fn what_ends_a_connection_is_fatal() {
        for number in 0..=255 {
            let ends = !matches!(number, 0 | 90 | 100);
            assert_eq!(named(2, number).is_fatal(false), ends, "{number}");
            assert_eq!(named(1, number).is_fatal(true), ends, "{number}");
            assert!(!named(1, number).is_fatal(false), "{number}");
            assert_eq!(named(1, number).is_close_notify(), number == 0);
        }
    }

    #[test]
    fn an_alert_has_two_bytes() {
        assert_eq!(Alert::read(&[2, 70]), Some(named(2, 70)));
        for bytes in [&[][..], &[2], &[2, 70, 0]] {
            assert_eq!(Alert::read(bytes), None);
        }
    }
}
