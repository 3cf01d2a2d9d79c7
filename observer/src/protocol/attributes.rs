//! Attributes in the making, of a span or a series.

use crate::{
    process::{Text, Value},
    protocol::exchange::Common,
};

/// Keys and values, in the order in which they were added.
#[derive(Debug, Default)]
pub struct Attributes(Vec<(&'static str, Value)>);

impl Attributes {
    /// None yet, with room for `most`.
    pub fn with_capacity(most: usize) -> Self {
        Self(Vec::with_capacity(most))
    }

    /// Adds a text.
    pub fn text(&mut self, key: &'static str, value: impl Into<Text>) {
        self.0.push((key, Value::Text(value.into())));
    }

    /// Adds a text where there is one.
    pub fn some_text(&mut self, key: &'static str, value: Option<impl Into<Text>>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    /// Adds a number where there is one that fits.
    pub fn int<T: TryInto<i64>>(&mut self, key: &'static str, value: Option<T>) {
        if let Some(value) = value.and_then(|v| v.try_into().ok()) {
            self.0.push((key, Value::Int(value)));
        }
    }

    /// Adds a difference of two monotonic times (ns) in seconds, where both are known and in order.
    pub fn seconds(&mut self, key: &'static str, from: Option<u64>, to: Option<u64>) {
        if let Some(ns) = from.zip(to).and_then(|(from, to)| to.checked_sub(from)) {
            self.0.push((key, Value::Double(ns as f64 / 1e9)));
        }
    }

    /// Adds how an exchange was seen: what every span tells.
    pub fn observed(&mut self, common: &Common) {
        self.text(
            "observer.parent.method",
            common.context.parent_method.as_str(),
        );
        self.some_text(
            "observer.incomplete",
            common.incomplete.map(|incomplete| incomplete.as_str()),
        );
    }

    /// What was added.
    pub fn into_vec(self) -> Vec<(&'static str, Value)> {
        self.0
    }

    /// What was added, sorted by key.
    pub fn into_sorted(mut self) -> Vec<(&'static str, Value)> {
        self.0.sort_by_key(|(key, _)| *key);
        self.0
    }
}

/// The value of a text attribute.
pub(crate) fn text<'a>(attributes: &'a [(&'static str, Value)], key: &str) -> Option<&'a str> {
    match find(attributes, key)? {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

/// The value of an integer attribute.
pub(crate) fn int(attributes: &[(&'static str, Value)], key: &str) -> Option<i64> {
    match find(attributes, key)? {
        Value::Int(number) => Some(*number),
        _ => None,
    }
}

/// Whether they are those of what found no room in a series of its own.
pub(crate) fn is_overflow(attributes: &[(&'static str, Value)]) -> bool {
    find(attributes, "otel.metric.overflow").is_some()
}

fn find<'a>(attributes: &'a [(&'static str, Value)], key: &str) -> Option<&'a Value> {
    let found = attributes.iter().find(|(name, _)| *name == key);
    found.map(|(_, value)| value)
}
