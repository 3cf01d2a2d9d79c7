//! The header fields that observer reads, by name.

/// A field's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::http2) enum Name {
    Authority,
    Method,
    Path,
    Protocol,
    Scheme,
    Status,
    B3,
    B3Flags,
    B3Sampled,
    B3SpanId,
    B3TraceId,
    ConnectProtocol,
    ContentType,
    GrpcStatus,
    GrpcTimeout,
    GrpcTrace,
    Host,
    TraceParent,
    TraceState,
    UserAgent,
    /// One that is not read.
    Other,
    /// It was named before observer came, or in bytes that were lost.
    Unknown,
}

impl Name {
    /// The one that is written so. Names are in lower case (RFC 9113 section 8.2).
    pub(super) const fn of(name: &[u8]) -> Self {
        match name {
            b":authority" => Self::Authority,
            b":method" => Self::Method,
            b":path" => Self::Path,
            b":protocol" => Self::Protocol,
            b":scheme" => Self::Scheme,
            b":status" => Self::Status,
            b"b3" => Self::B3,
            b"x-b3-flags" => Self::B3Flags,
            b"x-b3-sampled" => Self::B3Sampled,
            b"x-b3-spanid" => Self::B3SpanId,
            b"x-b3-traceid" => Self::B3TraceId,
            b"connect-protocol-version" => Self::ConnectProtocol,
            b"content-type" => Self::ContentType,
            b"grpc-status" => Self::GrpcStatus,
            b"grpc-timeout" => Self::GrpcTimeout,
            b"grpc-trace-bin" => Self::GrpcTrace,
            b"host" => Self::Host,
            b"traceparent" => Self::TraceParent,
            b"tracestate" => Self::TraceState,
            b"user-agent" => Self::UserAgent,
            _ => Self::Other,
        }
    }

    /// Whether its value is read.
    pub(super) const fn is_read(self) -> bool {
        !matches!(self, Self::Other | Self::Unknown)
    }

    /// As it is written, of those that belong to B3's several headers.
    pub(in crate::http2) const fn of_b3(self) -> Option<&'static str> {
        Some(match self {
            Self::B3Flags => "x-b3-flags",
            Self::B3Sampled => "x-b3-sampled",
            Self::B3SpanId => "x-b3-spanid",
            Self::B3TraceId => "x-b3-traceid",
            _ => return None,
        })
    }

    /// Whether only a request has it.
    pub(in crate::http2) const fn is_asked(self) -> bool {
        matches!(
            self,
            Self::Authority | Self::Method | Self::Path | Self::Protocol | Self::Scheme
        )
    }
}
