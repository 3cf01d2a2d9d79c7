//! What a person may decide.
//!
//! In: the YAML file, the environment, the command line's flags.
//! Out: [`Settings`], complete and checked; everything the daemon needs to know.
//! Owns: defaults, accepted forms, ranges, and the messages about what is not accepted.
//!
//! Later wins: defaults, then the file, then the environment (`OTEL_*`, read by [`export`](crate::export)), then
//! flags. A list from a flag replaces the file's list. Every scalar is parsed by its type's `FromStr`, from the file
//! and from a flag alike, so both accept the same forms and complain in the same words.

mod address;
mod choices;
mod file;
mod kubernetes;
mod merge;
mod network;
mod selection;
mod settings;
mod size;
mod text;
mod value;

pub use address::{Endpoint, Listen};
pub use choices::{
    Breakpoints, Dns, InferredLinks, InjectHeaders, Instrumented, LogFormat, LogLevel,
    OtlpProtocol, Print, Tier, Tls,
};
pub use file::{ConfigError, File};
pub use kubernetes::{
    Kubernetes, MetadataKey, NodeName, PeerServices, PodGlob, PodSelection, ServiceLabels, Watch,
};
pub use network::Network;
pub use selection::{Glob, Pid, PortRange, RoutePattern, Selection};
pub use settings::{Limits, Log, Metrics, Otlp, OtlpVariables, Settings, Spans, TcpOption};
pub use size::{ByteSize, ConnectionLimit, RingSize, SeriesLimit};
pub use value::{RunFor, SpanRate};

/// A value that is not accepted: what was written and what may be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not {what}{}: write {accepted}", .problem.as_ref().map(|problem| format!(" ({problem})")).unwrap_or_default())]
pub struct Rejected {
    /// What was written, escaped.
    pub given: String,
    /// What it should have been, with an article, e.g. `a duration`.
    pub what: &'static str,
    /// What is wrong with it, where that can be said.
    pub problem: Option<String>,
    /// The accepted form, with an example.
    pub accepted: &'static str,
}

impl Rejected {
    fn new(given: &str, what: &'static str, accepted: &'static str) -> Self {
        let given = given
            .chars()
            .take(80)
            .flat_map(char::escape_debug)
            .collect();
        Self {
            given,
            what,
            problem: None,
            accepted,
        }
    }

    fn because(self, problem: String) -> Self {
        Self {
            problem: Some(problem),
            ..self
        }
    }
}
