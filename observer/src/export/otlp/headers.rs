//! `OTEL_EXPORTER_OTLP_HEADERS`: W3C baggage's list of pairs, without metadata.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::variables::{ConfigError, Found};
use crate::percent;

const ACCEPTED: &str =
    "name=value pairs separated by commas, values percent-encoded, e.g. api-key=abc,tenant=a%20b";

/// Reads `name=value,name=value`; values are percent-decoded and marked sensitive. The error never repeats a value.
pub(super) fn parse(found: &Found) -> Result<HeaderMap, ConfigError> {
    let mut headers = HeaderMap::new();
    for (index, item) in found.value.split(',').enumerate() {
        let item = item.trim();
        if item.is_empty() {
            continue;
        }
        let position = index + 1;
        let (name, value) = item
            .split_once('=')
            .ok_or_else(|| found.secret_error(format!("item {position} has no '='"), ACCEPTED))?;
        percent::decode(value.trim())
            .map_err(|error| error.to_string())
            .and_then(|value| insert(&mut headers, name.trim(), &value))
            .map_err(|problem| {
                found.secret_error(format!("item {position}: {problem}"), ACCEPTED)
            })?;
    }
    Ok(headers)
}

/// Headers of an explicit setting; values are taken as they are.
pub(super) fn from_pairs(pairs: &[(String, String)]) -> Result<HeaderMap, ConfigError> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        insert(&mut headers, name, value.as_bytes()).map_err(|problem| ConfigError {
            setting: "otlp headers".to_owned(),
            value: None,
            problem,
            accepted: "header names and values",
        })?;
    }
    Ok(headers)
}

fn insert(headers: &mut HeaderMap, name: &str, value: &[u8]) -> Result<(), String> {
    let name = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| format!("{name:?} is not a header name"))?;
    if name.as_str().ends_with("-bin") {
        return Err(format!("{name}: binary gRPC metadata can't be given here"));
    }
    let mut value =
        HeaderValue::from_bytes(value).map_err(|_| format!("the value of {name} can't be sent"))?;
    value.set_sensitive(true);
    headers.insert(name, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(value: &str) -> Found {
        Found {
            setting: "OTEL_EXPORTER_OTLP_HEADERS".into(),
            value: value.into(),
            signal_specific: false,
        }
    }

    #[test]
    fn pairs_are_split_trimmed_and_decoded() {
        let headers = parse(&found(
            "api-key = abc%2C%20d , Authorization=Basic%20dTpw==,,x=50%25",
        ))
        .unwrap();
        assert_eq!(headers["api-key"], "abc, d");
        assert_eq!(headers["authorization"], "Basic dTpw==");
        assert_eq!(headers["x"], "50%");
        assert_eq!(headers.len(), 3);
        assert!(
            !format!("{headers:?}").contains("dTpw"),
            "secrets stay out of debug output"
        );
    }

    #[test]
    fn errors_name_the_place_and_never_the_value() {
        for bad in [
            "a=1,secretvalue",
            "a=1,b c=secretvalue",
            "a=1,b=secretvalue%0Ax",
            "a=1,b=secretvalue%",
            "a=1,b=secretvalue%4g",
            "a=1,b-bin=secretvalue",
        ] {
            let message = parse(&found(bad)).unwrap_err().to_string();
            assert!(
                message.starts_with("OTEL_EXPORTER_OTLP_HEADERS: item 2"),
                "{message}"
            );
            assert!(!message.contains("secretvalue"), "{message}");
        }
    }
}
