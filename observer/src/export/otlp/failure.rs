//! Which failures are worth another attempt, exactly as the OTLP specification lists them.

use std::error::Error;
use std::time::{Duration, SystemTime};

use prost::Message;
use tonic::Code;

/// What to do after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retry {
    /// Drop the request.
    Never,
    /// After the exponential backoff.
    Backoff,
    /// Not before this has passed: the backend asked for it.
    After(Duration),
}

/// A failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) retry: Retry,
    pub(super) message: String,
}

/// The longest wait that a backend may ask for; a typing error there should not silence us for a day.
const LONGEST_THROTTLE: Duration = Duration::from_secs(300);

/// `google.rpc.Status`, the body of failed OTLP/HTTP requests and of `grpc-status-details-bin`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct RpcStatus {
    #[prost(int32, tag = "1")]
    pub(super) code: i32,
    #[prost(string, tag = "2")]
    pub(super) message: String,
    #[prost(message, repeated, tag = "3")]
    pub(super) details: Vec<RpcDetail>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct RpcDetail {
    #[prost(string, tag = "1")]
    pub(super) type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    pub(super) retry_delay: Option<RpcDuration>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct RpcDuration {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(super) nanos: i32,
}

impl Failure {
    /// Connection refused or lost, no answer in time.
    pub(super) fn connection(message: impl Into<String>) -> Self {
        Self {
            retry: Retry::Backoff,
            message: message.into(),
        }
    }

    /// A gRPC status, from the backend or from the transport below.
    pub(super) fn grpc(status: &tonic::Status) -> Self {
        let delay = retry_delay(status.details());
        let throttled = match delay {
            Some(delay) if !delay.is_zero() => Retry::After(delay.min(LONGEST_THROTTLE)),
            _ => Retry::Backoff,
        };
        let retry = match status.code() {
            Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss => throttled,
            Code::ResourceExhausted if delay.is_some() => throttled,
            // A broken connection reaches us as one of these, with its cause attached.
            Code::Unknown | Code::Internal if is_transport(status) => Retry::Backoff,
            _ => Retry::Never,
        };
        Self {
            retry,
            message: format!(
                "{:?}: {}",
                status.code(),
                with_causes(status.message(), status.source())
            ),
        }
    }

    /// An HTTP status that is no success.
    pub(super) fn http(status: u16, retry_after: Option<&str>, body: &[u8]) -> Self {
        let retry = match status {
            429 | 502..=504 => retry_after
                .and_then(parse_retry_after)
                .map_or(Retry::Backoff, Retry::After),
            _ => Retry::Never,
        };
        let detail = RpcStatus::decode(body)
            .map(|status| status.message)
            .unwrap_or_default();
        let separator = if detail.is_empty() { "" } else { ": " };
        Self {
            retry,
            message: format!("HTTP {status}{separator}{detail}"),
        }
    }
}

/// An error's text with those of its causes, as far as they add something.
pub(super) fn with_causes(message: &str, mut cause: Option<&(dyn Error + 'static)>) -> String {
    let mut text = message.to_owned();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

fn is_transport(status: &tonic::Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<tonic::transport::Error>() || error.is::<std::io::Error>() {
            return true;
        }
        cause = error.source();
    }
    false
}

fn retry_delay(details: &[u8]) -> Option<Duration> {
    let status = RpcStatus::decode(details).ok()?;
    let detail = status
        .details
        .iter()
        .find(|detail| detail.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(detail.value.as_slice()).ok()?.retry_delay;
    Some(delay.map_or(Duration::ZERO, |delay| {
        Duration::new(
            u64::try_from(delay.seconds).unwrap_or(0),
            u32::try_from(delay.nanos).unwrap_or(0),
        )
    }))
}

/// RFC 9110 section 10.2.3: seconds or a date.
fn parse_retry_after(text: &str) -> Option<Duration> {
    let text = text.trim();
    let delay = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text)
            .ok()?
            .duration_since(SystemTime::now())
            .unwrap_or_default(),
    };
    Some(delay.min(LONGEST_THROTTLE))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn with_retry_info(
        code: Code,
        delay: Option<RpcDuration>,
    ) -> tonic::Status {
        let detail = RpcDetail {
            type_url: "type.googleapis.com/google.rpc.RetryInfo".into(),
            value: RetryInfo { retry_delay: delay }.encode_to_vec(),
        };
        let details = RpcStatus {
            code: code as i32,
            message: String::new(),
            details: vec![detail],
        };
        tonic::Status::with_details(code, "busy", details.encode_to_vec().into())
    }

    #[test]
    fn grpc_codes_follow_the_table_of_the_specification() {
        let retried = [1, 4, 10, 11, 14, 15];
        for number in 1..=16 {
            let failure = Failure::grpc(&tonic::Status::new(Code::from_i32(number), "x"));
            let expected = if retried.contains(&number) {
                Retry::Backoff
            } else {
                Retry::Never
            };
            assert_eq!(failure.retry, expected, "code {number}");
        }
    }

    #[test]
    fn resource_exhausted_is_retried_only_with_retry_info() {
        let delay = RpcDuration {
            seconds: 2,
            nanos: 500_000_000,
        };
        let retry = |code, delay| Failure::grpc(&with_retry_info(code, delay)).retry;
        let expected = Retry::After(Duration::from_millis(2500));
        assert_eq!(retry(Code::ResourceExhausted, Some(delay)), expected);
        assert_eq!(retry(Code::ResourceExhausted, None), Retry::Backoff);
        assert_eq!(retry(Code::Unavailable, Some(delay)), expected);
        assert_eq!(retry(Code::InvalidArgument, Some(delay)), Retry::Never);
        let negative = RpcDuration {
            seconds: -1,
            nanos: -1,
        };
        assert_eq!(retry(Code::Unavailable, Some(negative)), Retry::Backoff);
        let endless = RpcDuration {
            seconds: i64::MAX,
            nanos: 0,
        };
        assert_eq!(
            retry(Code::Unavailable, Some(endless)),
            Retry::After(LONGEST_THROTTLE)
        );
    }

    #[test]
    fn http_statuses_follow_the_table_of_the_specification() {
        for status in 300..600 {
            let expected = if [429, 502, 503, 504].contains(&status) {
                Retry::Backoff
            } else {
                Retry::Never
            };
            assert_eq!(
                Failure::http(status, None, b"").retry,
                expected,
                "status {status}"
            );
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let retry = |text: &str| Failure::http(503, Some(text), b"").retry;
        assert_eq!(retry(" 7 "), Retry::After(Duration::from_secs(7)));
        assert_eq!(retry("999999999"), Retry::After(LONGEST_THROTTLE));
        assert_eq!(retry("soon"), Retry::Backoff);
        assert_eq!(
            retry("Sun, 06 Nov 1994 08:49:37 GMT"),
            Retry::After(Duration::ZERO)
        );
        let later = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(60));
        let Retry::After(delay) = retry(&later) else {
            panic!("a date is understood")
        };
        assert!((58..=60).contains(&delay.as_secs()), "{delay:?}");
        assert_eq!(Failure::http(400, Some("7"), b"").retry, Retry::Never);
    }

    #[test]
    fn the_body_of_a_failed_http_request_explains_it() {
        let body = RpcStatus {
            code: 3,
            message: "no such tenant".into(),
            details: Vec::new(),
        };
        let failure = Failure::http(400, None, &body.encode_to_vec());
        assert_eq!(failure.message, "HTTP 400: no such tenant");
        assert_eq!(Failure::http(502, None, b"<html>").message, "HTTP 502");
    }
}
