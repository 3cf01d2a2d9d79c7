//! Scalars: choices, durations, addresses, rates.

use std::{fmt, net::SocketAddr, str::FromStr, time::Duration};

use url::Url;

use super::{
    Rejected,
    text::{choice, deserialize_from_str},
};

choice! {
    /// How the kernel is asked for bytes. See `observer doctor` for what this machine allows.
    Tier, "a capture tier", "auto, fentry, socket, kprobe or syscall";
    /// The best that attaches; never `syscall`, which taxes every process.
    #[default]
    Auto = "auto",
    /// fentry/fexit on the kernel's socket functions.
    Fentry = "fentry",
    /// Raw tracepoints that hand over the socket; kernel 6.3 and later.
    Socket = "socket",
    /// kprobes on the functions of `fentry`.
    Kprobe = "kprobe",
    /// Raw tracepoint on every system call's return.
    Syscall = "syscall",
}

choice! {
    /// What goes to standard output.
    Print, "a print format", "text, json or off";
    /// Nothing.
    #[default]
    Off = "off",
    /// One aligned line an exchange.
    Text = "text",
    /// One JSON object a span, one a line.
    Json = "json",
}

choice! {
    /// OTLP transport.
    OtlpProtocol, "an OTLP protocol", "grpc or http/protobuf";
    /// OTLP/gRPC.
    #[default]
    Grpc = "grpc",
    /// OTLP/HTTP with protobuf bodies.
    HttpProtobuf = "http/protobuf",
}

choice! {
    /// What becomes of the spans of services that carry an OpenTelemetry SDK. Metrics are made either way.
    Instrumented, "a treatment of instrumented services", "skip or keep";
    /// They are left to the SDK.
    #[default]
    Skip = "skip",
    /// They are made as for any other service, beside the SDK's.
    Keep = "keep",
}

choice! {
    /// Whether `traceparent` is injected into HTTP/1 requests.
    InjectHeaders, "a treatment of headers", "off, auto or force";
    /// Never.
    #[default]
    Off = "off",
    /// Where a self-test at start shows that this kernel does it without harm.
    Auto = "auto",
    /// Whatever the self-test would say.
    Force = "force",
}

choice! {
    /// Whether executables of event loops (Node, nginx), Go programs, CPython, Ruby and tokio get breakpoints, by which
    /// calls are told apart that one thread makes for several requests.
    Breakpoints, "a choice about breakpoints", "on or off";
    /// They do, where a process is captured that runs them.
    #[default]
    On = "on",
    /// They do not; such calls have no parent.
    Off = "off",
}

choice! {
    /// Whether calls of Node whose parent can't be known get a link to the request that they may have been made for.
    InferredLinks, "a choice about inferred links", "on or off";
    /// They do, marked as inferred.
    #[default]
    On = "on",
    /// They do not.
    Off = "off",
}

choice! {
    /// Whether DNS lookups of traced processes are seen.
    Dns, "a choice about DNS", "on or off";
    /// They are, over UDP.
    #[default]
    On = "on",
    /// They are not: nothing is attached for them.
    Off = "off",
}

choice! {
    /// How much observer says about itself on standard error.
    LogLevel, "a log level", "error, warn, info, debug or trace";
    /// Failures.
    Error = "error",
    /// And what is degraded or dropped.
    Warn = "warn",
    /// And what was decided at start.
    #[default]
    Info = "info",
    /// And what happens to single connections and processes.
    Debug = "debug",
    /// Everything.
    Trace = "trace",
}

choice! {
    /// Form of observer's own log.
    LogFormat, "a log format", "text or json";
    /// For people.
    #[default]
    Text = "text",
    /// One JSON object a line.
    Json = "json",
}

/// How long to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunFor(pub Option<Duration>);

impl FromStr for RunFor {
    type Err = Rejected;

    fn from_str(text: &str) -> Result<Self, Rejected> {
        if text == "unlimited" {
            return Ok(Self(None));
        }
        let rejected = || {
            Rejected::new(
                text,
                "a duration",
                "a number and ms, s, m or h, e.g. 500ms, 10s, 1m; or unlimited",
            )
        };
        let digits = text
            .find(|c: char| !c.is_ascii_digit())
            .ok_or_else(rejected)?;
        let (number, unit) = text.split_at(digits);
        let millis = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(rejected()),
        };
        let total = number
            .parse::<u64>()
            .ok()
            .and_then(|n| n.checked_mul(millis))
            .filter(|n| *n > 0)
            .ok_or_else(rejected)?;
        Ok(Self(Some(Duration::from_millis(total))))
    }
}

/// Where the Prometheus page is served; `None` is nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen(pub Option<SocketAddr>);

impl FromStr for Listen {
    type Err = Rejected;

    fn from_str(text: &str) -> Result<Self, Rejected> {
        match text {
            "off" => Ok(Self(None)),
            _ => text
                .parse()
                .map(|address| Self(Some(address)))
                .map_err(|_| {
                    Rejected::new(
                        text,
                        "an address to listen on",
                        "IP:PORT, e.g. 127.0.0.1:9464 or [::]:9464; or off",
                    )
                }),
        }
    }
}

/// Where OTLP goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Nowhere: OTLP is off.
    Off,
    /// A URL with scheme `http` or `https` and a host.
    Url(String),
}

impl FromStr for Endpoint {
    type Err = Rejected;

    fn from_str(text: &str) -> Result<Self, Rejected> {
        if text == "off" {
            return Ok(Self::Off);
        }
        match problem_of(text) {
            None => Ok(Self::Url(text.to_owned())),
            Some(problem) => Err(Rejected::new(
                text,
                "an OTLP endpoint",
                "a URL, e.g. http://localhost:4317 or https://otlp.example.com; or off",
            )
            .because(problem)),
        }
    }
}

/// Why a text is no URL of a collector.
fn problem_of(text: &str) -> Option<String> {
    if !(text.starts_with("http://") || text.starts_with("https://")) {
        return Some("it begins with neither http:// nor https://".to_owned());
    }
    // The URL standard drops such characters: what is left may name another host.
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Some("a space, or a character that does not show".to_owned());
    }
    match Url::parse(text) {
        Err(error) => Some(error.to_string()),
        Ok(url) if url.port() == Some(0) => Some("port 0".to_owned()),
        Ok(_) => None,
    }
}

/// Spans exported a second, at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanRate(pub Option<u32>);

impl SpanRate {
    /// The cap that holds where none was asked for: a busy host would drown any backend.
    pub const DEFAULT: Self = Self(Some(200));
}

impl FromStr for SpanRate {
    type Err = Rejected;

    fn from_str(text: &str) -> Result<Self, Rejected> {
        match text {
            "unlimited" => Ok(Self(None)),
            _ => text
                .parse()
                .ok()
                .filter(|n| *n <= 1_000_000)
                .map(|n| Self(Some(n)))
                .ok_or_else(|| {
                    Rejected::new(
                        text,
                        "a span rate",
                        "spans a second from 0 to 1000000, e.g. 200; or unlimited",
                    )
                }),
        }
    }
}

impl fmt::Display for SpanRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(rate) => write!(f, "{rate}"),
            None => f.write_str("unlimited"),
        }
    }
}

deserialize_from_str!(RunFor, Listen, Endpoint, SpanRate);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        let millis = |text: &str| text.parse::<RunFor>().map(|d| d.0.map(|d| d.as_millis()));
        assert_eq!(millis("500ms"), Ok(Some(500)));
        assert_eq!(millis("10s"), Ok(Some(10_000)));
        assert_eq!(millis("1m"), Ok(Some(60_000)));
        assert_eq!(millis("2h"), Ok(Some(7_200_000)));
        assert_eq!(millis("unlimited"), Ok(None));
        for wrong in [
            "",
            "10",
            "s",
            "-1s",
            "1.5s",
            "10 s",
            "0s",
            "1d",
            "99999999999999999999s",
            "18446744073709551615h",
            "10sé",
        ] {
            let message = wrong.parse::<RunFor>().unwrap_err().to_string();
            assert!(
                message.contains("is not a duration: write a number and ms, s, m or h"),
                "{message}"
            );
        }
    }

    #[test]
    fn endpoints_are_urls_with_a_host() {
        for right in [
            "http://localhost:4317",
            "https://a.b/c",
            "http://[::1]:4318",
            "http://[::1]",
            "https://user@host",
        ] {
            assert_eq!(
                right.parse(),
                Ok(Endpoint::Url(right.to_owned())),
                "{right}"
            );
        }
        assert_eq!("off".parse(), Ok(Endpoint::Off));
        for wrong in [
            "",
            "localhost:4317",
            "http://",
            "http://:4317",
            "ftp://a",
            "http://a b",
            "http://a:0",
            "http://a:70000",
            "http://a:x",
            "http://[::1",
            "http://[::1:4317",
            "http://[::g]",
            "http://a\tb",
            "http:a",
            "http://a%",
            "http://1.2.3.256",
        ] {
            assert!(wrong.parse::<Endpoint>().is_err(), "{wrong}");
        }
        let message = "http://[::1".parse::<Endpoint>().unwrap_err().to_string();
        assert_eq!(
            message,
            "`http://[::1` is not an OTLP endpoint (invalid IPv6 address): write a URL, e.g. http://localhost:4317 or \
             https://otlp.example.com; or off"
        );
    }

    #[test]
    fn addresses_and_rates() {
        assert_eq!("off".parse(), Ok(Listen(None)));
        assert_eq!(
            "[::1]:9464".parse(),
            Ok(Listen(Some("[::1]:9464".parse().unwrap())))
        );
        assert!("9464".parse::<Listen>().is_err());
        assert_eq!("0".parse(), Ok(SpanRate(Some(0))));
        assert_eq!("unlimited".parse(), Ok(SpanRate(None)));
        assert!("-1".parse::<SpanRate>().is_err());
        assert!("1000001".parse::<SpanRate>().is_err());
    }

    #[test]
    fn a_message_escapes_what_was_written() {
        let message = "\u{1b}[31m".parse::<Tier>().unwrap_err().to_string();
        assert_eq!(
            message,
            r"`\u{1b}[31m` is not a capture tier: write auto, fentry, socket, kprobe or syscall"
        );
    }
}
