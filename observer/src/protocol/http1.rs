//! HTTP/1.0 and 1.1.

use std::borrow::Cow;

use observer_protocol::{
    http1::{Http1, RequestHead, ResponseHead},
    protocol::Side,
};

use super::{Account, Carried, Detail};

/// What an HTTP exchange adds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpExchange {
    /// Method token as it was sent.
    pub method: Cow<'static, str>,
    /// Request target as it was sent (origin, absolute, authority or asterisk form), at most 2 KiB, **query
    /// included**: what leaves the daemon must cut it off at the `?`.
    pub target: String,
    /// The request's version; `None` where its head was not seen.
    pub version: Option<HttpVersion>,
    /// `Host` header (or the authority of an absolute target), as it was sent.
    pub host: Option<String>,
    /// `User-Agent` header, at most 256 bytes.
    pub user_agent: Option<String>,
    /// Status code of the final response; `None` when none was seen.
    pub status: Option<u16>,
    /// Body bytes of the request; `None` where the framing was not seen whole.
    pub request_body_size: Option<u64>,
    /// Body bytes of the response; `None` where the framing was not seen whole.
    pub response_body_size: Option<u64>,
    /// The connection became a tunnel (101, or 2xx to CONNECT).
    pub upgraded: bool,
    /// The response is a stream of server-sent events.
    pub event_stream: bool,
}

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HttpVersion {
    /// HTTP/1.0.
    V1_0,
    /// HTTP/1.1.
    V1_1,
}

impl HttpVersion {
    /// The version of a request line that ends in `HTTP/1.{minor}`.
    pub const fn of_minor(minor: u8) -> Self {
        if minor == 0 { Self::V1_0 } else { Self::V1_1 }
    }

    /// `network.protocol.version`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1_0 => "1.0",
            Self::V1_1 => "1.1",
        }
    }
}

impl Account for Http1 {
    fn opened(detail: &mut Detail, head: &mut RequestHead) {
        if !matches!(detail, Detail::Http1(_)) {
            *detail = Detail::Http1(HttpExchange::default());
        }
        let Detail::Http1(http) = detail else {
            return;
        };
        // The head of a request that could not be read says nothing, its version least.
        http.version = (!head.method.is_empty()).then(|| HttpVersion::of_minor(head.minor_version));
        http.method = std::mem::take(&mut head.method);
        // Texts are exchanged, so that both sides use their room again.
        std::mem::swap(&mut http.target, &mut head.target);
        std::mem::swap(&mut http.host, &mut head.host);
        std::mem::swap(&mut http.user_agent, &mut head.user_agent);
        http.status = None;
        http.request_body_size = None;
        http.response_body_size = None;
        http.upgraded = false;
        http.event_stream = false;
    }

    fn unread(detail: &mut Detail) {
        *detail = Detail::Http1(HttpExchange::default());
    }

    fn replied(detail: &mut Detail, head: ResponseHead) {
        if let Detail::Http1(http) = detail {
            http.status = Some(head.status);
            http.upgraded = head.upgrade;
            http.event_stream = head.event_stream;
        }
    }

    fn ended(detail: &mut Detail, side: Side, size: Option<u64>) {
        if let Detail::Http1(http) = detail {
            match side {
                Side::Request => http.request_body_size = size,
                Side::Response => http.response_body_size = size,
            }
        }
    }

    fn carried<'h>(head: &'h &mut RequestHead) -> Carried<'h> {
        Carried {
            traceparent: head.traceparent.as_deref(),
            tracestate: head.tracestate.as_deref(),
            b3: head.b3.as_deref(),
        }
    }
}
