//! What a request names: path and authority.

use super::{HttpExchange, default_port, scheme};
use crate::{
    process::Text,
    protocol::conventions::network::{server_end, socket, split_authority},
    protocol::exchange::Common,
};

/// The path of a request target, without query and fragment; `None` for the authority form (CONNECT), the asterisk
/// form, and where the target is not known (RFC 9112 section 3.2).
pub fn path(target: &str) -> Option<&str> {
    let path = if target.starts_with('/') {
        target
    } else {
        absolute(target)?.1
    };
    let end = path.bytes().position(|byte| matches!(byte, b'?' | b'#'));
    match &path[..end.unwrap_or(path.len())] {
        // `http://example.com?x`: the empty path is the root (RFC 9110 section 4.2.3).
        "" => Some("/"),
        path => Some(path),
    }
}

/// Authority and remainder of a target in absolute form.
fn absolute(target: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = target.split_once("://")?;
    if scheme.is_empty()
        || !scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
    {
        return None;
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    Some(rest.split_at(end))
}

/// The authority that a request names, as written: of an absolute or authority-form target, else of `Host`.
/// Credentials before an `@` are cut off. `None` where it names none.
pub(super) fn raw_authority(http: &HttpExchange) -> Option<&str> {
    let target = http.texts.target();
    let written = if target.starts_with('/') {
        http.texts.host()
    } else if let Some((authority, _)) = absolute(target) {
        Some(authority)
    } else if &*http.method == "CONNECT" {
        Some(target)
    } else {
        http.texts.host()
    }?;
    let credentials = written.bytes().rposition(|byte| byte == b'@');
    let host = trimmed(&written[credentials.map_or(0, |at| at + 1)..]);
    (!host.is_empty()).then_some(host)
}

/// Without white space around it. Asked for each exchange, and nearly never is there any.
fn trimmed(text: &str) -> &str {
    match text.as_bytes() {
        [first, .., last] if first.is_ascii_graphic() && last.is_ascii_graphic() => text,
        _ => text.trim(),
    }
}

/// `server.address` and `server.port`: what the request names, with the connection's port where it names none; else
/// the address of the connection's server end.
pub(in crate::protocol) fn server(
    http: &HttpExchange,
    common: &Common,
) -> (Option<Text>, Option<u16>) {
    let (address, port) = socket(server_end(common));
    match raw_authority(http).and_then(split_authority) {
        Some(named) => (Some(named.host.to_owned().into()), named.port.or(port)),
        None => {
            let session = common.session.as_ref();
            let named = session.and_then(|session| session.server_name.clone());
            (named.map(Into::into).or(address), port)
        }
    }
}

/// `url.full` without query, fragment and credentials. A CONNECT has only an authority: `//host:port`.
pub(super) fn full_url(
    http: &HttpExchange,
    tls: bool,
    path: Option<&str>,
    address: Option<&str>,
    port: Option<u16>,
) -> Option<String> {
    let address = address?;
    let scheme = scheme(tls);
    let authority = match (address.starts_with('/'), address.contains(':'), port) {
        // A Unix socket's path is no authority; without a Host there is no URL to tell.
        (true, ..) => return None,
        (_, true, Some(port)) => format!("[{address}]:{port}"),
        (_, true, None) => format!("[{address}]"),
        (_, false, Some(port)) if port != default_port(tls) => format!("{address}:{port}"),
        _ => address.to_owned(),
    };
    match path {
        Some(path) => Some(format!("{scheme}://{authority}{path}")),
        None if &*http.method == "CONNECT" => Some(format!("//{authority}")),
        None if http.texts.target() == "*" => Some(format!("{scheme}://{authority}")),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_never_hold_a_query() {
        let table = [
            ("/a/b?x=1", Some("/a/b")),
            ("/?x", Some("/")),
            ("/a#f?x", Some("/a")),
            ("http://h:1/a?secret", Some("/a")),
            ("http://h?secret", Some("/")),
            ("http://u:p@h", Some("/")),
            ("/redirect/http://x/y", Some("/redirect/http://x/y")),
            ("*", None),
            ("example.com:443", None),
            ("", None),
        ];
        for (target, expected) in table {
            assert_eq!(path(target), expected, "{target}");
        }
    }
}
