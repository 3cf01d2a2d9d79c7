//! OpenTelemetry names, units and values as Prometheus writes them.
//!
//! Source: the OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility".

use std::{collections::BTreeMap, fmt::Write as _};

use crate::process::Value;

/// A metric's name: the instrument's with `_` for what Prometheus does not allow, and its unit at the end. The
/// counter's `_total` is not part of it.
pub(super) fn metric(name: &str, unit: &str) -> String {
    let mut out = sanitized(name, ':');
    if let Some(unit) = suffix(unit)
        && !out.ends_with(&format!("_{unit}"))
    {
        out.push('_');
        out.push_str(&unit);
    }
    out
}

/// A unit as Prometheus spells it; `None` where it has none (`{request}`, `1`).
pub(super) fn suffix(unit: &str) -> Option<String> {
    let word = |unit: &str| {
        Some(match unit {
            "s" => "seconds".to_owned(),
            "ms" => "milliseconds".to_owned(),
            "us" => "microseconds".to_owned(),
            "ns" => "nanoseconds".to_owned(),
            "min" => "minutes".to_owned(),
            "h" => "hours".to_owned(),
            "d" => "days".to_owned(),
            "By" => "bytes".to_owned(),
            "KiBy" => "kibibytes".to_owned(),
            "MiBy" => "mebibytes".to_owned(),
            "Cel" => "celsius".to_owned(),
            "%" => "percent".to_owned(),
            "" | "1" => return None,
            annotation if annotation.starts_with('{') => return None,
            other => sanitized(other, '_'),
        })
    };
    match unit.split_once('/') {
        Some((of, per)) => {
            let per = sanitized(word(per)?.trim_end_matches('s'), '_');
            Some(word(of).map_or(format!("per_{per}"), |of| format!("{of}_per_{per}")))
        }
        None => word(unit),
    }
}

/// A label's name.
pub(super) fn label(key: &str) -> String {
    sanitized(key, '_')
}

/// Letters, digits, `_` and `extra`; all else is `_`, and several of them are one. Never begins with a digit.
fn sanitized(name: &str, extra: char) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        let allowed = c.is_ascii_alphanumeric() || c == extra;
        let c = if allowed { c } else { '_' };
        if c != '_' || !out.ends_with('_') {
            out.push(c);
        }
    }
    if out.is_empty() || out.starts_with(|c: char| c.is_ascii_digit()) {
        out.insert(0, '_');
    }
    out
}

/// A label's value: text as it is, all else as JSON.
pub(super) fn value(value: &Value) -> String {
    match value {
        Value::Text(text) => text.to_string(),
        Value::Int(int) => int.to_string(),
        Value::Double(double) => number(*double),
        Value::Bool(truth) => truth.to_string(),
        Value::Texts(texts) => {
            let texts: Vec<&str> = texts.iter().map(|text| &**text).collect();
            serde_json::Value::from(texts).to_string()
        }
    }
}

/// A sample's value.
pub(super) fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        value.to_string()
    }
}

/// Labels as they stand between the braces. Two keys that become one name are one label, their values joined with
/// `;`, as the specification has it: a page with a label twice is refused whole.
pub(super) fn labels<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut joined: BTreeMap<String, String> = BTreeMap::new();
    for (key, value) in pairs {
        joined
            .entry(label(key))
            .and_modify(|mine| {
                mine.push(';');
                mine.push_str(&value);
            })
            .or_insert(value);
    }
    let mut out = String::new();
    for (key, value) in joined {
        if !out.is_empty() {
            out.push(',');
        }
        // Writing to a String does not fail.
        let _ = write!(out, "{key}=\"{}\"", escaped(&value, true));
    }
    out
}

/// Escaped for a label's value, or for a help text, where quotes stay.
pub(super) fn escaped(text: &str, quotes: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_compatibility_table() {
        for (name, unit, expected) in [
            (
                "http.server.request.duration",
                "s",
                "http_server_request_duration_seconds",
            ),
            (
                "http.server.request.body.size",
                "By",
                "http_server_request_body_size_bytes",
            ),
            (
                "http.server.active_requests",
                "{request}",
                "http_server_active_requests",
            ),
            (
                "(lambda).function.executions(#)",
                "",
                "_lambda_function_executions_",
            ),
            ("foo.seconds", "s", "foo_seconds"),
            ("disk.io", "By/s", "disk_io_bytes_per_second"),
            ("1xx", "{x}/min", "_1xx_per_minute"),
            ("a:b", "1", "a:b"),
        ] {
            assert_eq!(metric(name, unit), expected);
        }
    }

    #[test]
    fn labels_are_escaped_and_never_twice() {
        let pairs = [("a.b", "1"), ("a_b", "2"), ("x", "q\"\\\nz"), ("9", "ü")];
        let text = labels(pairs.map(|(key, value)| (key, value.to_owned())));
        assert_eq!(text, r#"_9="ü",a_b="1;2",x="q\"\\\nz""#);
    }

    #[test]
    fn values_are_text_or_json() {
        let texts = Value::Texts(["a\"".into(), "b".into()].into());
        assert_eq!(value(&texts), r#"["a\"","b"]"#);
        assert_eq!(
            (value(&Value::Bool(true)), value(&Value::Int(-1))),
            ("true".into(), "-1".into())
        );
        assert_eq!(
            (number(f64::INFINITY), number(f64::NAN), number(0.25)),
            ("+Inf".into(), "NaN".into(), "0.25".into())
        );
    }
}
