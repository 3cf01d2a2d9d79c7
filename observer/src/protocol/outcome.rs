//! Whether an exchange went well, and `error.type` where it did not.

use crate::{
    process::Text,
    protocol::exchange::{Common, Incomplete},
};

/// `error.type`: why an exchange counts as failed. Low cardinality by construction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorType {
    /// A code of the protocol's, written in decimal.
    Code(u16),
    /// A name of the protocol's or the conventions'.
    Named(&'static str),
}

impl ErrorType {
    /// The connection ended before the response did.
    pub const CONNECTION_CLOSED: Self = Self::Named("connection_closed");
    /// The connection was reset before the response ended.
    pub const CONNECTION_RESET: Self = Self::Named("connection_reset");
    /// No answer came for as long as the client waited.
    pub const TIMEOUT: Self = Self::Named("timeout");

    /// The attribute's value.
    pub fn value(self) -> Text {
        match self {
            Self::Code(code) => code.to_string().into(),
            Self::Named(name) => name.into(),
        }
    }

    /// A number that tells errors apart, for the key of a series.
    pub fn number(self) -> u64 {
        match self {
            Self::Code(code) => u64::from(code),
            // No two names have address and length in common.
            Self::Named(name) => 1 << 63 | (name.len() as u64) << 48 ^ name.as_ptr().addr() as u64,
        }
    }
}

/// How an exchange went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// `error.type`.
    pub error: Option<ErrorType>,
    /// Whether the operation failed: not every `error.type` is a failure.
    pub failed: bool,
}

impl Outcome {
    /// Nothing is known to have gone wrong.
    pub const FINE: Self = Self {
        error: None,
        failed: false,
    };

    /// It failed.
    pub const fn failure(error: ErrorType) -> Self {
        Self {
            error: Some(error),
            failed: true,
        }
    }

    /// What the connection's end says, where the protocol says nothing.
    pub fn of_connection(common: &Common) -> Self {
        match common.incomplete {
            Some(Incomplete::Closed) => Self::failure(ErrorType::CONNECTION_CLOSED),
            Some(Incomplete::Reset) => {
                let alert = common.session.as_ref().and_then(|session| session.alert);
                Self::failure(alert.map_or(ErrorType::CONNECTION_RESET, ErrorType::Named))
            }
            Some(Incomplete::Unanswered) => Self::failure(ErrorType::TIMEOUT),
            _ => Self::FINE,
        }
    }
}
