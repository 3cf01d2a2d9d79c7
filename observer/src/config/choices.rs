//! Choices: a few names, each written the same in the file and on the command line.

use super::text::choice;

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
    /// Whether what is said over TLS is read.
    Tls, "a choice about TLS", "on or off";
    /// It is, where the library is known.
    #[default]
    On = "on",
    /// It is not: nothing is attached to a library, and no secret is known here.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_escapes_what_was_written() {
        let message = "\u{1b}[31m".parse::<Tier>().unwrap_err().to_string();
        assert_eq!(
            message,
            r"`\u{1b}[31m` is not a capture tier: write auto, fentry, socket, kprobe or syscall"
        );
    }
}
