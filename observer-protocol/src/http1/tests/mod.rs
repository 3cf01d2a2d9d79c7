//! The parsers against real messages, cut everywhere, and against what is no HTTP.

mod chunked;
mod corpus;
mod detect;
mod framing;
mod gaps;
mod heads;
mod hostile;
mod mutated;
mod plain;
mod recycled;
mod runs;
mod seam;
mod states;
mod values;
mod whole;

use super::{
    Limits, MessageEnd, RequestEvent, RequestHead, RequestKind, RequestParser, ResponseEvent,
    ResponseHead, ResponseParser, Segment,
};

/// Feeds the pieces one after the other.
fn requests(pieces: &[&[u8]]) -> Vec<RequestEvent> {
    let mut parser = RequestParser::new(Limits::default());
    let mut events = Vec::new();
    let mut position = 0;
    for piece in pieces {
        let mut segment = Segment::whole(position, piece);
        position = segment.end;
        events.extend(std::iter::from_fn(|| parser.poll(&mut segment)));
        assert!(segment.is_empty() && parser.position() == position);
    }
    events
}

fn responses(pieces: &[&[u8]], request: RequestKind) -> Vec<ResponseEvent> {
    let mut parser = ResponseParser::new(Limits::default());
    let mut events = Vec::new();
    let mut position = 0;
    for piece in pieces {
        let mut segment = Segment::whole(position, piece);
        position = segment.end;
        events.extend(std::iter::from_fn(|| parser.poll(&mut segment, request)));
        assert!(segment.is_empty() && parser.position() == position);
    }
    events
}

fn only_request(bytes: &[u8]) -> RequestHead {
    match requests(&[bytes]).into_iter().next() {
        Some(RequestEvent::Head(head)) => *head,
        other => panic!("{other:?} from {}", bytes.escape_ascii()),
    }
}

fn only_response(bytes: &[u8], request: RequestKind) -> ResponseHead {
    match responses(&[bytes], request).into_iter().next() {
        Some(ResponseEvent::Head(head)) => head,
        other => panic!("{other:?} from {}", bytes.escape_ascii()),
    }
}

const fn request_end(at: usize, body_size: Option<u64>) -> RequestEvent {
    RequestEvent::End(MessageEnd {
        at: at as u64,
        body_size,
    })
}

const fn response_end(at: usize, body_size: Option<u64>) -> ResponseEvent {
    ResponseEvent::End(MessageEnd {
        at: at as u64,
        body_size,
    })
}
