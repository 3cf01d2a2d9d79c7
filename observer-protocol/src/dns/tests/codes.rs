//! Numbers and their names in IANA's registry "Domain Name System (DNS) Parameters".

use crate::dns::{RecordType, ResponseCode};

#[test]
fn response_codes_have_the_registrys_names() {
    let table = [
        (0, Some("NOERROR")),
        (1, Some("FORMERR")),
        (2, Some("SERVFAIL")),
        (3, Some("NXDOMAIN")),
        (4, Some("NOTIMP")),
        (5, Some("REFUSED")),
        (6, Some("YXDOMAIN")),
        (7, Some("YXRRSET")),
        (8, Some("NXRRSET")),
        (9, Some("NOTAUTH")),
        (10, Some("NOTZONE")),
        (11, Some("DSOTYPENI")),
        // Not assigned.
        (12, None),
        (13, None),
        (14, None),
        (15, None),
        // What an extension adds does not stand in the header.
        (16, None),
        (255, None),
    ];
    for (number, name) in table {
        assert_eq!(ResponseCode(number).as_str(), name, "{number}");
    }
    assert_eq!(ResponseCode::NO_ERROR.as_str(), Some("NOERROR"));
    assert_eq!(ResponseCode::NAME_ERROR.as_str(), Some("NXDOMAIN"));
}

#[test]
fn record_types_have_the_registrys_names_or_their_number() {
    let table = [
        (1, "A"),
        (2, "NS"),
        (5, "CNAME"),
        (6, "SOA"),
        (12, "PTR"),
        (15, "MX"),
        (16, "TXT"),
        (28, "AAAA"),
        (33, "SRV"),
        (35, "NAPTR"),
        (43, "DS"),
        (48, "DNSKEY"),
        (64, "SVCB"),
        (65, "HTTPS"),
        (255, "ANY"),
        (257, "CAA"),
        // RFC 3597 section 5.
        (0, "TYPE0"),
        (4711, "TYPE4711"),
        (65535, "TYPE65535"),
    ];
    for (number, name) in table {
        assert_eq!(RecordType(number).to_string(), name, "{number}");
    }
}
