//! Methods.

/// `http.request.method`: the methods of RFC 9110 and PATCH (RFC 5789), compared case-sensitively; anything else is
/// `_OTHER`, so that a client cannot make series by inventing methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "the method names themselves")]
pub enum Method {
    Connect,
    Delete,
    Get,
    Head,
    Options,
    Patch,
    Post,
    Put,
    Trace,
    /// Not a known method.
    Other,
}

impl Method {
    /// How many there are.
    pub const COUNT: usize = 10;

    /// All of them, by their number.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Connect,
        Self::Delete,
        Self::Get,
        Self::Head,
        Self::Options,
        Self::Patch,
        Self::Post,
        Self::Put,
        Self::Trace,
        Self::Other,
    ];

    /// The method of that number.
    pub const fn of_number(number: u8) -> Self {
        if (number as usize) < Self::COUNT {
            Self::ALL[number as usize]
        } else {
            Self::Other
        }
    }

    /// The method of a token as it was sent.
    pub fn of(token: &str) -> Self {
        match token.as_bytes() {
            b"GET" => Self::Get,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"HEAD" => Self::Head,
            b"PATCH" => Self::Patch,
            b"OPTIONS" => Self::Options,
            b"CONNECT" => Self::Connect,
            b"TRACE" => Self::Trace,
            _ => Self::Other,
        }
    }

    /// The attribute's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Other => "_OTHER",
            other => other.in_span_name(),
        }
    }

    /// How it appears in a span's name: an unknown method is `HTTP` there.
    pub const fn in_span_name(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::Delete => "DELETE",
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Options => "OPTIONS",
            Self::Patch => "PATCH",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Trace => "TRACE",
            Self::Other => "HTTP",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_and_wrongly_cased_methods_are_other() {
        for method in Method::ALL {
            if method != Method::Other {
                assert_eq!(Method::of(method.as_str()), method);
            }
        }
        for token in ["get", "Get", "PROPFIND", "", "_OTHER", "GETT"] {
            assert_eq!(Method::of(token).as_str(), "_OTHER", "{token}");
        }
        assert_eq!(Method::Other.in_span_name(), "HTTP");
    }

    #[test]
    fn numbers_lead_back_to_their_methods() {
        for method in Method::ALL {
            assert_eq!(Method::of_number(method as u8), method);
        }
        assert_eq!(Method::of_number(Method::COUNT as u8), Method::Other);
    }
}
