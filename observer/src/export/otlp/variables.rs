//! Reading one setting: an explicit value, else the signal's variable, else the general one.

use std::time::Duration;

use super::signal::Signal;

/// A setting that can't be used.
///
/// The OpenTelemetry specification lets an SDK ignore unreadable values with a warning. A tracer that then sends
/// somewhere else than asked helps nobody, so observer stops at start and says which setting it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting}{}: {problem}; accepted: {accepted}", .value.as_ref().map(|v| format!("={v:?}")).unwrap_or_default())]
pub struct ConfigError {
    /// Environment variable or name of the explicit setting.
    pub setting: String,
    /// Its value; `None` where it may be secret.
    pub value: Option<String>,
    /// What is wrong.
    pub problem: String,
    /// What would be right.
    pub accepted: &'static str,
}

/// A raw value and where it is from, for messages.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) setting: String,
    pub(super) value: String,
    /// From a per-signal setting, whose endpoint is used as it is.
    pub(super) signal_specific: bool,
}

impl Found {
    pub(super) fn error(&self, problem: impl Into<String>, accepted: &'static str) -> ConfigError {
        ConfigError {
            setting: self.setting.clone(),
            value: Some(self.value.clone()),
            problem: problem.into(),
            accepted,
        }
    }

    /// As [`Found::error`], for values that may hold credentials.
    pub(super) fn secret_error(
        &self,
        problem: impl Into<String>,
        accepted: &'static str,
    ) -> ConfigError {
        ConfigError {
            setting: self.setting.clone(),
            value: None,
            problem: problem.into(),
            accepted,
        }
    }

    /// Milliseconds.
    pub(super) fn milliseconds(&self) -> Result<Duration, ConfigError> {
        self.number().map(Duration::from_millis)
    }

    /// A non-negative integer.
    pub(super) fn number(&self) -> Result<u64, ConfigError> {
        self.value
            .parse()
            .map_err(|_| self.error("not a number", "a non-negative integer"))
    }

    /// True only for `true` in any case; anything but `false` is warned about (environment variable specification).
    pub(super) fn boolean(&self) -> bool {
        if self.value.eq_ignore_ascii_case("true") {
            return true;
        }
        if !self.value.eq_ignore_ascii_case("false") {
            tracing::warn!(setting = %self.setting, value = %self.value, "neither true nor false: taken as false");
        }
        false
    }
}

/// The environment, as a function so that tests and callers can give their own.
pub(super) struct Environment<'a> {
    read: &'a dyn Fn(&str) -> Option<String>,
}

impl<'a> Environment<'a> {
    pub(super) fn new(read: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { read }
    }

    /// A variable; empty is unset (environment variable specification).
    pub(super) fn get(&self, name: &str) -> Option<Found> {
        let value = (self.read)(name)?;
        let value = value.trim();
        (!value.is_empty()).then(|| Found {
            setting: name.to_owned(),
            value: value.to_owned(),
            signal_specific: false,
        })
    }

    /// `OTEL_EXPORTER_OTLP_{SIGNAL}_{name}`, else `OTEL_EXPORTER_OTLP_{name}`.
    pub(super) fn otlp(&self, signal: Signal, name: &str) -> Option<Found> {
        self.get(&format!(
            "OTEL_EXPORTER_OTLP_{}_{name}",
            signal.variable_part()
        ))
        .map(|found| Found {
            signal_specific: true,
            ..found
        })
        .or_else(|| self.get(&format!("OTEL_EXPORTER_OTLP_{name}")))
    }
}
