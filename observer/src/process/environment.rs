//! A process's environment, and the resource attributes that it was given there.
//!
//! Source: OpenTelemetry's environment variable specification and resource SDK ("OTEL_RESOURCE_ATTRIBUTES":
//! `key=value` pairs, comma separated, values percent-encoded; an undecodable text is discarded whole).

use std::collections::HashMap;

use crate::percent;

/// Most attributes that are taken from one process.
const MOST_ATTRIBUTES: usize = 64;
/// Longest key or value, bytes.
const LONGEST: usize = 1024;

/// The variables that observer reads of a process's environment; all others are forgotten at once.
#[derive(Clone, Debug, Default)]
pub(super) struct Environment {
    variables: HashMap<String, String>,
}

/// Everything else in an environment may be a secret and is never kept.
const READ: [&str; 27] = [
    // Where agents are loaded from.
    "CORECLR_PROFILER",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "LD_PRELOAD",
    "NODE_OPTIONS",
    "OTEL_SDK_DISABLED",
    "OTEL_TRACES_EXPORTER",
    "PYTHONPATH",
    "RUBYOPT",
    "_JAVA_OPTIONS",
    // What a program is.
    "DJANGO_SETTINGS_MODULE",
    "FLASK_APP",
    "GOLANG_VERSION",
    "JAVA_VERSION",
    "NODE_VERSION",
    "NOMAD_TASK_NAME",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_SERVICE_NAME",
    "PHP_VERSION",
    "PYTHON_VERSION",
    "RELEASE_NAME",
    "RUBY_VERSION",
    "name",
    "pm_exec_path",
    "CONTAINER_NAME",
    "K_SERVICE",
    "npm_package_name",
];

impl Environment {
    /// Reads the text of `/proc/PID/environ`: `NAME=value`, NUL-terminated. The first of equal names wins, as in
    /// getenv(3).
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let mut variables = HashMap::new();
        for entry in bytes.split(|byte| *byte == 0) {
            let Some(equals) = entry.iter().position(|byte| *byte == b'=') else {
                continue;
            };
            let (Ok(name), Ok(value)) = (
                std::str::from_utf8(&entry[..equals]),
                std::str::from_utf8(&entry[equals + 1..]),
            ) else {
                continue;
            };
            if READ.contains(&name) && !value.is_empty() {
                variables
                    .entry(name.to_owned())
                    .or_insert_with(|| value.to_owned());
            }
        }
        Self { variables }
    }

    /// A variable's value; `None` when unset, empty, or none of those that are read.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// OTEL_RESOURCE_ATTRIBUTES, decoded, in order, `service.name` included; empty when it can't be decoded.
    pub(super) fn resource_attributes(&self) -> Vec<(String, String)> {
        self.get("OTEL_RESOURCE_ATTRIBUTES")
            .and_then(parse_attributes)
            .unwrap_or_default()
    }
}

/// `key=value,key=value` with percent-encoded values; `None` when a pair is malformed.
pub fn parse_attributes(text: &str) -> Option<Vec<(String, String)>> {
    let pairs = text
        .split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
        .take(MOST_ATTRIBUTES);
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=')?;
            let key = decode(key.trim())?;
            let value = decode(value.trim())?;
            (!key.is_empty() && key.len() <= LONGEST && value.len() <= LONGEST)
                .then_some((key, value))
        })
        .collect()
}

fn decode(text: &str) -> Option<String> {
    let bytes = percent::decode(text).ok()?;
    String::from_utf8(bytes.into_owned())
        .ok()
        .filter(|text| !text.contains(char::is_control))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(text: &str) -> Vec<(String, String)> {
        Environment::parse(format!("PATH=/bin\0OTEL_RESOURCE_ATTRIBUTES={text}\0").as_bytes())
            .resource_attributes()
    }

    #[test]
    fn attributes_are_split_trimmed_and_decoded() {
        let found = attributes("service.name=my%20shop, team = a%2Cb%3D%C3%A9 ,,empty=");
        let expected = [
            ("service.name", "my shop"),
            ("team", "a,b=é"),
            ("empty", ""),
        ];
        assert_eq!(
            found,
            expected.map(|(key, value)| (key.to_owned(), value.to_owned()))
        );
    }

    #[test]
    fn a_text_with_one_broken_pair_is_discarded_whole() {
        for text in [
            "a=1,b", "a=%", "a=%4", "a=%zz", "a=%+1", "=1", "a=%ff", "a=%00",
        ] {
            assert_eq!(attributes(text), [], "{text}");
        }
    }

    #[test]
    fn only_the_variables_that_are_read_are_kept() {
        let environment = Environment::parse(
            b"AWS_SECRET=x\0OTEL_SERVICE_NAME=a\0OTEL_SERVICE_NAME=b\0\xff=\0=\0bare\0",
        );
        assert_eq!(environment.get("OTEL_SERVICE_NAME"), Some("a"));
        assert_eq!(environment.variables.len(), 1);
    }
}
