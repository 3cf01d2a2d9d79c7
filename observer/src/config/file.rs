//! The YAML file: what may be written where, and errors that name file and line.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{
    Breakpoints, ByteSize, ConnectionLimit, Dns, Endpoint, Glob, InferredLinks, InjectHeaders,
    Instrumented, Listen, LogFormat, LogLevel, MetadataKey, Network, NodeName, OtlpProtocol,
    PeerServices, Pid, PodGlob, PortRange, Print, RingSize, RoutePattern, RunFor, SeriesLimit,
    ServiceLabels, SpanRate, Tier, Tls, Watch,
};
use crate::kubernetes::LabelSelector;

/// The largest file that is read, bytes.
const MAX_BYTES: u64 = 1 << 20;

/// What the file says; `None` and empty where it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    pub(super) select: Option<SelectSection>,
    pub(super) tier: Option<Tier>,
    pub(super) duration: Option<RunFor>,
    pub(super) print: Option<Print>,
    pub(super) prometheus: Option<Listen>,
    pub(super) otlp: Option<OtlpSection>,
    pub(super) spans: Option<SpansSection>,
    pub(super) metrics: Option<MetricsSection>,
    pub(super) dns: Option<Dns>,
    pub(super) tls: Option<Tls>,
    pub(super) inject_headers: Option<InjectHeaders>,
    pub(super) tcp_option: Option<TcpOptionSection>,
    pub(super) kubernetes: Option<KubernetesSection>,
    pub(super) resource: Option<BTreeMap<String, String>>,
    pub(super) limits: Option<LimitsSection>,
    pub(super) log: Option<LogSection>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SelectSection {
    pub(super) pids: Option<Vec<Pid>>,
    pub(super) exe: Option<Vec<Glob>>,
    pub(super) exclude_exe: Option<Vec<Glob>>,
    pub(super) ports: Option<Vec<PortRange>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct KubernetesSection {
    pub(super) watch: Option<Watch>,
    pub(super) node: Option<NodeName>,
    pub(super) select: Option<PodsSection>,
    pub(super) attributes: Option<PodAttributesSection>,
    pub(super) service_labels: Option<ServiceLabels>,
    pub(super) services: Option<PeerServices>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PodsSection {
    pub(super) namespaces: Option<Vec<PodGlob>>,
    pub(super) exclude_namespaces: Option<Vec<PodGlob>>,
    pub(super) labels: Option<Vec<LabelSelector>>,
    pub(super) images: Option<Vec<PodGlob>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PodAttributesSection {
    pub(super) labels: Option<Vec<MetadataKey>>,
    pub(super) annotations: Option<Vec<MetadataKey>>,
    pub(super) namespace_labels: Option<Vec<MetadataKey>>,
    pub(super) namespace_annotations: Option<Vec<MetadataKey>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct OtlpSection {
    pub(super) endpoint: Option<Endpoint>,
    pub(super) protocol: Option<OtlpProtocol>,
    pub(super) headers: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SpansSection {
    pub(super) rate: Option<SpanRate>,
    pub(super) instrumented: Option<Instrumented>,
    pub(super) breakpoints: Option<Breakpoints>,
    pub(super) inferred_links: Option<InferredLinks>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct MetricsSection {
    pub(super) routes: Option<Vec<RoutePattern>>,
    pub(super) max_series: Option<SeriesLimit>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TcpOptionSection {
    pub(super) peers: Option<Vec<Network>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LimitsSection {
    pub(super) ring_bytes: Option<RingSize>,
    pub(super) max_connections: Option<ConnectionLimit>,
    pub(super) queue_bytes: Option<ByteSize>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LogSection {
    pub(super) level: Option<LogLevel>,
    pub(super) format: Option<LogFormat>,
}

/// Why a file was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It could not be read.
    #[error("cannot read the configuration file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It says something that is not accepted.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Rejected {
        /// The file.
        path: PathBuf,
        /// Line, from 1; 0 when not known.
        line: u64,
        /// Column, from 1; 0 when not known.
        column: u64,
        /// What is wrong and what is accepted.
        message: String,
    },
}

impl File {
    /// Reads and checks a file of at most 1 MiB.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let size = fs::metadata(path).map_err(unreadable)?.len();
        if size > MAX_BYTES {
            return Err(unreadable(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("{size} bytes, at most {MAX_BYTES} are read"),
            )));
        }
        Self::parse(path, &fs::read_to_string(path).map_err(unreadable)?)
    }

    /// Checks a file's text; `path` is for messages.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let file: Self = serde_saphyr::from_str(text).map_err(|error| rejected(path, &error))?;
        file.check().map_err(|message| ConfigError::Rejected {
            path: path.to_owned(),
            line: line_of(text, &message.0),
            column: 1,
            message: message.1,
        })?;
        Ok(file)
    }

    /// What a scalar's type cannot tell: headers and attributes must survive being spelled as a variable.
    fn check(&self) -> Result<(), (String, String)> {
        for (name, value) in self.otlp.iter().flat_map(|otlp| &otlp.headers).flatten() {
            let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
            if name.is_empty()
                || !name.chars().all(token)
                || !value.chars().all(|c| (' '..='~').contains(&c))
            {
                let escaped = name.escape_debug();
                return Err((
                    name.clone(),
                    format!(
                        "`{escaped}` is not a header: write a header's name and printable ASCII, e.g. api-key: secret"
                    ),
                ));
            }
        }
        for name in self.resource.iter().flat_map(BTreeMap::keys) {
            if name.is_empty()
                || !name.chars().all(|c| c.is_ascii_graphic())
                || ["service.name", "service.instance.id"].contains(&name.as_str())
            {
                let escaped = name.escape_debug();
                return Err((
                    name.clone(),
                    format!(
                        "`{escaped}` cannot be set for every service: write an attribute's name, e.g. deployment.environment.name (service.name and service.instance.id are each service's own)"
                    ),
                ));
            }
        }
        Ok(())
    }
}

/// The line where a key is written, from 1; 0 when it is not found as it was read (quoted with escapes).
fn line_of(text: &str, key: &str) -> u64 {
    let is_key = |line: &str| {
        let line = line.trim_start().trim_start_matches(['"', '\'']);
        line.strip_prefix(key).is_some_and(|rest| {
            rest.trim_start_matches(['"', '\''])
                .trim_start()
                .starts_with(':')
        })
    };
    text.lines()
        .zip(1..)
        .find(|(line, _)| is_key(line))
        .map_or(0, |(_, number)| number)
}

fn rejected(path: &Path, error: &serde_saphyr::Error) -> ConfigError {
    let error = error.without_snippet();
    let (line, column) = error
        .location()
        .map_or((0, 0), |at| (at.line(), at.column()));
    let mut message = error.to_string();
    if let Some(at) = message.rfind(" at line ") {
        message.truncate(at);
    }
    let message = match message.as_str() {
        "expected sequence start" => {
            "expected a list: write [a, b], or one `- value` a line".to_owned()
        }
        "expected mapping start" => {
            "expected a section: write its keys below it, indented, as `key: value`".to_owned()
        }
        "expected string scalar" => "expected a single value: write `key: value`".to_owned(),
        other => match other.strip_suffix(", set DuplicateKeyPolicy in Options if acceptable") {
            Some(duplicate) => format!("{duplicate}: write each key once"),
            None => other.to_owned(),
        },
    };
    ConfigError::Rejected {
        path: path.to_owned(),
        line,
        column,
        message,
    }
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
