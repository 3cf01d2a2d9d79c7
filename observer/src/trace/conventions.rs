//! The OpenTelemetry semantic conventions that spans and metrics share: HTTP's (stable set, 1.23 and later) and DNS's.
//!
//! Only what is the same in both lives here: methods, `error.type`, the parts of a target and of an authority.

use std::sync::Arc;

use observer_protocol::dns::ResponseCode;

use crate::{
    exchange::{Exchange, Incomplete},
    identity::{Address, Role},
    protocol::{Detail, http1::HttpExchange},
};

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

/// `error.type`: why an exchange counts as failed. Low cardinality by construction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorType {
    /// The status code says so: 5xx, for a client 4xx too.
    Status(u16),
    /// The connection ended before the response did.
    ConnectionClosed,
    /// The connection was reset before the response ended.
    ConnectionReset,
    /// A name server's answer says so.
    Dns(ResponseCode),
    /// No answer came for as long as the client waited.
    Timeout,
}

impl ErrorType {
    /// Why `exchange` counts as failed, `None` where it does not (or where too little was seen to say so). A status
    /// that is an error wins over a cut, as it is the more telling of the two.
    pub fn of(exchange: &Exchange) -> Option<Self> {
        let first_error = match exchange.role {
            Role::Server => 500,
            Role::Client => 400,
        };
        let told = match &exchange.detail {
            Detail::Http1(http) => http
                .status
                .filter(|status| *status >= first_error)
                .map(Self::Status),
            Detail::Dns(dns) => dns
                .response_code
                .filter(|code| *code != ResponseCode::NO_ERROR)
                .map(Self::Dns),
        };
        told.or(match exchange.incomplete {
            Some(Incomplete::Closed) => Some(Self::ConnectionClosed),
            Some(Incomplete::Reset) => Some(Self::ConnectionReset),
            Some(Incomplete::Unanswered) => Some(Self::Timeout),
            _ => None,
        })
    }

    /// Whether the operation failed: that a name does not exist is an answer, and the usual one while a resolver goes
    /// through its search domains.
    pub fn is_failure(self) -> bool {
        self != Self::Dns(ResponseCode::NAME_ERROR)
    }

    /// The attribute's value.
    pub fn value(self) -> Arc<str> {
        match self {
            Self::Status(status) => status.to_string().into(),
            Self::ConnectionClosed => "connection_closed".into(),
            Self::ConnectionReset => "connection_reset".into(),
            Self::Dns(code) => code.as_str().unwrap_or("_OTHER").into(),
            Self::Timeout => "timeout".into(),
        }
    }
}

/// `url.scheme` of an exchange.
pub fn scheme(exchange: &Exchange) -> &'static str {
    if exchange.tls { "https" } else { "http" }
}

/// The port that a URL of the exchange's scheme leaves out (RFC 9110 section 4.2).
pub fn default_port(exchange: &Exchange) -> u16 {
    if exchange.tls { 443 } else { 80 }
}

/// The path of a request target, without query and fragment; `None` for the authority form (CONNECT), the asterisk
/// form, and where the target is not known (RFC 9112 section 3.2).
pub fn path(target: &str) -> Option<&str> {
    let path = if target.starts_with('/') {
        target
    } else {
        absolute(target)?.1
    };
    let end = path.find(['?', '#']).unwrap_or(path.len());
    match &path[..end] {
        // `http://example.com?x`: the empty path is the root (RFC 9110 section 4.2.3).
        "" => Some("/"),
        path => Some(path),
    }
}

/// Authority and remainder of a target in absolute form.
fn absolute(target: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = target.split_once("://")?;
    if scheme.is_empty()
        || !scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
    {
        return None;
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    Some(rest.split_at(end))
}

/// Host and port of the server, as the request names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// Domain name or IP address, without the brackets of IPv6.
    pub host: &'a str,
    /// Port, where it was written.
    pub port: Option<u16>,
}

/// The authority that a request names, as written: of an absolute or authority-form target, else of `Host`.
/// Credentials before an `@` are cut off. `None` where it names none.
pub fn raw_authority(http: &HttpExchange) -> Option<&str> {
    let target = &*http.target;
    let written = if target.starts_with('/') {
        http.host.as_deref()
    } else if let Some((authority, _)) = absolute(target) {
        Some(authority)
    } else if &*http.method == "CONNECT" {
        Some(target)
    } else {
        http.host.as_deref()
    }?;
    let written = written
        .rsplit_once('@')
        .map_or(written, |(_, host)| host)
        .trim();
    (!written.is_empty()).then_some(written)
}

/// Splits `host`, `host:port`, `[v6]` or `[v6]:port`. `None` where it is none of these.
pub fn split_authority(written: &str) -> Option<Authority<'_>> {
    let (host, port) = if let Some(rest) = written.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        (host, rest.strip_prefix(':'))
    } else {
        match written.split_once(':') {
            Some((_, port)) if port.contains(':') => (written, None),
            Some((host, port)) => (host, Some(port)),
            None => (written, None),
        }
    };
    let port = match port {
        None | Some("") => None,
        Some(port) => Some(port.parse().ok()?),
    };
    let clean = |b: u8| {
        b.is_ascii_graphic() && !matches!(b, b'/' | b'?' | b'#' | b'"' | b'<' | b'>' | b'\\' | b',')
    };
    (!host.is_empty() && host.len() <= 255 && host.bytes().all(clean))
        .then_some(Authority { host, port })
}

/// `server.address` and `server.port`: what the request names, with the connection's port where it names none; else
/// the address of the connection's server end.
pub fn server(exchange: &Exchange) -> (Option<Arc<str>>, Option<u16>) {
    let end = match exchange.role {
        Role::Client => &exchange.peer,
        Role::Server => &exchange.local,
    };
    let (address, port) = socket(end);
    let named = exchange.http().and_then(raw_authority);
    match named.and_then(split_authority) {
        Some(named) => (Some(named.host.into()), named.port.or(port)),
        None => (address, port),
    }
}

/// An address as the conventions write it: IP address or Unix path, and the port of the former.
pub fn socket(address: &Address) -> (Option<Arc<str>>, Option<u16>) {
    match address {
        Address::Inet(address) => (Some(address.ip().to_string().into()), Some(address.port())),
        Address::Unix(path) => ((!path.is_empty()).then(|| path.clone()), None),
        Address::Unknown => (None, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::samples::{dns, exchange, lookup};

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
    fn error_type_follows_role_status_and_cut() {
        use Incomplete::*;
        let table = [
            (Role::Server, Some(200), None, None),
            (Role::Server, Some(404), None, None),
            (Role::Client, Some(404), None, Some("404")),
            (Role::Client, Some(399), None, None),
            (Role::Server, Some(503), None, Some("503")),
            (Role::Client, Some(500), None, Some("500")),
            (Role::Server, None, Some(Closed), Some("connection_closed")),
            (
                Role::Client,
                Some(200),
                Some(Reset),
                Some("connection_reset"),
            ),
            (Role::Server, Some(500), Some(Reset), Some("500")),
            (Role::Server, None, Some(LostBytes), None),
            (Role::Client, None, Some(Abandoned), None),
        ];
        for (role, status, incomplete, expected) in table {
            let mut exchange = exchange(role);
            exchange.incomplete = incomplete;
            crate::trace::samples::http(&mut exchange).status = status;
            let found = ErrorType::of(&exchange).map(ErrorType::value);
            assert_eq!(
                found.as_deref(),
                expected,
                "{role:?} {status:?} {incomplete:?}"
            );
        }
    }

    #[test]
    fn a_lookup_fails_by_its_answer_or_by_having_none() {
        let code = |code| Some(ResponseCode(code));
        let table = [
            (code(0), None, None, false),
            (code(3), None, Some("NXDOMAIN"), false),
            (code(2), None, Some("SERVFAIL"), true),
            (code(14), None, Some("_OTHER"), true),
            (None, Some(Incomplete::Unanswered), Some("timeout"), true),
            (None, Some(Incomplete::LostBytes), None, false),
        ];
        for (response_code, incomplete, expected, fails) in table {
            let mut exchange = lookup();
            exchange.incomplete = incomplete;
            dns(&mut exchange).response_code = response_code;
            let found = ErrorType::of(&exchange);
            let value = found.map(ErrorType::value);
            assert_eq!(value.as_deref(), expected, "{response_code:?}");
            let failed = found.is_some_and(ErrorType::is_failure);
            assert_eq!(failed, fails, "{response_code:?}");
        }
    }

    #[test]
    fn paths_never_hold_a_query() {
        let table = [
            ("/a/b?x=1", Some("/a/b")),
            ("/?x", Some("/")),
            ("/a#f?x", Some("/a")),
            ("http://h:1/a?secret", Some("/a")),
            ("http://h?secret", Some("/")),
            ("http://u:p@h", Some("/")),
            ("/redirect/http://x/y", Some("/redirect/http://x/y")),
            ("*", None),
            ("example.com:443", None),
            ("", None),
        ];
        for (target, expected) in table {
            assert_eq!(path(target), expected, "{target}");
        }
    }

    #[test]
    fn authorities_are_split_or_refused() {
        let table = [
            ("h", Some(("h", None))),
            ("h:80", Some(("h", Some(80)))),
            ("h:", Some(("h", None))),
            ("[::1]:8080", Some(("::1", Some(8080)))),
            ("[::1]", Some(("::1", None))),
            ("::1", Some(("::1", None))),
            ("h:99999", None),
            ("h:x", None),
            ("a b", None),
            ("a/b", None),
            ("[::1", None),
            (":80", None),
        ];
        for (written, expected) in table {
            assert_eq!(
                split_authority(written).map(|a| (a.host, a.port)),
                expected,
                "{written}"
            );
        }
    }
}
