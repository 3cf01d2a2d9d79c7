//! Which trace a request belongs to.
//!
//! The kernel named ids when the request's run opened, since an outgoing call needs them at once; only a
//! header that the request carries is better informed: `traceparent`, else `b3`.

use observer_abi::context::{Context, method};
use observer_protocol::{b3::parse_b3, trace_context::parse_traceparent};

use super::{HeaderContext, ParentMethod, TraceContext, ids::Ids};
use crate::protocol::Carried;

/// The context of a request that carries `head`, and what its header said where it has one. `kernel` is `None` for a request
/// to which the kernel gave no ids: a later one of a pipelined run, or one whose opening record was lost.
///
/// A header's span becomes the parent at both ends: at the client's, it is the span of the SDK that wrote the header.
/// Where the header was only handed on, [`TraceContext::own_parent`] knows better; who can tell is the
/// [`Sink`](super::Sink).
pub(crate) fn decide(
    kernel: Option<&Context>,
    head: &Carried<'_>,
    ids: &mut Ids,
) -> (TraceContext, Option<HeaderContext>) {
    let mut context = match kernel.filter(|kernel| kernel.trace_id != [0; 16]) {
        Some(kernel) => from_kernel(kernel, ids),
        None => root(ids),
    };
    let written = head.traceparent.and_then(parse_traceparent);
    let trace_state = written.and(head.tracestate.map(Into::into));
    let Some(header) = written.or_else(|| head.b3.and_then(parse_b3)) else {
        return (context, None);
    };
    let own_parent = context
        .parent_span_id
        .map(|span_id| (span_id, context.parent_method));
    let begun = kernel
        .filter(|kernel| kernel.span_id == context.span_id && own_parent.is_none())
        .map(|kernel| kernel.trace_id);
    context.own_parent = own_parent;
    context.trace_id = header.trace_id;
    context.parent_span_id = Some(header.parent_id);
    context.parent_method = ParentMethod::Header;
    context.sampled = Some(header.sampled());
    context.trace_state = trace_state;
    let seen = HeaderContext {
        span_id: context.span_id,
        trace_id: header.trace_id,
        parent_id: header.parent_id,
        sampled: header.sampled(),
        own_parent: own_parent.map(|(span_id, _)| span_id),
        begun: begun.filter(|begun| *begun != header.trace_id),
    };
    (context, Some(seen))
}

/// A new trace.
pub(super) fn root(ids: &mut Ids) -> TraceContext {
    TraceContext::root(ids.trace_id(), ids.span_id())
}

/// The context of what a request called for by this method, as far as the kernel knows; without one its own trace.
pub(crate) fn of_call(
    trace_id: [u8; 16],
    parent_span_id: [u8; 8],
    parent_method: u8,
    ids: &mut Ids,
) -> TraceContext {
    if trace_id == [0; 16] {
        return root(ids);
    }
    let kernel = Context {
        trace_id,
        parent_span_id,
        parent_method,
        ..Context::default()
    };
    from_kernel(&kernel, ids)
}

fn from_kernel(kernel: &Context, ids: &mut Ids) -> TraceContext {
    let parent_method = match kernel.parent_method {
        method::HANDOFF => ParentMethod::Handoff,
        method::THREAD => ParentMethod::Thread,
        method::EVENT_LOOP => ParentMethod::EventLoop,
        method::GOROUTINE => ParentMethod::Goroutine,
        method::PYTHON_CONTEXT => ParentMethod::PythonContext,
        method::TCP_OPTION => ParentMethod::TcpOption,
        method::RUBY_FIBER => ParentMethod::RubyFiber,
        method::TOKIO_TASK => ParentMethod::TokioTask,
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
        own_parent: None,
        link: None,
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

    fn head(traceparent: Option<&str>) -> Carried<'_> {
        Carried {
            traceparent,
            tracestate: traceparent.map(|_| "vendor=1"),
            b3: None,
        }
    }

    #[test]
    fn the_kernels_ids_are_kept() {
        let (context, seen) = decide(Some(&kernel(method::HANDOFF)), &head(None), &mut Ids::new());
        assert_eq!(context.trace_id, [1; 16]);
        assert_eq!(context.span_id, [2; 8]);
        assert_eq!(context.parent_span_id, Some([3; 8]));
        assert_eq!(context.parent_method, ParentMethod::Handoff);
        assert_eq!(seen, None);
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
        let (context, seen) = decide(
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
        let seen = seen.unwrap();
        assert_eq!(seen.own_parent, Some([3; 8]));
        assert_eq!(
            context.own_parent,
            Some(([3; 8], ParentMethod::Thread)),
            "kept beside the header's"
        );
        assert_eq!(seen.begun, None, "the trace had not begun here");
    }

    #[test]
    fn a_header_replaces_the_whole_trace_where_the_kernel_had_begun_one() {
        let (_, seen) = decide(
            Some(&kernel(method::NONE)),
            &head(Some(HEADER)),
            &mut Ids::new(),
        );
        assert_eq!(seen.unwrap().begun, Some([1; 16]));
    }

    #[test]
    fn a_malformed_header_is_as_none() {
        let (context, seen) = decide(
            Some(&kernel(method::THREAD)),
            &head(Some(&HEADER.to_uppercase())),
            &mut Ids::new(),
        );
        assert_eq!(context.trace_id, [1; 16]);
        assert_eq!(context.parent_method, ParentMethod::Thread);
        assert_eq!((context.sampled, context.trace_state), (None, None));
        assert_eq!(seen, None);
    }

    #[test]
    fn b3_is_read_where_there_is_no_traceparent() {
        let b3 = Some("80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-0");
        let mut head = Carried {
            b3,
            tracestate: Some("vendor=1"),
            traceparent: None,
        };
        let (context, _) = decide(None, &head, &mut Ids::new());
        assert_eq!(context.parent_method, ParentMethod::Header);
        assert_eq!(context.trace_id[..2], [0x80, 0xf1]);
        assert_eq!((context.sampled, context.trace_state), (Some(false), None));
        head.traceparent = Some(HEADER);
        let (context, _) = decide(None, &head, &mut Ids::new());
        assert_eq!(
            context.trace_id[..2],
            [0x0a, 0xf7],
            "traceparent comes first"
        );
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
