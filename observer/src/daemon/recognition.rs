//! What exchanges tell about a service's instrumentation.
//!
//! A service is recognised by what it sends of its own: traces, and trace contexts. What it sends for somebody else says
//! nothing about it. So a post of traces does not count when it is made for a request that the service is serving (a
//! gateway hands a client's body on), when the service receives such posts itself (a collector, or a gateway whose
//! requests can't be told apart), or when a collector says by its `User-Agent` that it is one.

use std::sync::Arc;

use super::lineage::Lineage;
use crate::{
    exchange::{Exchange, ParentMethod, TraceContext},
    identity::Role,
    process::{Instrumentation, Service},
    protocol::Delivery,
};

/// Takes note of what an exchange says about the service at its end.
pub(super) fn learn(lineage: &Lineage, exchange: &Exchange, service: &Arc<Service>) {
    let delivery = exchange.detail.describe().delivery();
    let instrumentation = &service.instrumentation;
    let known = instrumentation.evidence();
    match exchange.role {
        Role::Server if delivery.is_some() => instrumentation.relays(),
        Role::Server => return,
        Role::Client => sent(lineage, exchange, delivery, instrumentation),
    }
    match (known, instrumentation.evidence()) {
        (None, Some(evidence)) => tracing::info!(
            service = &*service.name,
            evidence = evidence.as_str(),
            "the service carries an OpenTelemetry SDK"
        ),
        (Some(_), None) => tracing::info!(
            service = &*service.name,
            "the service relays the traces of others, and is not known to carry an OpenTelemetry SDK"
        ),
        _ => {}
    }
}

fn sent(
    lineage: &Lineage,
    exchange: &Exchange,
    delivery: Option<Delivery>,
    instrumentation: &Instrumentation,
) {
    let context = &exchange.context;
    if let Some(delivery) = delivery.filter(|it| it.is_accepted) {
        if !is_made_for_a_request(context) && !delivery.is_a_collectors {
            instrumentation.posted();
        }
    } else if let (ParentMethod::Header, Some(parent)) =
        (context.parent_method, context.parent_span_id)
        && !lineage.was_received(exchange.process, parent)
    {
        instrumentation.wrote(parent);
    }
}

/// Whether the kernel knows for which request of the same process it was sent, whatever its header names beside.
fn is_made_for_a_request(context: &TraceContext) -> bool {
    let own = context.own_parent.map(|(_, method)| method);
    context.parent_span_id.is_some()
        && [Some(context.parent_method), own]
            .into_iter()
            .flatten()
            .any(ParentMethod::is_from_kernel)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        process::Evidence,
        trace::samples::{self, http, service},
    };

    fn post(role: Role, target: &str) -> Exchange {
        let mut exchange = samples::exchange(role);
        let it = http(&mut exchange);
        it.method = "POST".into();
        it.set_target(target);
        it.set_user_agent(None);
        exchange
    }

    fn learned(exchanges: &[Exchange]) -> Option<Evidence> {
        let (lineage, service) = (Lineage::new(1 << 20), service("it"));
        for exchange in exchanges {
            learn(&lineage, exchange, &service);
        }
        service.instrumentation.evidence()
    }

    fn for_a_request(mut exchange: Exchange, method: ParentMethod) -> Exchange {
        exchange.context.parent_span_id = Some([3; 8]);
        exchange.context.parent_method = method;
        exchange
    }

    #[test]
    fn a_batch_that_is_posted_for_nobody_is_an_sdks() {
        for target in [
            "/v1/traces",
            "/otlp/v1/traces?key=1",
            "http://c:4318/v1/traces",
        ] {
            let post = post(Role::Client, target);
            assert_eq!(learned(std::slice::from_ref(&post)), None, "{target}");
            let found = learned(&[post.clone(), post]);
            assert_eq!(found, Some(Evidence::Exports), "{target}");
        }
    }

    #[test]
    fn what_was_refused_or_is_something_else_is_none() {
        let mut refused = post(Role::Client, "/v1/traces");
        http(&mut refused).status = Some(404);
        assert_eq!(learned(&[refused.clone(), refused]), None);
        let metrics = post(Role::Client, "/v1/metrics?from=/v1/traces");
        assert_eq!(learned(&[metrics.clone(), metrics]), None);
    }

    #[test]
    fn what_a_gateway_hands_on_for_a_request_is_no_sdks_whatever_path_it_came_on() {
        for method in [
            ParentMethod::Thread,
            ParentMethod::EventLoop,
            ParentMethod::Goroutine,
            ParentMethod::PythonContext,
            ParentMethod::RubyFiber,
            ParentMethod::TokioTask,
        ] {
            let relayed = for_a_request(post(Role::Client, "/v1/traces"), method);
            let served = post(Role::Server, "/collect");
            let three = [&relayed, &served, &relayed, &served, &relayed, &served].map(Clone::clone);
            assert_eq!(learned(&three), None, "{method:?}");
        }
    }

    #[test]
    fn a_header_of_the_clients_does_not_hide_for_which_request_it_was_sent() {
        let mut relayed = for_a_request(post(Role::Client, "/v1/traces"), ParentMethod::Header);
        relayed.context.own_parent = Some(([4; 8], ParentMethod::EventLoop));
        assert_eq!(learned(&[relayed.clone(), relayed.clone(), relayed]), None);
    }

    #[test]
    fn who_receives_posts_of_traces_is_a_relay() {
        let (received, sent) = (
            post(Role::Server, "/v1/traces"),
            post(Role::Client, "/v1/traces"),
        );
        let in_turn = [&sent, &received, &sent, &received, &sent, &received].map(Clone::clone);
        assert_eq!(learned(&in_turn), None);
        let late = [&sent, &sent, &sent, &received, &sent].map(Clone::clone);
        assert_eq!(learned(&late), None, "taken back");
    }

    #[test]
    fn a_relay_that_writes_contexts_of_its_own_is_recognised() {
        let mut exchanges = vec![post(Role::Server, "/v1/traces")];
        for id in 1..=3 {
            let mut call = samples::exchange(Role::Client);
            call.context.parent_span_id = Some([id; 8]);
            call.context.parent_method = ParentMethod::Header;
            exchanges.push(call);
        }
        assert_eq!(learned(&exchanges), Some(Evidence::Writes));
    }

    #[test]
    fn a_collector_that_takes_traces_by_grpc_is_known_by_its_agent() {
        let mut post = post(Role::Client, "/v1/traces");
        http(&mut post).set_user_agent(Some(
            "OpenTelemetry Collector Contrib/0.152.0 (linux/amd64)",
        ));
        assert_eq!(learned(&[post.clone(), post.clone(), post]), None);
    }
}
