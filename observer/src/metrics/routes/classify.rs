//! Which path segments are parameters by their looks.

/// The parameter that a segment looks like, e.g. `{id}`; `None` for what looks like a name.
///
/// | looks like | becomes |
/// |---|---|
/// | digits (with a sign, with dots), `order-4711` | `{id}` |
/// | `8-4-4-4-12` hex digits | `{uuid}` |
/// | 26 characters of Crockford's base 32, a digit first | `{ulid}` |
/// | `2026-11-21`, also with a time after it | `{date}` |
/// | 8 or more hex digits, at least one of them a decimal one | `{hex}` |
/// | an `@` with a dot somewhere after it | `{email}` |
/// | 16 or more of letters of both cases and digits, 40 or more without a space or 64 of anything | `{token}` |
///
/// What comes before a file's extension is looked at alone: `17.png` is `{id}.png`; see [`template`].
pub(super) fn classify(segment: &str) -> Option<&'static str> {
    let bytes = segment.as_bytes();
    if bytes.is_empty() {
        return None;
    }
    if is_number(bytes) || is_numbered(segment) {
        Some("{id}")
    } else if is_uuid(bytes) {
        Some("{uuid}")
    } else if is_date(bytes) {
        Some("{date}")
    } else if bytes.len() >= 8
        && bytes.iter().all(u8::is_ascii_hexdigit)
        && bytes.iter().any(u8::is_ascii_digit)
    {
        Some("{hex}")
    } else if is_ulid(bytes) {
        Some("{ulid}")
    } else if is_email(segment) {
        Some("{email}")
    } else if is_token(bytes) {
        Some("{token}")
    } else {
        None
    }
}

/// Whether a name in the tree is one of [`classify`]'s.
pub(super) fn is_parameter(name: &str) -> bool {
    matches!(
        name,
        "{id}" | "{uuid}" | "{ulid}" | "{date}" | "{hex}" | "{email}" | "{token}"
    )
}

/// A segment's template where it holds a parameter: `{id}`, or `{id}.png` for `17.png`.
pub(super) fn template(segment: &str) -> Option<std::borrow::Cow<'static, str>> {
    if let Some(parameter) = classify(segment) {
        return Some(parameter.into());
    }
    let (stem, extension) = segment.rsplit_once('.')?;
    let is_extension = (1..=5).contains(&extension.len())
        && extension
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        && extension.bytes().any(|b| b.is_ascii_lowercase());
    let parameter = classify(stem).filter(|_| is_extension)?;
    Some(format!("{parameter}.{extension}").into())
}

/// `42`, `-1`, `1.5`, `10.0.0.1`.
fn is_number(bytes: &[u8]) -> bool {
    let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
    digits.first().is_some_and(u8::is_ascii_digit)
        && digits.iter().all(|b| b.is_ascii_digit() || *b == b'.')
}

/// A word, a separator, a number: `order-4711`, `user_1`, `id:5`.
fn is_numbered(segment: &str) -> bool {
    segment
        .rsplit_once(['-', '_', ':'])
        .is_some_and(|(word, number)| {
            !word.is_empty()
                && word.bytes().all(|b| b.is_ascii_alphabetic())
                && !number.is_empty()
                && number.bytes().all(|b| b.is_ascii_digit())
        })
}

fn is_uuid(bytes: &[u8]) -> bool {
    let dash = |at: usize| matches!(at, 8 | 13 | 18 | 23);
    bytes.len() == 36
        && bytes.iter().enumerate().all(|(at, b)| {
            if dash(at) {
                *b == b'-'
            } else {
                b.is_ascii_hexdigit()
            }
        })
}

fn is_date(bytes: &[u8]) -> bool {
    let Some((date, rest)) = bytes.split_at_checked(10) else {
        return false;
    };
    let shape = |(at, b): (usize, &u8)| {
        if at == 4 || at == 7 {
            *b == b'-'
        } else {
            b.is_ascii_digit()
        }
    };
    date.iter().enumerate().all(shape)
        && matches!(rest.first(), None | Some(b'T' | b't' | b'_' | b' ' | b'%'))
}

/// ULIDs begin with a digit up to 7 (128 bits in 26 characters).
fn is_ulid(bytes: &[u8]) -> bool {
    let crockford = |b: &u8| {
        b.is_ascii_alphanumeric() && !matches!(b.to_ascii_uppercase(), b'I' | b'L' | b'O' | b'U')
    };
    bytes.len() == 26 && matches!(bytes[0], b'0'..=b'7') && bytes.iter().all(crockford)
}

fn is_email(segment: &str) -> bool {
    let at = segment
        .split_once('@')
        .or_else(|| segment.split_once("%40"));
    at.is_some_and(|(user, host)| !user.is_empty() && host.contains('.'))
}

fn is_token(bytes: &[u8]) -> bool {
    let any = |is: fn(&u8) -> bool| bytes.iter().any(is);
    let mixed =
        any(u8::is_ascii_uppercase) && any(u8::is_ascii_lowercase) && any(u8::is_ascii_digit);
    match bytes.len() {
        0..16 => false,
        16..40 => mixed,
        // Long slugs (`how-to-…`) are names, though seldom good ones: the tree's bounds see to them.
        40..64 => any(u8::is_ascii_digit) && !bytes.contains(&b'-') || mixed,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_known_by_their_looks() {
        let table = [
            ("42", "{id}"),
            ("-7", "{id}"),
            ("1.25", "{id}"),
            ("192.168.0.1", "{id}"),
            ("order-4711", "{id}"),
            ("user_1", "{id}"),
            ("123e4567-e89b-12d3-a456-426614174000", "{uuid}"),
            ("123E4567-E89B-12D3-A456-426614174000", "{uuid}"),
            ("01ARZ3NDEKTSV4RRFFQ69G5FAV", "{ulid}"),
            ("2026-11-21", "{date}"),
            ("2026-11-21T10:00:00Z", "{date}"),
            ("deadbeef1", "{hex}"),
            ("3f9a8b7c", "{hex}"),
            (
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                "{hex}",
            ),
            ("a.b@example.com", "{email}"),
            ("a%40example.com", "{email}"),
            ("dGhpcyBpcyBhIHRva2Vu1", "{token}"),
            ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc", "{token}"),
            ("17.png", "{id}.png"),
            ("3f9a8b7c.js", "{hex}.js"),
            ("12345678901234567890123456789012345678901", "{id}"),
        ];
        for (segment, expected) in table {
            assert_eq!(template(segment).as_deref(), Some(expected), "{segment}");
        }
    }

    #[test]
    fn names_stay_names() {
        for segment in [
            "",
            "users",
            "v1",
            "v2.1",
            "api",
            "oauth2",
            "index.html",
            "main.js",
            "deadbeef",
            "facade",
            "how-to-trace-services",
            "getUserByIdAndName",
            "@me",
            "user@",
            "-",
            "--",
            "a-b",
            ".well-known",
            "2026-11-21x",
            "ünïcödé",
            "{id}",
        ] {
            assert_eq!(template(segment), None, "{segment}");
        }
    }
}
