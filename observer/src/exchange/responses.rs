//! The answering direction: each response goes to the oldest request that has none.

use observer_protocol::http1::{
    Framing, MessageEnd, RequestKind, ResponseEvent, ResponseHead, Segment,
};

use super::{
    Incomplete, Sink,
    open::{Call, Ends, Open, Progress},
    pairing::{Output, Pairing, Seen, finish},
};

impl Pairing {
    /// Bytes of the answering direction.
    pub(crate) fn response_bytes<S: Sink>(
        &mut self,
        mut segment: Segment<'_>,
        call: Call,
        ends: &Ends,
        out: &mut Output<'_, S>,
    ) {
        let seen = Seen::bytes(&segment, call);
        let mut partial = self.responses.buffered() > 0;
        loop {
            let kind = self
                .awaiting()
                .map_or(RequestKind::Unknown, |open| open.kind);
            let Some(event) = self.responses.poll(&mut segment, kind) else {
                break;
            };
            self.response_event(event, &seen, ends, out);
            partial = false;
        }
        match (self.responses.buffered() > 0, partial) {
            (true, true) => {}
            (true, false) => self.response_begun_ns = Some(call.time_ns),
            (false, _) => self.response_begun_ns = None,
        }
    }

    /// What the parser said about `seen`.
    pub(super) fn response_event<S: Sink>(
        &mut self,
        event: ResponseEvent,
        seen: &Seen,
        ends: &Ends,
        out: &mut Output<'_, S>,
    ) {
        match event {
            ResponseEvent::Interim { .. } => {
                self.findings.http = true;
                self.response_begun_ns = None;
            }
            ResponseEvent::Head(head) => {
                self.findings.http = true;
                self.response_head(&head, seen, out);
            }
            ResponseEvent::End(end) => self.end_response(end, seen.call.time_ns, ends, out),
            ResponseEvent::Cut { .. } => {}
            ResponseEvent::Malformed { .. } => {
                out.counters.resyncs += 1;
                self.broken_response(Incomplete::Malformed, ends, out);
            }
            ResponseEvent::Lost { .. } => {
                out.counters.resyncs += 1;
                self.broken_response(Incomplete::LostBytes, ends, out);
            }
            ResponseEvent::HeadTooLarge { .. } => {
                out.counters.resyncs += 1;
                self.findings.head_too_large = true;
                self.broken_response(Incomplete::HeadTooLarge, ends, out);
            }
            ResponseEvent::NotHttp => {
                self.findings.not_http[1] = true;
                self.broken_response(Incomplete::Malformed, ends, out);
            }
        }
    }

    fn response_head<S: Sink>(
        &mut self,
        head: &ResponseHead,
        seen: &Seen,
        out: &mut Output<'_, S>,
    ) {
        let begun_ns = self
            .response_begun_ns
            .take()
            .filter(|_| head.start < seen.from)
            .unwrap_or(seen.call.time_ns);
        self.response_chunked = head.framing == Framing::Chunked;
        self.findings.tunnel |= head.upgrade;
        self.findings.head_too_large |= head.truncated;
        match self
            .awaiting()
            .filter(|open| head.start >= open.response_from)
        {
            Some(open) => {
                open.response_began(head, begun_ns);
                if head.truncated {
                    open.mark(seen.missing);
                }
                self.orphan = false;
            }
            None => {
                self.orphan = true;
                out.counters.responses_without_request += 1;
            }
        }
    }

    fn end_response<S: Sink>(
        &mut self,
        end: MessageEnd,
        time_ns: u64,
        ends: &Ends,
        out: &mut Output<'_, S>,
    ) {
        if !std::mem::take(&mut self.orphan)
            && let Some(open) = self.awaiting()
            && open.response == Progress::Begun
        {
            open.response_ended(end, time_ns);
            if open.http.upgraded && open.request != Progress::Ended {
                open.request_ended(None);
            }
            self.settle(ends, out);
        }
        if end.body_size.is_none() {
            // What was not seen of it may have held the responses behind it.
            self.broken_response(Incomplete::LostBytes, ends, out);
        }
    }

    /// A response cannot be read further, and those behind it were not seen: every request that waits is given on.
    fn broken_response<S: Sink>(
        &mut self,
        incomplete: Incomplete,
        ends: &Ends,
        out: &mut Output<'_, S>,
    ) {
        self.orphan = false;
        let mut incomplete = incomplete;
        while let Some(mut open) = self.open.pop_front() {
            if open.response != Progress::Ended {
                open.mark(std::mem::replace(&mut incomplete, Incomplete::LostBytes));
            }
            finish(open, ends, out);
        }
    }

    /// The oldest request whose response has not ended.
    fn awaiting(&mut self) -> Option<&mut Open> {
        self.open
            .iter_mut()
            .find(|open| open.response != Progress::Ended)
    }
}
