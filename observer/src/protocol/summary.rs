//! An exchange in a line: what `--print`, the demo and pages show of it.

use std::borrow::Cow;

/// What a person is shown of an exchange; what was not seen is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary<'a> {
    /// What was done: `GET`, the type of a lookup, a command.
    pub verb: Option<&'a str>,
    /// To what it was done.
    pub target: Option<&'a str>,
    /// Whether a call's name leaves the target out, so that a tree of spans shows it behind the name.
    pub is_named_without_target: bool,
    /// How it went.
    pub status: Option<Status<'a>>,
    /// Bytes of the response.
    pub bytes: Option<u64>,
}

/// A status in some three characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status<'a> {
    /// The protocol's code, or `ok`.
    pub shown: Cow<'a, str>,
    /// Whether the protocol calls it a success.
    pub is_fine: bool,
}

/// The line of a table that a series belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What was done.
    pub verb: String,
    /// Where, or to what.
    pub place: String,
}

impl Row {
    /// The line of what found no room in a series of its own.
    pub fn others() -> Self {
        Self {
            verb: "-".into(),
            place: "(all others)".into(),
        }
    }
}
