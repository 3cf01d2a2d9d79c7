//! What requests' own headers do to the edges that were found without them.
//!
//! The kernel names trace and parent the moment a request moves; only the daemon reads `traceparent`. What the kernel
//! derived from such a request in between (calls of its thread, their servers on this host) carries the kernel's trace
//! and is put right here, by the parent's span id, down the tree: a child's parent is always known before its own end.
//!
//! A service without instrumentation may hand a header on as it came. Its caller's span is then named as the parent of
//! everything behind it; where the edge in between was seen, that edge is the truth.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use foldhash::HashMap;

use crate::exchange::{HeaderContext, InferredLink};
use crate::identity::{ProcessKey, Role};

/// Bytes that a remembered span takes: an entry in each of four tables, of which those that hash are half empty.
const BYTES_EACH: usize = size_of::<Forget>()
    + 2 * (size_of::<(SpanId, Known)>()
        + size_of::<(TraceId, TraceId)>()
        + size_of::<((ProcessKey, SpanId), SpanId)>());
/// What is forgotten before this may have been needed: a request lasts so long, now and then.
const ENOUGH_NS: u64 = 10_000_000_000;

type TraceId = [u8; 16];
type SpanId = [u8; 8];

/// Shared by the shards: parent and child may be seen by different ones.
pub(super) struct Lineage {
    inner: Mutex<Inner>,
    /// Nothing is remembered yet: then nobody takes the lock.
    is_empty: AtomicBool,
    forgotten: AtomicU64,
    /// Span ids that are remembered, newest kept.
    most: usize,
}

#[derive(Default)]
struct Inner {
    by_span: HashMap<SpanId, Known>,
    /// The kernel's trace id, where a request with a header had begun that trace.
    by_trace: HashMap<TraceId, TraceId>,
    /// Header parents that processes received.
    received: HashMap<(ProcessKey, SpanId), SpanId>,
    order: VecDeque<Forget>,
}

/// A span whose request had a header.
#[derive(Clone, Copy)]
struct Known {
    role: Role,
    trace: TraceId,
    header_parent: SpanId,
    sampled: bool,
    own_parent: Option<SpanId>,
    /// Its span is not synthesized.
    left_out: bool,
}

/// What goes with the oldest span.
struct Forget {
    span: SpanId,
    begun: Option<TraceId>,
    received: Option<(ProcessKey, SpanId)>,
    /// When it was told, CLOCK_MONOTONIC ns.
    since_ns: u64,
}

impl Lineage {
    /// Remembers as many spans as `bytes` hold. They are taken as they are needed.
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            inner: Mutex::default(),
            is_empty: AtomicBool::new(true),
            forgotten: AtomicU64::new(0),
            most: (bytes / BYTES_EACH).max(1),
        }
    }

    /// What is remembered, if anything is.
    fn known(&self) -> Option<MutexGuard<'_, Inner>> {
        if self.is_empty.load(Ordering::Acquire) {
            return None;
        }
        Some(self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Requests with a header that were forgotten early, for want of room: what came of one later may be in another trace.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::Relaxed)
    }

    /// A request of a process had a header, as is known now, CLOCK_MONOTONIC ns. `left_out`: its span will not be synthesized,
    /// or it is not known whether. Told again once that is known.
    pub(super) fn header_seen(
        &self,
        process: ProcessKey,
        role: Role,
        header: &HeaderContext,
        left_out: bool,
        now_ns: u64,
    ) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let known = Known {
            role,
            trace: header.trace_id,
            header_parent: header.parent_id,
            sampled: header.sampled,
            own_parent: header.own_parent,
            left_out,
        };
        let received = (role == Role::Server).then_some((process, header.parent_id));
        if inner.by_span.insert(header.span_id, known).is_none() {
            inner.order.push_back(Forget {
                span: header.span_id,
                begun: header.begun,
                received,
                since_ns: now_ns,
            });
        }
        if let Some(begun) = header.begun {
            inner.by_trace.insert(begun, header.trace_id);
        }
        if let Some(received) = received {
            inner.received.insert(received, header.span_id);
        }
        self.is_empty.store(false, Ordering::Release);
        while inner.order.len() > self.most {
            let since_ns = inner.forget_oldest();
            if since_ns.is_some_and(|since| now_ns.saturating_sub(since) < ENOUGH_NS) {
                self.forgotten.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// The trace that a span with this kernel-given trace and parent really belongs to.
    pub(super) fn resolve(&self, trace: TraceId, parent: SpanId) -> Option<TraceId> {
        let inner = self.known()?;
        inner
            .by_span
            .get(&parent)
            .map(|known| known.trace)
            .or_else(|| inner.by_trace.get(&trace).copied())
    }

    /// What a kernel-given link really leads to: a request keeps its span id, whatever its header says.
    pub(super) fn correct_link(&self, link: InferredLink) -> InferredLink {
        let trace_id = self.resolve(link.trace_id, link.span_id);
        let Some(inner) = self.known() else {
            return link;
        };
        let header = inner.by_span.get(&link.span_id);
        InferredLink {
            trace_id: trace_id.unwrap_or(link.trace_id),
            sampled: header.map_or(link.sampled, |known| known.sampled),
            ..link
        }
    }

    /// Whether the request of the span `own` carried a header with this parent too and handed it on: then `own` is
    /// nearer than the header's span. For a server that is plain. A client's header may as well be its own SDK's, or a
    /// person's: it handed on only what the request came with that it was sent for.
    pub(super) fn handed_on(&self, own: SpanId, header_parent: SpanId) -> bool {
        let Some(inner) = self.known() else {
            return false;
        };
        let same = |span: &SpanId| {
            inner
                .by_span
                .get(span)
                .filter(|known| known.header_parent == header_parent && !known.left_out)
        };
        match same(&own) {
            Some(known) if known.role == Role::Client => {
                known.own_parent.is_some_and(|it| same(&it).is_some())
            }
            Some(_) => true,
            None => false,
        }
    }

    /// Whether a process has received a request with this parent in its header.
    pub(super) fn was_received(&self, process: ProcessKey, header_parent: SpanId) -> bool {
        self.known()
            .is_some_and(|inner| inner.received.contains_key(&(process, header_parent)))
    }
}

impl Inner {
    /// Since when it was remembered.
    fn forget_oldest(&mut self) -> Option<u64> {
        let oldest = self.order.pop_front()?;
        self.by_span.remove(&oldest.span);
        if let Some(begun) = oldest.begun {
            self.by_trace.remove(&begun);
        }
        if let Some(received) = oldest.received
            && self.received.get(&received) == Some(&oldest.span)
        {
            self.received.remove(&received);
        }
        Some(oldest.since_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::LinkMethod;

    const TRACE: TraceId = [9; 16];
    /// The caller's span, far away.
    const CALLER: SpanId = [0xa; 8];

    fn process(tgid: u32) -> ProcessKey {
        ProcessKey { tgid, start_ns: 1 }
    }

    fn header(span: u8, own_parent: Option<u8>) -> HeaderContext {
        HeaderContext {
            span_id: [span; 8],
            trace_id: TRACE,
            parent_id: CALLER,
            sampled: false,
            own_parent: own_parent.map(|byte| [byte; 8]),
            begun: own_parent.is_none().then_some([7; 16]),
        }
    }

    #[test]
    fn a_replaced_trace_takes_its_whole_tree_along() {
        let lineage = Lineage::new(1 << 20);
        lineage.header_seen(process(0), Role::Server, &header(1, None), false, 1);
        assert_eq!(lineage.resolve([7; 16], [1; 8]), Some(TRACE), "a child");
        assert_eq!(
            lineage.resolve([7; 16], [2; 8]),
            Some(TRACE),
            "a grandchild"
        );
        assert_eq!(lineage.resolve([8; 16], [2; 8]), None, "another trace");
    }

    #[test]
    fn a_link_leads_to_the_trace_that_its_request_is_exported_in() {
        let lineage = Lineage::new(1 << 20);
        let link = |trace_id, span: u8, sampled| InferredLink {
            trace_id,
            span_id: [span; 8],
            sampled,
            method: LinkMethod::LastResumed,
        };
        let kernels = link([7; 16], 1, true);
        assert_eq!(lineage.correct_link(kernels), kernels, "without a header");
        lineage.header_seen(process(0), Role::Server, &header(1, None), false, 1);
        let named = link(TRACE, 1, false);
        assert_eq!(lineage.correct_link(kernels), named, "by its header");
        let grandchild = link([7; 16], 2, true);
        let moved = link(TRACE, 2, true);
        assert_eq!(lineage.correct_link(grandchild), moved, "by another's");
    }

    #[test]
    fn a_subtree_does_not_take_its_siblings_along() {
        let lineage = Lineage::new(1 << 20);
        lineage.header_seen(process(0), Role::Client, &header(1, Some(5)), false, 1);
        assert_eq!(lineage.resolve([7; 16], [1; 8]), Some(TRACE));
        assert_eq!(lineage.resolve([7; 16], [3; 8]), None);
    }

    #[test]
    fn a_chain_that_hands_the_header_on_keeps_its_own_edges() {
        let lineage = Lineage::new(1 << 20);
        lineage.header_seen(process(0), Role::Server, &header(1, None), false, 1);
        lineage.header_seen(process(0), Role::Client, &header(2, Some(1)), false, 1);
        lineage.header_seen(process(1), Role::Server, &header(3, Some(2)), false, 1);
        assert!(lineage.handed_on([1; 8], CALLER), "server to its client");
        assert!(
            lineage.handed_on([2; 8], CALLER),
            "client to the next server"
        );
        assert!(!lineage.handed_on([1; 8], [0xb; 8]), "another header");
        assert!(!lineage.handed_on([4; 8], CALLER), "a span without one");
    }

    #[test]
    fn a_client_that_wrote_the_header_itself_handed_nothing_on() {
        let lineage = Lineage::new(1 << 20);
        lineage.header_seen(process(0), Role::Client, &header(2, None), false, 1);
        assert!(!lineage.handed_on([2; 8], CALLER), "no request behind it");
        lineage.header_seen(process(0), Role::Client, &header(4, Some(1)), false, 1);
        assert!(!lineage.handed_on([4; 8], CALLER), "the request had none");
    }

    #[test]
    fn a_span_that_is_left_out_is_nobodys_parent() {
        let lineage = Lineage::new(1 << 20);
        lineage.header_seen(process(0), Role::Server, &header(1, None), true, 1);
        assert!(!lineage.handed_on([1; 8], CALLER));
    }

    #[test]
    fn a_span_of_which_it_is_told_later_that_it_is_made_is_a_parent_then() {
        let lineage = Lineage::new(1 << 20);
        lineage.header_seen(process(0), Role::Server, &header(1, None), true, 1);
        lineage.header_seen(process(0), Role::Server, &header(1, None), false, 1);
        assert!(lineage.handed_on([1; 8], CALLER));
        assert_eq!(lineage.inner.lock().unwrap().order.len(), 1);
    }

    #[test]
    fn what_a_process_received_is_known_for_that_process() {
        let lineage = Lineage::new(1 << 20);
        lineage.header_seen(process(3), Role::Server, &header(1, None), false, 1);
        lineage.header_seen(process(4), Role::Client, &header(2, None), false, 1);
        assert!(lineage.was_received(process(3), CALLER));
        assert!(!lineage.was_received(process(4), CALLER));
    }

    #[test]
    fn the_oldest_are_forgotten() {
        const MOST: usize = 1_000;
        let lineage = Lineage::new(MOST * BYTES_EACH);
        for index in 0..=MOST as u64 {
            let mut header = header(0, None);
            header.span_id = index.to_be_bytes();
            header.parent_id = index.to_be_bytes();
            lineage.header_seen(process(0), Role::Server, &header, false, 1);
        }
        assert!(!lineage.was_received(process(0), 0u64.to_be_bytes()));
        assert!(lineage.was_received(process(0), 1u64.to_be_bytes()));
        assert_eq!(lineage.resolve([8; 16], 0u64.to_be_bytes()), None);
        assert_eq!(lineage.resolve([8; 16], 1u64.to_be_bytes()), Some(TRACE));
        assert_eq!(lineage.forgotten(), 1, "early, and counted");
        let late = 1 + ENOUGH_NS;
        lineage.header_seen(process(0), Role::Server, &header(9, None), false, late);
        assert_eq!(lineage.forgotten(), 1, "late enough");
        let inner = lineage.inner.lock().unwrap();
        assert_eq!(inner.by_span.len(), MOST);
        assert_eq!(inner.received.len(), MOST);
    }
}
