//! How a protocol's own facts of an exchange are written, from what its parser says.

use observer_protocol::protocol::{Cancel, Datagrams, Progress, Protocol, Side};

use super::Detail;

/// Trace context that a request carries in its head, as it was sent and not checked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Carried<'h> {
    /// W3C `traceparent`.
    pub(crate) traceparent: Option<&'h str>,
    /// `tracestate` that came with it.
    pub(crate) tracestate: Option<&'h str>,
    /// `b3`, in its single form.
    pub(crate) b3: Option<&'h str>,
}

/// Writes the detail of exchanges of one protocol. The detail may be that of an earlier exchange, of any protocol, until it
/// is [opened](Self::opened).
pub(crate) trait Account: Protocol {
    /// A request began with this head.
    fn opened(detail: &mut Detail, head: Self::Request<'_>);

    /// There was a request; what its head said is not known.
    fn unread(detail: &mut Detail);

    /// An answer began with this head.
    fn replied(detail: &mut Detail, head: Self::Response<'_>);

    /// An exchange that began in another protocol goes on in this one.
    fn continued(detail: &mut Detail) {
        let _ = detail;
    }

    /// Messages of either side moved.
    fn progressed(detail: &mut Detail, progress: &Progress) {
        let _ = (detail, progress);
    }

    /// One of the ends gave it up before its answer ended.
    fn cancelled(detail: &mut Detail, cancel: &Cancel) {
        let _ = (detail, cancel);
    }

    /// A side ended; `size` is that of its body, `None` where that is not known.
    fn ended(detail: &mut Detail, side: Side, size: Option<u64>);

    /// The trace context that a request carries.
    fn carried<'h>(head: &'h Self::Request<'_>) -> Carried<'h>;
}

/// The same for a protocol of datagrams.
pub(crate) trait DatagramAccount: Datagrams {
    /// The detail of a request that was sent `attempts` times; without an answer where none was seen.
    fn detail(request: Self::Request, response: Option<&Self::Response>, attempts: u32) -> Detail;
}
