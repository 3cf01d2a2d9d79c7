//! The requesting direction: what is sent becomes an open exchange.

use observer_protocol::http1::{MessageEnd, RequestEvent, RequestHead, Segment};

use super::{
    Incomplete, Sink, context,
    open::{Call, Ends, Open, Progress},
    pairing::{MAX_OPEN, Output, Pairing, Seen, finish, started},
};

impl Pairing {
    /// Bytes of the requesting direction.
    pub(crate) fn request_bytes<S: Sink>(
        &mut self,
        mut segment: Segment<'_>,
        call: Call,
        ends: &Ends,
        out: &mut Output<'_, S>,
    ) {
        let seen = Seen::bytes(&segment, call);
        let mut partial = self.requests.buffered() > 0;
        while let Some(event) = self.requests.poll(&mut segment) {
            self.request_event(event, &seen, ends, out);
            partial = false;
        }
        match (self.requests.buffered() > 0, partial) {
            (true, true) => {}
            (true, false) => self.request_begun = Some(call),
            (false, _) => self.request_begun = None,
        }
        if let Some(open) = self.unfinished_request() {
            open.request_moved(call.time_ns);
        }
    }

    /// What the parser said about `seen`.
    pub(super) fn request_event<S: Sink>(
        &mut self,
        event: RequestEvent,
        seen: &Seen,
        ends: &Ends,
        out: &mut Output<'_, S>,
    ) {
        match event {
            RequestEvent::Head(head) => {
                self.findings.http = true;
                self.request_head(*head, seen, ends, out);
            }
            RequestEvent::End(end) => self.end_request(Some(end), None, seen.call, ends, out),
            RequestEvent::Cut { .. } => {}
            RequestEvent::Malformed { .. } => {
                out.counters.resyncs += 1;
                self.broken_request(Incomplete::Malformed, true, seen.call, ends, out);
            }
            RequestEvent::Lost { from, .. } => {
                out.counters.resyncs += 1;
                // Captured bytes in front of the missing ones are a head's.
                self.broken_request(seen.missing, from < seen.captured_to, seen.call, ends, out);
            }
            RequestEvent::HeadTooLarge { .. } => {
                out.counters.resyncs += 1;
                self.findings.head_too_large = true;
                self.broken_request(Incomplete::HeadTooLarge, true, seen.call, ends, out);
            }
            RequestEvent::NotHttp => self.findings.not_http[0] = true,
        }
    }

    fn request_head<S: Sink>(
        &mut self,
        head: RequestHead,
        seen: &Seen,
        ends: &Ends,
        out: &mut Output<'_, S>,
    ) {
        let begun = if head.start < seen.from {
            self.request_begun.unwrap_or(seen.call)
        } else {
            seen.call
        };
        let truncated = head.truncated;
        let kernel = self.context.take();
        let (context, header) = context::decide(kernel.as_ref(), &head, out.ids);
        let mut open = Open::new(begun, context, head);
        open.request_moved(seen.call.time_ns);
        if truncated {
            self.findings.head_too_large = true;
            open.mark(seen.missing);
        }
        if let Some(header) = header {
            out.sink.header_seen(open.process(), ends.role, &header);
        }
        open.announced = true;
        out.sink.request_started(&started(&open, ends));
        self.push(open, ends, out);
    }

    /// A request cannot be read further. With `evidence` there was one, even where its head is not known.
    fn broken_request<S: Sink>(
        &mut self,
        incomplete: Incomplete,
        evidence: bool,
        call: Call,
        ends: &Ends,
        out: &mut Output<'_, S>,
    ) {
        if self.unfinished_request().is_some() {
            self.end_request(None, Some(incomplete), call, ends, out);
        } else if evidence {
            let begun = self.request_begun.take().unwrap_or(call);
            let head = RequestHead::default();
            let kernel = self.context.take();
            let (context, _) = context::decide(kernel.as_ref(), &head, out.ids);
            let mut open = Open::new(begun, context, head);
            open.request_ended(None);
            open.mark(incomplete);
            self.push(open, ends, out);
        }
        self.requests_missing = true;
    }

    /// Adds an exchange to those that wait for a response.
    fn push<S: Sink>(&mut self, mut open: Open, ends: &Ends, out: &mut Output<'_, S>) {
        let (established_ns, accepted_ns) = std::mem::take(&mut self.established_ns);
        open.set_established(established_ns, accepted_ns);
        let waiting = self.open.len();
        self.findings.pipelined |= waiting > 0;
        self.requests_missing &= waiting > 0;
        if self.requests_missing || waiting >= MAX_OPEN {
            // Its response cannot be told from those of requests that were not seen.
            self.requests_missing = true;
            open.mark(Incomplete::LostBytes);
            finish(open, ends, out);
            return;
        }
        open.response_from = self.responses.position();
        self.open.push_back(open);
    }

    fn end_request<S: Sink>(
        &mut self,
        end: Option<MessageEnd>,
        incomplete: Option<Incomplete>,
        call: Call,
        ends: &Ends,
        out: &mut Output<'_, S>,
    ) {
        // What was not seen of it may have held the requests behind it.
        self.requests_missing |= end.is_none_or(|end| end.body_size.is_none());
        let Some(open) = self.unfinished_request() else {
            return;
        };
        open.request_moved(call.time_ns);
        open.request_ended(end);
        if let Some(incomplete) = incomplete {
            open.mark(incomplete);
        }
        self.settle(ends, out);
    }

    /// The request whose end is still to come.
    pub(super) fn unfinished_request(&mut self) -> Option<&mut Open> {
        self.open
            .back_mut()
            .filter(|open| open.request != Progress::Ended)
    }
}
