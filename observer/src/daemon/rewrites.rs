//! Traces that a header put under another id than the kernel had given them.
//!
//! The kernel names trace and parent the moment a request moves; only the daemon reads `traceparent`. What the kernel
//! derived from such a request in between (calls of its thread, their servers on this host) carries the kernel's id and
//! is put right here, by the parent's span id, down the tree: a child's parent is always known before its own end.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

/// Span ids that are remembered, newest kept.
const MOST: usize = 16_384;

type TraceId = [u8; 16];
type SpanId = [u8; 8];

/// Shared by the shards: parent and child may be seen by different ones.
#[derive(Default)]
pub(super) struct Rewrites {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Spans whose children belong to another trace.
    by_parent: HashMap<SpanId, TraceId>,
    /// The kernel's trace id, where the request that was replaced had begun that trace.
    by_trace: HashMap<TraceId, TraceId>,
    order: VecDeque<(SpanId, Option<TraceId>)>,
}

impl Rewrites {
    /// Children of `span` belong to `trace`; where `kernel_trace` began with that span, so does all of it.
    pub(super) fn replace(&self, span: SpanId, kernel_trace: Option<TraceId>, trace: TraceId) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.by_parent.insert(span, trace).is_none() {
            inner.order.push_back((span, kernel_trace));
        }
        if let Some(kernel_trace) = kernel_trace {
            inner.by_trace.insert(kernel_trace, trace);
        }
        while inner.order.len() > MOST {
            if let Some((span, kernel_trace)) = inner.order.pop_front() {
                inner.by_parent.remove(&span);
                if let Some(kernel_trace) = kernel_trace {
                    inner.by_trace.remove(&kernel_trace);
                }
            }
        }
    }

    /// The trace that a span with this kernel-given trace and parent really belongs to.
    pub(super) fn resolve(&self, trace: TraceId, parent: SpanId) -> Option<TraceId> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.order.is_empty() {
            return None;
        }
        inner
            .by_parent
            .get(&parent)
            .or_else(|| inner.by_trace.get(&trace))
            .copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_trace_takes_its_whole_tree_along() {
        let rewrites = Rewrites::default();
        rewrites.replace([1; 8], Some([7; 16]), [9; 16]);
        assert_eq!(rewrites.resolve([7; 16], [1; 8]), Some([9; 16]), "a child");
        assert_eq!(
            rewrites.resolve([7; 16], [2; 8]),
            Some([9; 16]),
            "a grandchild"
        );
        assert_eq!(rewrites.resolve([8; 16], [2; 8]), None, "another trace");
    }

    #[test]
    fn a_subtree_does_not_take_its_siblings_along() {
        let rewrites = Rewrites::default();
        rewrites.replace([1; 8], None, [9; 16]);
        assert_eq!(rewrites.resolve([7; 16], [1; 8]), Some([9; 16]));
        assert_eq!(rewrites.resolve([7; 16], [3; 8]), None);
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let rewrites = Rewrites::default();
        for index in 0..=MOST as u64 {
            rewrites.replace(index.to_be_bytes(), None, [9; 16]);
        }
        assert_eq!(rewrites.resolve([7; 16], 0u64.to_be_bytes()), None);
        assert_eq!(rewrites.resolve([7; 16], 1u64.to_be_bytes()), Some([9; 16]));
    }
}
