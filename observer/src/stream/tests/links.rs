//! What a call may have been made for: told right before its answer.

use observer_abi::record::{LinkFound, kind};

use crate::{
    exchange::{InferredLink, LinkMethod},
    stream::script::{GET, OK, Script, bytes_of},
};

/// A client's connection whose request has the span id `[2; 8]`.
fn asked() -> Script {
    let mut script = Script::client();
    script.context.trace_id = [1; 16];
    script.context.span_id = [2; 8];
    script.request(GET);
    script
}

fn found(call: u8, request: u8) -> LinkFound {
    LinkFound {
        call_span_id: [call; 8],
        span_id: [request; 8],
        trace_id: [request; 16],
        ..LinkFound::default()
    }
}

fn told(script: &mut Script, found: LinkFound) {
    let header = script.header(kind::LINK_FOUND);
    script.emit(bytes_of(&LinkFound { header, ..found }));
}

#[test]
fn a_link_belongs_to_the_call_that_it_names() {
    let mut script = asked();
    told(&mut script, found(2, 9));
    script.response(OK);
    let context = &script.last().context;
    let link = InferredLink {
        trace_id: [9; 16],
        span_id: [9; 8],
        sampled: true,
        method: LinkMethod::LastResumed,
    };
    assert_eq!(context.link, Some(link));
    assert_eq!((context.trace_id, context.parent_span_id), ([1; 16], None));
    script.context.span_id = [3; 8];
    script.exchange();
    assert_eq!(script.last().context.link, None, "the next one's");
    script.assert_settled();
}

#[test]
fn a_link_of_another_call_or_to_nothing_is_none() {
    for odd in [found(8, 9), found(2, 0)] {
        let mut script = asked();
        told(&mut script, odd);
        script.response(OK);
        assert_eq!(script.last().context.link, None);
        assert_eq!(script.shard.counters().malformed_records, 0);
    }
    // The call's own record was lost.
    let mut script = Script::client();
    script.context.span_id = [2; 8];
    script.lost(|script| script.request(GET));
    told(&mut script, found(2, 9));
    script.response(OK).exchange();
    assert!(
        script
            .seen
            .exchanges
            .iter()
            .all(|it| it.context.link.is_none())
    );
}
