//! Routes that the user wrote down.

use std::sync::Arc;

/// A pattern that can't be used, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("route pattern `{pattern}`: {problem}; write it like `/users/{{id}}` or `/files/*`")]
pub struct PatternError {
    /// As it was written.
    pub pattern: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

/// A route in the making: `/users/{id}` or `/files/*`.
///
/// A segment in braces (or after a colon) stands for any one segment; a last segment `*` for one or more; all others
/// are compared as they are. Patterns are tried in their order, the first that matches wins.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    pub(super) route: Arc<str>,
    segments: Vec<Segment>,
    /// The last segment was `*`.
    open: bool,
}

#[derive(Clone, Debug)]
enum Segment {
    Literal(Box<str>),
    Any,
}

impl Pattern {
    pub(super) fn parse(pattern: &str) -> Result<Self, PatternError> {
        let fail = |problem| {
            Err(PatternError {
                pattern: pattern.to_owned(),
                problem,
            })
        };
        let Some(path) = pattern.strip_prefix('/') else {
            return fail("it does not begin with `/`");
        };
        if pattern.len() > 256 {
            return fail("it is longer than 256 bytes");
        }
        if path.contains(['?', '#']) {
            return fail("a query is never part of a route");
        }
        let mut segments = Vec::new();
        let mut open = false;
        for segment in path.split('/').filter(|segment| !segment.is_empty()) {
            if open {
                return fail("`*` stands for the rest of the path, nothing can follow it");
            }
            let inner = segment
                .strip_prefix('{')
                .and_then(|rest| rest.strip_suffix('}'));
            match (segment, inner) {
                ("*", _) => open = true,
                (_, Some(name)) if !name.is_empty() && !name.contains(['{', '}']) => {
                    segments.push(Segment::Any)
                }
                _ if segment.starts_with(':') && segment.len() > 1 => segments.push(Segment::Any),
                _ if segment.contains(['{', '}']) => {
                    return fail("braces must enclose a whole segment and a name");
                }
                _ if segment.contains('*') => return fail("`*` must be a segment of its own"),
                _ => segments.push(Segment::Literal(segment.into())),
            }
        }
        Ok(Self {
            route: pattern.into(),
            segments,
            open,
        })
    }

    pub(super) fn matches(&self, path: &str) -> bool {
        let mut found = super::segments(path);
        let all = self
            .segments
            .iter()
            .all(|segment| match (segment, found.next()) {
                (_, None) => false,
                (Segment::Any, Some(_)) => true,
                (Segment::Literal(literal), Some(found)) => **literal == *found,
            });
        all && found.next().is_some() == self.open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_paths() {
        for (pattern, path, expected) in [
            ("/users/{id}", "/users/42", true),
            ("/users/{id}", "/users/42/", true),
            ("/users/{id}", "/users", false),
            ("/users/{id}", "/users/42/orders", false),
            ("/users/:id/orders", "/users/x/orders", true),
            ("/files/*", "/files/a/b/c", true),
            ("/files/*", "/files", false),
            ("/*", "/anything", true),
            ("/*", "/", false),
            ("/", "/", true),
            ("/", "/a", false),
            ("/Users", "/users", false),
        ] {
            assert_eq!(
                Pattern::parse(pattern).unwrap().matches(path),
                expected,
                "{pattern} {path}"
            );
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_its_reason() {
        for (pattern, problem) in [
            ("users", "does not begin"),
            ("", "does not begin"),
            ("/a?b", "query"),
            ("/a/*/b", "rest of the path"),
            ("/a/b*", "segment of its own"),
            ("/a/{id", "whole segment"),
            ("/a/x{id}", "whole segment"),
            ("/a/{}", "whole segment"),
            ("/a/{b{c}}", "whole segment"),
        ] {
            let error = Pattern::parse(pattern).unwrap_err().to_string();
            assert!(
                error.contains(problem) && error.contains("/users/{id}"),
                "{pattern}: {error}"
            );
        }
    }
}
