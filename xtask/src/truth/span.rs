//! One printed span of a request that is tagged.

use serde_json::Value;

use super::path::Key;

#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) key: Key,
    /// As it was asked for.
    pub(super) path: String,
    /// A client span, else a server span.
    pub(super) is_client: bool,
    pub(super) trace_id: String,
    pub(super) span_id: String,
    pub(super) parent_span_id: Option<String>,
    /// (trace id, span id) of the request that may be the cause.
    pub(super) link: Option<(String, String)>,
    /// `observer.parent.method`
    pub(super) method: String,
    pub(super) service: String,
    /// Nanoseconds since 1970.
    pub(super) start: u64,
    pub(super) end: u64,
}

impl Span {
    /// Reads one line of `--print json`. `None` where it is about no request of ours.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let attributes = &value["attributes"];
        let is_client = value["kind"] == "client";
        let path = if is_client {
            let url = attributes["url.full"].as_str()?;
            let (_, rest) = url.split_once("://")?;
            &rest[rest.find('/')?..]
        } else {
            attributes["url.path"].as_str()?
        };
        let start = value["start_unix_nano"].as_u64()?;
        Some(Self {
            key: Key::parse(path)?,
            path: path.to_owned(),
            is_client,
            trace_id: text(&value["trace_id"])?,
            span_id: text(&value["span_id"])?,
            parent_span_id: text(&value["parent_span_id"]),
            link: value["links"].as_array().and_then(|links| {
                let link = links.first()?;
                Some((text(&link["trace_id"])?, text(&link["span_id"])?))
            }),
            method: text(&attributes["observer.parent.method"])?,
            service: text(&value["service"])?,
            start,
            end: start + value["duration_ns"].as_u64()?,
        })
    }

    /// For people: which span this is.
    pub(super) fn describe(&self) -> String {
        let kind = if self.is_client { "client" } else { "server" };
        let Self {
            service,
            path,
            span_id,
            trace_id,
            start,
            end,
            ..
        } = self;
        format!(
            "{kind} span of {service}, {path}, {span_id} in trace {trace_id}, from {start} to {end}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_spans_are_read() {
        let line = |kind: &str, place: &str| {
            format!(
                r#"{{"trace_id":"t","span_id":"s","parent_span_id":null,"name":"GET","kind":"{kind}","service":"a",
                "start_unix_nano":5,"duration_ns":2,"status":"unset",
                "attributes":{{{place},"observer.parent.method":"none"}}}}"#
            )
        };
        let client = line(
            "client",
            r#""url.full":"http://127.0.0.1:80/keep/direct/1.2.3/0.1""#,
        );
        let server = line("server", r#""url.path":"/keep/direct/1.2.3/0.1""#);
        let (client, server) = (Span::parse(&client).unwrap(), Span::parse(&server).unwrap());
        assert!(client.is_client && !server.is_client);
        assert_eq!(client.key, server.key);
        assert_eq!((client.start, client.end), (5, 7));
        assert_eq!(client.link, None);
        let linked = line(
            "client",
            r#""url.full":"http://127.0.0.1:80/keep/direct/1.2.3/0.1""#,
        )
        .replace(
            "\"status\"",
            r#""links":[{"trace_id":"x","span_id":"y","attributes":{}}],"status""#,
        );
        let linked = Span::parse(&linked).unwrap();
        assert_eq!(linked.link, Some(("x".to_owned(), "y".to_owned())));
        let other = line("server", r#""url.path":"/metrics""#);
        assert!(Span::parse(&other).is_none());
    }
}
