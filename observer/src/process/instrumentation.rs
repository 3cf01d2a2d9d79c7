//! Whether a service makes its own spans.
//!
//! A service that carries an OpenTelemetry SDK must not have its spans doubled. What tells, strongest first: an agent is
//! loaded into it (its environment or command line says so); it writes trace contexts that it did not receive; it sends
//! traces to an OTLP endpoint.
//!
//! The last is weak, since a gateway or a collector sends the traces of others. Such a relay is known by what it receives:
//! once it serves a path to which traces are posted, what it posts itself proves nothing any more.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use super::environment::Environment;

/// Contexts of a service's own making that call for an SDK: a person's `curl -H traceparent:` has one.
const CONTEXTS: u8 = 3;
/// Posts of traces that call for an SDK. A relay's first one is told before it is known that the relay received it.
const POSTS: u8 = 2;

/// How a service was recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// An SDK's agent is loaded.
    Loaded,
    /// It writes contexts of its own.
    Writes,
    /// It posts traces of its own to an OTLP endpoint.
    Exports,
}

impl Evidence {
    /// The name under which it is shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::Writes => "writes",
            Self::Exports => "exports",
        }
    }
}

/// What is known so far of one service's instrumentation. Any thread may add.
#[derive(Debug, Default)]
pub struct Instrumentation {
    loaded: bool,
    last_context: AtomicU64,
    contexts: AtomicU8,
    posts: AtomicU8,
    relays: AtomicBool,
}

/// What is known so far goes over to the copy; what is learned later does not.
impl Clone for Instrumentation {
    fn clone(&self) -> Self {
        Self {
            loaded: self.loaded,
            last_context: AtomicU64::new(self.last_context.load(Ordering::Relaxed)),
            contexts: AtomicU8::new(self.contexts.load(Ordering::Relaxed)),
            posts: AtomicU8::new(self.posts.load(Ordering::Relaxed)),
            relays: AtomicBool::new(self.relays.load(Ordering::Relaxed)),
        }
    }
}

/// Equal where they say the same of the service.
impl PartialEq for Instrumentation {
    fn eq(&self, other: &Self) -> bool {
        self.evidence() == other.evidence()
    }
}

impl Instrumentation {
    /// With what environment and command line tell.
    pub(super) fn of(environment: &Environment, args: &[String]) -> Self {
        Self {
            loaded: is_loaded(environment, args),
            ..Self::default()
        }
    }

    /// What speaks for an SDK, the strongest; `None` while nothing does.
    pub fn evidence(&self) -> Option<Evidence> {
        if self.loaded {
            Some(Evidence::Loaded)
        } else if self.contexts.load(Ordering::Relaxed) >= CONTEXTS {
            Some(Evidence::Writes)
        } else if self.posts.load(Ordering::Relaxed) >= POSTS
            && !self.relays.load(Ordering::Relaxed)
        {
            Some(Evidence::Exports)
        } else {
            None
        }
    }

    /// The service posted traces, and not for a request that it serves.
    pub fn posted(&self) {
        count(&self.posts);
    }

    /// The service received traces that were posted to it: its own posts prove nothing, those before included.
    pub fn relays(&self) {
        self.relays.store(true, Ordering::Relaxed);
    }

    /// The service sent a request with this parent in its header, which no request that it received had.
    pub fn wrote(&self, parent_id: [u8; 8]) {
        let id = u64::from_ne_bytes(parent_id);
        if self.last_context.swap(id, Ordering::Relaxed) != id {
            count(&self.contexts);
        }
    }
}

/// Adds one, and stays at the most that there is.
fn count(counter: &AtomicU8) {
    let _ = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |it| it.checked_add(1));
}

/// Variables by which agents are put into a process, with a text that only OpenTelemetry's have in them.
const LOADERS: [(&str, &str); 8] = [
    ("JAVA_TOOL_OPTIONS", "opentelemetry-javaagent"),
    ("JDK_JAVA_OPTIONS", "opentelemetry-javaagent"),
    ("_JAVA_OPTIONS", "opentelemetry-javaagent"),
    ("NODE_OPTIONS", "opentelemetry"),
    (
        "PYTHONPATH",
        "opentelemetry/instrumentation/auto_instrumentation",
    ),
    ("RUBYOPT", "opentelemetry"),
    ("CORECLR_PROFILER", "{918728DD-259F-4A6A-AC2B-B85E1B658318}"),
    ("LD_PRELOAD", "otelinject"),
];

/// The same on a command line: `java -javaagent:…`, `node --require …`.
const ARGUMENTS: [&str; 3] = [
    "opentelemetry-javaagent",
    "@opentelemetry/auto-instrumentations",
    "opentelemetry-instrument",
];

fn is_loaded(environment: &Environment, args: &[String]) -> bool {
    let says = |name: &str, wanted: &str| {
        environment
            .get(name)
            .is_some_and(|value| value.trim().eq_ignore_ascii_case(wanted))
    };
    if says("OTEL_SDK_DISABLED", "true") || says("OTEL_TRACES_EXPORTER", "none") {
        return false;
    }
    let by_variable = LOADERS.iter().any(|(name, text)| {
        environment
            .get(name)
            .is_some_and(|value| value.contains(text))
    });
    by_variable
        || args
            .iter()
            .any(|arg| ARGUMENTS.iter().any(|text| arg.contains(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(environment: &str, args: &[&str]) -> Option<Evidence> {
        let environment = Environment::parse(environment.replace('\n', "\0").as_bytes());
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        Instrumentation::of(&environment, &args).evidence()
    }

    #[test]
    fn agents_are_seen_where_they_are_loaded() {
        for environment in [
            "JAVA_TOOL_OPTIONS=-javaagent:/otel/opentelemetry-javaagent.jar",
            "NODE_OPTIONS=--require @opentelemetry/auto-instrumentations-node/register",
            "PYTHONPATH=/x/opentelemetry/instrumentation/auto_instrumentation:/app",
        ] {
            assert_eq!(
                of(environment, &[]),
                Some(Evidence::Loaded),
                "{environment}"
            );
        }
        let java = [
            "java",
            "-javaagent:/o/opentelemetry-javaagent.jar",
            "-jar",
            "x",
        ];
        assert_eq!(of("", &java), Some(Evidence::Loaded));
    }

    #[test]
    fn what_is_switched_off_or_only_configured_is_none() {
        for environment in [
            "",
            "OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4317",
            "NODE_OPTIONS=--max-old-space-size=4096",
            "NODE_OPTIONS=--require @opentelemetry/x\nOTEL_SDK_DISABLED=True",
            "NODE_OPTIONS=--require @opentelemetry/x\nOTEL_TRACES_EXPORTER=none",
        ] {
            assert_eq!(
                of(environment, &["node", "server.js"]),
                None,
                "{environment}"
            );
        }
    }

    #[test]
    fn several_contexts_of_its_own_are_evidence_and_one_is_not() {
        let it = Instrumentation::default();
        for _ in 0..10 {
            it.wrote([1; 8]);
        }
        assert_eq!(it.evidence(), None);
        it.wrote([2; 8]);
        assert_eq!(it.evidence(), None);
        for id in 3..=255 {
            it.wrote([id; 8]);
            assert_eq!(it.evidence(), Some(Evidence::Writes));
        }
        for id in 0..=255 {
            it.wrote([id; 8]);
        }
        assert_eq!(
            it.evidence(),
            Some(Evidence::Writes),
            "it does not begin anew"
        );
    }

    #[test]
    fn a_service_that_posts_traces_of_its_own_has_an_sdk() {
        let it = Instrumentation::default();
        it.posted();
        assert_eq!(it.evidence(), None, "it may turn out to be a relay's");
        it.posted();
        assert_eq!(it.evidence(), Some(Evidence::Exports));
    }

    #[test]
    fn a_relay_has_none_whatever_it_posted_before_and_after() {
        let it = Instrumentation::default();
        it.posted();
        it.posted();
        it.relays();
        assert_eq!(it.evidence(), None);
        it.posted();
        assert_eq!(it.evidence(), None);
    }

    #[test]
    fn a_relay_with_an_sdk_of_its_own_is_recognised_by_what_is_stronger() {
        let it = Instrumentation::default();
        it.relays();
        for id in 1..=3 {
            it.wrote([id; 8]);
        }
        assert_eq!(it.evidence(), Some(Evidence::Writes));
        let environment = Environment::parse(b"NODE_OPTIONS=--require @opentelemetry/x");
        let it = Instrumentation::of(&environment, &[]);
        it.relays();
        assert_eq!(it.evidence(), Some(Evidence::Loaded));
    }
}
