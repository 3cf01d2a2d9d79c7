//! HTTP/2: its streams are exchanges of HTTP, or calls of gRPC and its kin where the content is theirs.

use observer_protocol::{
    http2::{Content, Http2, RequestHead, ResponseHead},
    protocol::{Cancel, Progress, Side},
};

use super::{
    Account, Carried, Detail,
    conventions::http::{HttpExchange, HttpVersion},
    grpc::{GrpcExchange, System},
};

impl Account for Http2 {
    fn opened(detail: &mut Detail, head: &mut RequestHead) {
        // Its texts' room is used again.
        let mut http = match std::mem::take(detail) {
            Detail::Http(http) => http,
            Detail::Grpc(call) => call.http,
            _ => HttpExchange::default(),
        };
        http.version = Some(HttpVersion::V2);
        http.method = std::mem::take(&mut head.method);
        std::mem::swap(&mut http.texts, &mut head.texts);
        http.restart();
        *detail = match system(head) {
            Some(system) => {
                let mut call = GrpcExchange::new(system, http);
                call.timeout_ns = head.timeout_ns;
                Detail::Grpc(call)
            }
            None => Detail::Http(http),
        };
    }

    fn unread(detail: &mut Detail) {
        *detail = Detail::Http(HttpExchange {
            version: Some(HttpVersion::V2),
            ..HttpExchange::default()
        });
    }

    fn replied(detail: &mut Detail, head: ResponseHead) {
        let is_call = head.grpc_status.is_some() || head.content == Content::Grpc;
        if is_call && let Detail::Http(http) = detail {
            // What it asked with was named before observer came.
            *detail = Detail::Grpc(GrpcExchange::late(std::mem::take(http)));
        }
        let http = match detail {
            Detail::Http(http) => http,
            Detail::Grpc(call) => {
                call.status = head.grpc_status.or(call.status);
                &mut call.http
            }
            _ => return,
        };
        if !head.is_trailer {
            http.status = head.status;
            http.event_stream = head.content == Content::EventStream;
            let is_fine = head.status.is_some_and(|status| status / 100 == 2);
            http.upgraded = &*http.method == "CONNECT" && is_fine;
        }
    }

    fn progressed(detail: &mut Detail, progress: &Progress) {
        if let Detail::Grpc(call) = detail {
            call.moved[progress.side.index()] = Some((progress.messages, progress.exact));
            let size = progress.exact.then_some(progress.bytes);
            call.http.set_size(progress.side, size);
        }
    }

    fn cancelled(detail: &mut Detail, cancel: &Cancel) {
        match detail {
            Detail::Http(http) => http.reset = Some(cancel.code),
            Detail::Grpc(call) => call.http.reset = Some(cancel.code),
            _ => {}
        }
    }

    fn ended(detail: &mut Detail, side: Side, size: Option<u64>) {
        let http = match detail {
            Detail::Http(http) => http,
            Detail::Grpc(call) => &mut call.http,
            _ => return,
        };
        http.set_size(side, size);
    }

    fn carried<'h>(head: &'h &mut RequestHead) -> Carried<'h> {
        Carried {
            traceparent: head.texts.traceparent(),
            tracestate: head.tracestate.as_deref(),
            b3: head.b3.as_deref(),
        }
    }
}

/// Which system's call a request is, if any.
fn system(head: &RequestHead) -> Option<System> {
    match head.content {
        Content::Grpc | Content::GrpcWeb | Content::GrpcWebText => Some(System::Grpc),
        Content::Connect => Some(System::Connect),
        _ if head.is_connect_call => Some(System::Connect),
        Content::Other | Content::EventStream => None,
    }
}
