//! One record in a hundred is lost between kernel and daemon: what is said of the rest is what was.
//!
//! The daemon is built with the feature `made-up`; what is shipped loses nothing on purpose.
#![allow(clippy::unwrap_used, reason = "tests panic, they don't return errors")]

use std::collections::HashMap;

use observer_tests::{Certificate, Environment, Got, Observer, Server, Span, got};

/// Sizes of answers, each its path's only one.
fn paths() -> Vec<String> {
    let bytes = (1..600).map(|number| format!("/bytes/{}", number * 37));
    let uploads = (1..200).map(|number| format!("/echo/{}", number * 173));
    let errors = (400..600).map(|status| format!("/status/{status}"));
    bytes.chain(uploads).chain(errors).collect()
}

#[test]
fn with_one_record_in_a_hundred_lost_nothing_is_wrong_and_the_rest_is_whole() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let certificate = Certificate::new();
    let server = Server::node_tls(&certificate);
    for library in ["stdlib", "aiohttp"] {
        let observer = Observer::start_made_up(
            &environment,
            &[
                &format!("--port={}", server.port()),
                "--exe=python3*",
                "--span-rate=unlimited",
            ],
            &[("OBSERVER_LOSE_ONE_IN", "100")],
        );
        let truth = got(&mut certificate.python(&environment, library, &server, &paths()));
        let page = observer.settled_page(truth.len() as u64);
        eprintln!("{}", page.troubles());
        let spans: Vec<Span> = observer.stop();
        let truth: HashMap<&str, &Got> = truth.iter().map(|got| (&*got.path, got)).collect();
        let by_id: HashMap<&str, &Span> = spans.iter().map(|span| (span.span_id(), span)).collect();
        for kind in ["server", "client"] {
            let of_kind: Vec<&Span> = spans
                .iter()
                .filter(|span| span.kind() == kind && span.name() != "TLS handshake")
                .collect();
            let mut whole = 0;
            for span in &of_kind {
                assert_right(span, &truth, &by_id);
                whole += usize::from(!span.is_incomplete());
            }
            eprintln!(
                "{library}, {kind}: {} of {} exchanges, {whole} whole",
                of_kind.len(),
                truth.len()
            );
            assert!(of_kind.len() <= truth.len());
            // Ten records an exchange, and some losses are of more than one.
            assert!(whole * 10 >= truth.len() * 7, "{whole} whole");
        }
    }
}

/// What a span says was so; what it does not say it leaves out.
fn assert_right(span: &Span, truth: &HashMap<&str, &Got>, by_id: &HashMap<&str, &Span>) {
    let target = span.target();
    let Some(got) = truth.get(target) else {
        // A request whose beginning is lost has no path.
        assert_eq!(target, "", "nobody asked for this: {span:?}");
        return;
    };
    if let Some(status) = span.status_code() {
        assert_eq!(status, got.status, "{span:?}");
    }
    if let Some(size) = span.attribute("http.response.body.size").as_u64() {
        assert_eq!(size, got.size, "{span:?}");
    }
    if let Some(parent) = span.parent_span_id().and_then(|id| by_id.get(id)) {
        assert_eq!(parent.target(), target, "{span:?}");
    }
}
