//! Values of attributes.

use std::{
    fmt,
    hash::{Hash, Hasher},
    ops::Deref,
    sync::Arc,
};

/// A value of a resource, span or series attribute.
#[derive(Clone, Debug)]
pub enum Value {
    /// UTF-8 text.
    Text(Text),
    /// Integer.
    Int(i64),
    /// Floating point.
    Double(f64),
    /// Truth value.
    Bool(bool),
    /// Array of text.
    Texts(Arc<[Arc<str>]>),
}

/// Doubles are compared bit by bit, so that every value equals itself and may be part of a key.
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Double(a), Self::Double(b)) => a.to_bits() == b.to_bits(),
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Texts(a), Self::Texts(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Value {}

impl Hash for Value {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        match self {
            Self::Text(text) => text.hash(hasher),
            Self::Int(number) => number.hash(hasher),
            Self::Double(number) => number.to_bits().hash(hasher),
            Self::Bool(truth) => truth.hash(hasher),
            Self::Texts(texts) => texts.hash(hasher),
        }
    }
}

/// Text that costs nothing to copy, and nothing to make where it stands in the program.
#[derive(Clone)]
pub enum Text {
    /// It stands in the program.
    Static(&'static str),
    /// It was made, and is shared.
    Shared(Arc<str>),
}

impl Text {
    /// A copy of a text that does not live long enough.
    pub fn copied(text: &str) -> Self {
        Self::Shared(text.into())
    }

    /// As a shared one.
    pub fn to_shared(&self) -> Arc<str> {
        match self {
            Self::Static(text) => (*text).into(),
            Self::Shared(text) => Arc::clone(text),
        }
    }

    /// Bytes of memory that it takes besides itself.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Static(_) => 0,
            Self::Shared(text) => text.len(),
        }
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Static(text) => text,
            Self::Shared(text) => text,
        }
    }
}

impl From<&'static str> for Text {
    fn from(text: &'static str) -> Self {
        Self::Static(text)
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::Shared(text.into())
    }
}

impl From<Arc<str>> for Text {
    fn from(text: Arc<str>) -> Self {
        Self::Shared(text)
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Text {}

impl Hash for Text {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (**self).hash(hasher);
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_what_it_says_wherever_it_lies() {
        assert_eq!(Text::from("a"), Text::copied("a"));
        assert_eq!(
            (Text::from("a").heap_bytes(), Text::copied("a").heap_bytes()),
            (0, 1)
        );
        assert_eq!(Value::Double(f64::NAN), Value::Double(f64::NAN));
    }
}
