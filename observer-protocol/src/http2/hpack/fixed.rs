//! The table that both ends have from the start (RFC 7541 appendix A).

use super::Name;

/// How many fields it has: indices from 1 to this are its.
pub(super) const COUNT: usize = FIELDS.len();

/// A field of the table: what it is, its value, and the length of its name.
pub(super) fn field(index: usize) -> Option<(Name, &'static str, usize)> {
    let at = index.checked_sub(1)?;
    let (name, value) = FIELDS.get(at)?;
    Some((NAMES[at], value, name.len()))
}

static NAMES: [Name; COUNT] = {
    let mut names = [Name::Other; COUNT];
    let mut at = 0;
    while at < COUNT {
        names[at] = Name::of(FIELDS[at].0.as_bytes());
        at += 1;
    }
    names
};

static FIELDS: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_the_specifications_indices() {
        assert_eq!(COUNT, 61);
        assert_eq!(field(0), None);
        assert_eq!(field(62), None);
        assert_eq!(field(1), Some((Name::Authority, "", 10)));
        assert_eq!(field(3), Some((Name::Method, "POST", 7)));
        assert_eq!(field(5), Some((Name::Path, "/index.html", 5)));
        assert_eq!(field(8), Some((Name::Status, "200", 7)));
        assert_eq!(field(14), Some((Name::Status, "500", 7)));
        assert_eq!(field(31), Some((Name::ContentType, "", 12)));
        assert_eq!(field(38), Some((Name::Host, "", 4)));
        assert_eq!(field(58), Some((Name::UserAgent, "", 10)));
        assert_eq!(field(61), Some((Name::Other, "", 16)));
    }
}
