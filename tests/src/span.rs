//! One span, as `--print json` writes it.

use serde_json::Value;

/// A line of output; the accessors panic where a field is missing or of another type.
#[derive(Clone, Debug)]
pub struct Span(Value);

impl Span {
    /// Reads one line.
    ///
    /// # Panics
    /// When it is not a JSON object.
    pub fn parse(line: &str) -> Self {
        let value: Value = serde_json::from_str(line)
            .unwrap_or_else(|error| panic!("{error} in the daemon's line {line:?}"));
        assert!(value.is_object(), "no object: {line}");
        Self(value)
    }

    fn text(&self, key: &str) -> &str {
        self.0[key]
            .as_str()
            .unwrap_or_else(|| panic!("no text {key} in {}", self.0))
    }

    fn number(&self, key: &str) -> u64 {
        self.0[key]
            .as_u64()
            .unwrap_or_else(|| panic!("no number {key} in {}", self.0))
    }

    /// 32 hex digits.
    pub fn trace_id(&self) -> &str {
        self.text("trace_id")
    }

    /// 16 hex digits.
    pub fn span_id(&self) -> &str {
        self.text("span_id")
    }

    /// 16 hex digits, or none for the root of a trace.
    pub fn parent_span_id(&self) -> Option<&str> {
        self.0["parent_span_id"].as_str()
    }

    /// Trace id and span id of what it is linked to.
    pub fn link(&self) -> Option<(&str, &str)> {
        let link = self.0["links"].get(0)?;
        Some((link["trace_id"].as_str()?, link["span_id"].as_str()?))
    }

    /// Such as `GET /status/{id}`.
    pub fn name(&self) -> &str {
        self.text("name")
    }

    /// `server` or `client`.
    pub fn kind(&self) -> &str {
        self.text("kind")
    }

    /// The service's name.
    pub fn service(&self) -> &str {
        self.text("service")
    }

    /// `unset` or `error`.
    pub fn status(&self) -> &str {
        self.text("status")
    }

    /// Milliseconds from the first byte of the request to the last of the response.
    pub fn milliseconds(&self) -> f64 {
        self.number("duration_ns") as f64 / 1e6
    }

    /// Nanoseconds since 1970.
    pub fn start_unix_nano(&self) -> u64 {
        self.number("start_unix_nano")
    }

    /// An attribute; null where it is not set.
    pub fn attribute(&self, key: &str) -> &Value {
        &self.0["attributes"][key]
    }

    /// `http.request.method`
    pub fn method(&self) -> &str {
        self.attribute("http.request.method").as_str().unwrap_or("")
    }

    /// `http.response.status_code`; none where no response was seen.
    pub fn status_code(&self) -> Option<u64> {
        self.attribute("http.response.status_code").as_u64()
    }

    /// `url.path`
    pub fn path(&self) -> &str {
        self.attribute("url.path").as_str().unwrap_or("")
    }

    /// The request's path, of either kind of span.
    ///
    /// # Panics
    /// When a client's address has no path.
    pub fn target(&self) -> &str {
        let Some(url) = self.attribute("url.full").as_str() else {
            return self.path();
        };
        let (_, rest) = url.split_once("://").unwrap();
        &rest[rest.find('/').unwrap()..]
    }

    /// Whether the daemon says that it did not see all of the exchange.
    pub fn is_incomplete(&self) -> bool {
        !self.attribute("observer.incomplete").is_null()
    }
}
