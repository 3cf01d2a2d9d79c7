//! Which trace a request belongs to.
//!
//! The kernel named ids when the request's run opened, since an outgoing call needs them at once; only a
//! `traceparent` header that the request carries is better informed.

use observer_abi::context::{Context, method};
use observer_protocol::{http1::RequestHead, trace_context::parse_traceparent};

use super::{ParentMethod, TraceContext, ids::Ids};

/// The context of the request with `head`, and whether its header put a span that the kernel had named into another
/// trace. `kernel` is `None` for a request to which the kernel gave no ids: a later one of a pipelined run, or one
/// whose opening record was lost.
///
/// A header's span becomes the parent at both ends: at the client's, it is the span of the SDK that wrote the header.
pub(crate) fn decide(
    kernel: Option<&Context>,
    head: &RequestHead,
    ids: &mut Ids,
) -> (TraceContext, Option<Replaced>) {
    let mut context = match kernel.filter(|kernel| kernel.trace_id != [0; 16]) {
        Some(kernel) => from_kernel(kernel, ids),
        None => root(ids),
    };
    let header = head.traceparent.as_deref().and_then(parse_traceparent);
    let Some(header) = header else {
        return (context, None);
    };
    let replaced = kernel
        .filter(|kernel| kernel.span_id == context.span_id && context.trace_id != header.trace_id)
        .map(|kernel| Replaced {
            whole_trace: (context.parent_method == ParentMethod::None).then_some(kernel.trace_id),
        });
    context.trace_id = header.trace_id;
    context.parent_span_id = Some(header.parent_id);
    context.parent_method = ParentMethod::Header;
    context.sampled = Some(header.sampled());
    context.trace_state = head.tracestate.clone();
    (context, replaced)
}

/// A header put a span that the kernel had named into another trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Replaced {
    /// The kernel's trace id, where that trace had begun with this very span.
    pub(crate) whole_trace: Option<[u8; 16]>,
}

/// A new trace.
pub(super) fn root(ids: &mut Ids) -> TraceContext {
    TraceContext {
        trace_id: ids.trace_id(),
        span_id: ids.span_id(),
        parent_span_id: None,
        parent_method: ParentMethod::None,
        sampled: None,
        trace_state: None,
    }
}

fn from_kernel(kernel: &Context, ids: &mut Ids) -> TraceContext {
    let parent_method = match kernel.parent_method {
        method::HANDOFF => ParentMethod::Handoff,
        method::THREAD => ParentMethod::Thread,
        _ => ParentMethod::None,
    };
    let has_parent = parent_method != ParentMethod::None && kernel.parent_span_id != [0; 8];
    TraceContext {
        trace_id: kernel.trace_id,
        span_id: if kernel.span_id == [0; 8] {
            ids.span_id()
        } else {
            kernel.span_id
        },
        parent_span_id: has_parent.then_some(kernel.parent_span_id),
        parent_method: if has_parent {
            parent_method
        } else {
            ParentMethod::None
        },
        sampled: None,
        trace_state: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn kernel(parent_method: u8) -> Context {
        Context {
            trace_id: [1; 16],
            span_id: [2; 8],
            parent_span_id: [3; 8],
            parent_method,
            ..Context::default()
        }
    }

    fn head(traceparent: Option<&str>) -> RequestHead {
        RequestHead {
            traceparent: traceparent.map(Into::into),
            tracestate: traceparent.map(|_| "vendor=1".into()),
            ..RequestHead::default()
        }
    }

    #[test]
    fn the_kernels_ids_are_kept() {
        let (context, replaced) =
            decide(Some(&kernel(method::HANDOFF)), &head(None), &mut Ids::new());
        assert_eq!(context.trace_id, [1; 16]);
        assert_eq!(context.span_id, [2; 8]);
        assert_eq!(context.parent_span_id, Some([3; 8]));
        assert_eq!(context.parent_method, ParentMethod::Handoff);
        assert_eq!(replaced, None);
    }

    #[test]
    fn a_parent_without_a_method_is_no_parent() {
        let (context, _) = decide(Some(&kernel(method::NONE)), &head(None), &mut Ids::new());
        assert_eq!(
            (context.parent_span_id, context.parent_method),
            (None, ParentMethod::None)
        );
    }

    #[test]
    fn a_header_replaces_trace_and_parent_and_keeps_the_span() {
        let (context, replaced) = decide(
            Some(&kernel(method::THREAD)),
            &head(Some(HEADER)),
            &mut Ids::new(),
        );
        assert_eq!(context.trace_id[..2], [0x0a, 0xf7]);
        assert_eq!(context.span_id, [2; 8]);
        assert_eq!(context.parent_span_id.unwrap()[..2], [0xb7, 0xad]);
        assert_eq!(context.parent_method, ParentMethod::Header);
        assert_eq!(context.sampled, Some(true));
        assert_eq!(context.trace_state.as_deref(), Some("vendor=1"));
        // The kernel found a parent for it, so the trace had not begun here.
        assert_eq!(replaced, Some(Replaced { whole_trace: None }));
    }

    #[test]
    fn a_header_replaces_the_whole_trace_where_the_kernel_had_begun_one() {
        let (_, replaced) = decide(
            Some(&kernel(method::NONE)),
            &head(Some(HEADER)),
            &mut Ids::new(),
        );
        let whole_trace = Some([1; 16]);
        assert_eq!(replaced, Some(Replaced { whole_trace }));
    }

    #[test]
    fn a_malformed_header_is_as_none() {
        let (context, replaced) = decide(
            Some(&kernel(method::THREAD)),
            &head(Some(&HEADER.to_uppercase())),
            &mut Ids::new(),
        );
        assert_eq!(context.trace_id, [1; 16]);
        assert_eq!(context.parent_method, ParentMethod::Thread);
        assert_eq!((context.sampled, context.trace_state), (None, None));
        assert_eq!(replaced, None);
    }

    #[test]
    fn without_kernel_ids_fresh_ones_are_made() {
        let mut ids = Ids::new();
        let (first, _) = decide(Some(&Context::default()), &head(None), &mut ids);
        let (second, _) = decide(None, &head(None), &mut ids);
        assert_ne!(first.trace_id, [0; 16]);
        assert_ne!(first.span_id, [0; 8]);
        assert_ne!(first.trace_id, second.trace_id);
        assert_eq!(first.parent_span_id, None);
    }
}
