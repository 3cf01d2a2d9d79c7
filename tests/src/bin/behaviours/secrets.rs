//! TLS secrets: both ends of a handshake tell theirs.

use observer_tests::Client;

use crate::behaviour::{Behaviour, Drive, Evidence};
use crate::stage::Stage;

pub(crate) const BEHAVIOURS: &[Behaviour] = &[Behaviour {
    name: "TLS secrets",
    drive: told,
}];

/// Connections; each makes its server open one with TLS.
const HANDSHAKES: u64 = 3;
/// Secrets that both ends tell of a handshake of TLS 1.3, the one that opens nothing left out.
const SECRETS: u64 = 2 * 4;
/// Breakpoints that both ends meet.
const HITS: u64 = 2 * 5;

fn told(stage: &Stage) -> Drive {
    let port = stage.tls_gateway.port();
    for handshake in 0..HANDSHAKES {
        let path = format!("/secret/{handshake}");
        let mut client = Client::connect(port).unwrap();
        assert_eq!(client.request("GET", &path, "").unwrap().status, 200);
    }
    // The gateway, the one that ends TLS, and the server behind that.
    Drive::check(3 * HANDSHAKES as usize, |evidence| {
        let count = |event| count(evidence, event);
        let (hits, secrets) = (count("tls_key_point_hits"), count("tls_secrets"));
        assert!(secrets >= HANDSHAKES * SECRETS, "{secrets} secrets");
        // Others use these servers, too, and speak TLS 1.2, which has one secret and one hit; nothing else may be a hit.
        let opens_nothing = hits - secrets;
        assert!(
            opens_nothing >= HANDSHAKES * (HITS - SECRETS),
            "{hits} hits"
        );
        assert!(
            opens_nothing * SECRETS / (HITS - SECRETS) <= secrets,
            "{hits} hits, {secrets} secrets"
        );
        assert_eq!(count("tls_secrets_refused"), 0);
        assert_eq!(lost(evidence), 0);
    })
}

fn count(evidence: &Evidence, event: &str) -> u64 {
    let label = format!("event=\"{event}\"");
    evidence.page.sum("observer_kernel_events", &[&label]) as u64
}

fn lost(evidence: &Evidence) -> u64 {
    let label = "reason=\"tls_secrets_dropped\"";
    evidence.page.sum("observer_lost", &[label]) as u64
}
