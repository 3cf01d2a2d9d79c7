//! Whether a service makes its own spans.
//!
//! A service that carries an OpenTelemetry SDK must not have its spans doubled. What tells, strongest first: it sends
//! traces to an OTLP endpoint; an agent is loaded into it (its environment or command line says so); it writes trace
//! contexts that it did not receive.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use super::environment::Environment;

/// Contexts of a service's own making that call for an SDK: a person's `curl -H traceparent:` has one.
const CONTEXTS: u8 = 3;

/// How a service was recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Evidence {
    /// It posts traces to an OTLP endpoint.
    Exports = 1,
    /// An SDK's agent is loaded.
    Loaded = 2,
    /// It writes contexts of its own.
    Writes = 3,
}

impl Evidence {
    /// The name under which it is shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exports => "exports",
            Self::Loaded => "loaded",
            Self::Writes => "writes",
        }
    }
}

/// What is known so far of one service's instrumentation. Only ever grows; any thread may add.
#[derive(Debug, Default)]
pub struct Instrumentation {
    evidence: AtomicU8,
    last_context: AtomicU64,
    contexts: AtomicU8,
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
        let this = Self::default();
        if is_loaded(environment, args) {
            this.note(Evidence::Loaded);
        }
        this
    }

    /// What speaks for an SDK; `None` while nothing does.
    pub fn evidence(&self) -> Option<Evidence> {
        match self.evidence.load(Ordering::Relaxed) {
            1 => Some(Evidence::Exports),
            2 => Some(Evidence::Loaded),
            3 => Some(Evidence::Writes),
            _ => None,
        }
    }

    /// Adds evidence. The first stays. Returns whether this was the first.
    pub fn note(&self, evidence: Evidence) -> bool {
        self.evidence
            .compare_exchange(0, evidence as u8, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }

    /// The service sent a request with this parent in its header, which no request that it received had.
    pub fn wrote(&self, parent_id: [u8; 8]) -> bool {
        let id = u64::from_ne_bytes(parent_id);
        if self.last_context.swap(id, Ordering::Relaxed) == id {
            return false;
        }
        let before = self
            .contexts
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |it| it.checked_add(1));
        before.is_ok_and(|before| before + 1 >= CONTEXTS) && self.note(Evidence::Writes)
    }
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
            assert!(!it.wrote([1; 8]));
        }
        assert_eq!(it.evidence(), None);
        assert!(!it.wrote([2; 8]));
        assert!(it.wrote([3; 8]), "told once");
        assert!(!it.wrote([4; 8]), "told once");
        assert_eq!(it.evidence(), Some(Evidence::Writes));
        assert!(!it.note(Evidence::Exports));
    }
}
