//! Spans that wait to be sent, bounded by the memory that they take.
//!
//! Full means that the newest are dropped: what waits is older and closer to the cause of whatever went wrong.

use std::collections::VecDeque;
use std::mem::size_of;
use std::sync::{Mutex, MutexGuard};

use tokio::sync::Notify;

use crate::process::{Text, Value};
use crate::trace::Span;

/// Why spans were not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Full,
    Closed,
}

/// Spans taken out together. They stay charged as long as `charge` lives.
pub(super) struct Batch<'a> {
    pub(super) spans: Vec<Span>,
    pub(super) charge: Charge<'a>,
}

/// Room in the queue that spans in flight still take.
pub(super) struct Charge<'a> {
    queue: &'a SpanQueue,
    spans: usize,
    bytes: usize,
}

impl Drop for Charge<'_> {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.spans -= self.spans;
        state.bytes -= self.bytes;
    }
}

/// The queue. Its lock is held for moving pointers only, never while encoding or sending.
pub(super) struct SpanQueue {
    limit_bytes: usize,
    limit_spans: usize,
    wake_at: usize,
    state: Mutex<State>,
    /// Told when the queue is no longer empty, when a batch is complete, and on closing.
    pub(super) changed: Notify,
}

#[derive(Default)]
struct State {
    chunks: VecDeque<VecDeque<Span>>,
    waiting: usize,
    /// Waiting and in flight.
    spans: usize,
    bytes: usize,
    closed: bool,
}

impl SpanQueue {
    /// `wake_at`: number of waiting spans that make a batch.
    pub(super) fn new(limit_bytes: usize, limit_spans: Option<usize>, wake_at: usize) -> Self {
        Self {
            limit_bytes,
            limit_spans: limit_spans.unwrap_or(usize::MAX),
            wake_at,
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Takes as many spans as fit, from the front, and tells how many did not and why. Doesn't wait.
    pub(super) fn push(&self, mut spans: Vec<Span>) -> Option<(u64, Refusal)> {
        if spans.is_empty() {
            return None;
        }
        if spans.capacity() / 2 > spans.len() {
            spans.shrink_to_fit();
        }
        let mut bytes: usize = spans.iter().map(span_bytes).sum();
        let mut state = self.lock();
        if state.closed {
            return Some((spans.len() as u64, Refusal::Closed));
        }
        let free_bytes = self.limit_bytes.saturating_sub(state.bytes);
        let free_spans = self.limit_spans.saturating_sub(state.spans);
        let mut rest = Vec::new();
        if bytes > free_bytes || spans.len() > free_spans {
            let (fitting, fitting_bytes) = fitting(&spans, free_bytes, free_spans);
            rest = spans.split_off(fitting);
            bytes = fitting_bytes;
        }
        if !spans.is_empty() {
            let before = state.waiting;
            state.waiting += spans.len();
            state.spans += spans.len();
            state.bytes += bytes;
            state.chunks.push_back(VecDeque::from(spans));
            if before == 0 || (before < self.wake_at && state.waiting >= self.wake_at) {
                self.changed.notify_one();
            }
        }
        drop(state);
        (!rest.is_empty()).then_some((rest.len() as u64, Refusal::Full))
    }

    /// Up to `max_spans` of together about `max_bytes`, at least one; `None` if empty.
    pub(super) fn pop(&self, max_spans: usize, max_bytes: usize) -> Option<Batch<'_>> {
        let mut spans = Vec::new();
        let mut total = 0;
        let mut state = self.lock();
        while spans.len() < max_spans.max(1) {
            let Some(chunk) = state.chunks.front_mut() else {
                break;
            };
            let Some(span) = chunk.pop_front() else {
                state.chunks.pop_front();
                continue;
            };
            let bytes = span_bytes(&span);
            if !spans.is_empty() && total + bytes > max_bytes {
                chunk.push_front(span);
                break;
            }
            total += bytes;
            spans.push(span);
        }
        state.waiting -= spans.len();
        drop(state);
        if spans.is_empty() {
            return None;
        }
        let charge = Charge {
            queue: self,
            spans: spans.len(),
            bytes: total,
        };
        Some(Batch { spans, charge })
    }

    /// No more spans are taken.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// Spans not yet taken out.
    pub(super) fn waiting(&self) -> usize {
        self.lock().waiting
    }

    /// The bound, bytes.
    pub(super) fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    /// Number and bytes of spans that wait or are in flight.
    pub(super) fn usage(&self) -> (usize, usize) {
        let state = self.lock();
        (state.spans, state.bytes)
    }

    /// Throws away what waits and returns its number.
    pub(super) fn clear(&self) -> u64 {
        let mut state = self.lock();
        let chunks = std::mem::take(&mut state.chunks);
        let waiting = std::mem::take(&mut state.waiting);
        state.spans -= waiting;
        state.bytes -= chunks.iter().flatten().map(span_bytes).sum::<usize>();
        drop(state);
        waiting as u64
    }
}

fn fitting(spans: &[Span], free_bytes: usize, free_spans: usize) -> (usize, usize) {
    let mut bytes = 0;
    for (index, span) in spans.iter().enumerate() {
        let next = bytes + span_bytes(span);
        if next > free_bytes || index == free_spans {
            return (index, bytes);
        }
        bytes = next;
    }
    (spans.len(), bytes)
}

/// Two reference counts in front of a shared text.
const SHARED: usize = 2 * size_of::<usize>();

/// Memory of a span without its service, which many share. Texts are counted in full although several spans may
/// share one: the bound is kept rather too early than too late.
pub(super) fn span_bytes(span: &Span) -> usize {
    let texts = span
        .attributes
        .iter()
        .map(|(_, value)| value_bytes(value))
        .sum::<usize>();
    size_of::<Span>()
        + SHARED
        + span.name.heap_bytes()
        + span.trace_state.as_ref().map_or(0, |text| text.len())
        + span.error.as_ref().map_or(0, |text| text.len())
        + span.attributes.capacity() * size_of::<(&'static str, Value)>()
        + texts
}

fn value_bytes(value: &Value) -> usize {
    match value {
        Value::Text(Text::Static(_)) => 0,
        Value::Text(Text::Shared(text)) => SHARED + text.len(),
        Value::Texts(texts) => {
            SHARED
                + texts
                    .iter()
                    .map(|text| size_of_val(text) + SHARED + text.len())
                    .sum::<usize>()
        }
        Value::Int(_) | Value::Double(_) | Value::Bool(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::otlp::receiver::{service, span};

    fn spans(count: u8) -> Vec<Span> {
        let service = service("a", "1");
        (0..count).map(|index| span(&service, index)).collect()
    }

    #[test]
    fn the_newest_spans_are_refused_when_the_bytes_are_used_up() {
        let each = span_bytes(&spans(1)[0]);
        let queue = SpanQueue::new(each * 3 + each / 2, None, 512);
        assert_eq!(queue.push(spans(2)), None);
        assert_eq!(queue.push(spans(4)), Some((3, Refusal::Full)));
        assert_eq!(queue.usage(), (3, each * 3));
        let batch = queue.pop(10, usize::MAX).unwrap();
        let ids: Vec<u8> = batch.spans.iter().map(|span| span.span_id[7]).collect();
        assert_eq!(ids, [0, 1, 0]);
        assert_eq!(
            queue.push(spans(1)),
            Some((1, Refusal::Full)),
            "what is in flight still counts"
        );
        drop(batch);
        assert_eq!(queue.usage(), (0, 0));
        assert_eq!(queue.push(spans(1)), None);
    }

    #[test]
    fn the_number_of_spans_is_a_bound_of_its_own() {
        let queue = SpanQueue::new(usize::MAX, Some(3), 512);
        assert_eq!(queue.push(spans(5)), Some((2, Refusal::Full)));
        assert_eq!(queue.push(spans(1)), Some((1, Refusal::Full)));
    }

    #[test]
    fn batches_keep_both_bounds_and_never_stand_still() {
        let each = span_bytes(&spans(1)[0]);
        let queue = SpanQueue::new(usize::MAX, None, 512);
        queue.push(spans(7));
        assert_eq!(queue.pop(3, usize::MAX).unwrap().spans.len(), 3);
        assert_eq!(queue.pop(3, each * 2).unwrap().spans.len(), 2);
        let last = queue.pop(3, 1).unwrap();
        assert_eq!(
            last.spans.len(),
            1,
            "one span larger than the bound goes alone"
        );
        assert_eq!(queue.waiting(), 1);
        assert_eq!(queue.clear(), 1);
        assert!(queue.pop(3, 1).is_none());
        assert_eq!(queue.usage(), (1, each), "what is in flight is not cleared");
    }

    #[test]
    fn a_closed_queue_takes_nothing() {
        let queue = SpanQueue::new(usize::MAX, None, 512);
        queue.close();
        assert_eq!(queue.push(spans(2)), Some((2, Refusal::Closed)));
    }
}
