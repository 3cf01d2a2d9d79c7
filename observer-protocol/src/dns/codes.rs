//! What the numbers of a message are called, by IANA's registry "Domain Name System (DNS) Parameters".

use std::fmt;

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
