//! HTTP/1.0 and 1.1: all of it is what the conventions say of any HTTP.

use observer_protocol::{
    http1::{Http1, RequestHead, ResponseHead},
    protocol::Side,
};

pub use super::conventions::http::{GROUPS, HttpExchange, HttpVersion, summary};
use super::{Account, Carried, Detail};

impl Account for Http1 {
    fn opened(detail: &mut Detail, head: &mut RequestHead) {
        if !matches!(detail, Detail::Http(_)) {
            *detail = Detail::Http(HttpExchange::default());
        }
        let Detail::Http(http) = detail else {
            return;
        };
        // The head of a request that could not be read says nothing, its version least.
        http.version = (!head.method.is_empty()).then(|| HttpVersion::of_minor(head.minor_version));
        http.method = std::mem::take(&mut head.method);
        // They are exchanged, so that both sides use their room again.
        std::mem::swap(&mut http.texts, &mut head.texts);
        http.restart();
    }

    fn unread(detail: &mut Detail) {
        *detail = Detail::Http(HttpExchange::default());
    }

    fn replied(detail: &mut Detail, head: ResponseHead) {
        if let Detail::Http(http) = detail {
            http.status = Some(head.status);
            http.upgraded = head.upgrade;
            http.event_stream = head.event_stream;
        }
    }

    fn ended(detail: &mut Detail, side: Side, size: Option<u64>) {
        if let Detail::Http(http) = detail {
            http.set_size(side, size);
        }
    }

    fn carried<'h>(head: &'h &mut RequestHead) -> Carried<'h> {
        Carried {
            traceparent: head.texts.traceparent(),
            tracestate: head.tracestate.as_deref(),
            b3: head.b3.as_deref(),
        }
    }
}

/// Its facts, of an exchange that is one.
#[cfg(test)]
pub(crate) fn of(detail: &mut Detail) -> &mut HttpExchange {
    match detail {
        Detail::Http(http) => http,
        other => panic!("not HTTP/1: {other:?}"),
    }
}

#[cfg(test)]
impl Detail {
    /// The HTTP facts, of an HTTP exchange.
    pub(crate) const fn http(&self) -> Option<&HttpExchange> {
        match self {
            Self::Http(http) => Some(http),
            _ => None,
        }
    }
}

#[cfg(test)]
impl super::exchange::Exchange {
    /// The same.
    pub(crate) const fn http(&self) -> Option<&HttpExchange> {
        self.detail.http()
    }
}
