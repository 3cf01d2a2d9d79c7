//! The command line.

use std::{env, path::PathBuf};

use clap::{Args, Parser, Subcommand};

use super::{demo::service, install, manual};
use crate::config::{
    Breakpoints, ConfigError, Dns, Endpoint, File, Glob, InjectHeaders, Listen, LogFormat,
    LogLevel, Network, OtlpProtocol, Pid, PodGlob, PortRange, Print, RoutePattern, RunFor,
    Settings, SpanRate, Tier, Tls, Watch,
};
use crate::kubernetes::LabelSelector;

/// Traces services that carry no instrumentation.
#[derive(Debug, Parser)]
#[command(
    name = "observer",
    version,
    about = "Traces services that carry no instrumentation: spans, metrics and OTLP from the bytes on their sockets.",
    after_help = "Try it:  sudo observer demo\nThen:    sudo observer run --print text\n\n\
        Exit codes: 0 done, 1 cannot trace (observer doctor says why), 2 a flag, an OTEL_* variable or the file is refused."
)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Trace the services on this machine
    Run(Box<RunArguments>),
    /// Start a few small services of its own, send them requests, and show what tracing them gives
    Demo(DemoArguments),
    /// Say what this kernel allows, what is degraded and why, and what to change
    Doctor(DoctorArguments),
    /// Print what a cluster needs to run it
    Install(install::InstallArguments),
    /// Write a completion script for a shell to standard output
    Completions(manual::CompletionsArguments),
    /// Write the manual pages (for packages)
    #[command(hide = true)]
    Manual(manual::ManualArguments),
    /// One of the demo's services (started by the demo itself)
    #[command(hide = true)]
    DemoService(service::Arguments),
}

const RUN_EXAMPLES: &str = "Examples:
  observer run --print text                          every HTTP request on this machine, a line each
  observer run --port 8080 --port 9000-9100          only what listens on these ports
  observer run --exe nginx --exe 'python3*'          only these programs
  observer run --otlp-endpoint http://collector:4317 spans and metrics to a collector
  observer run --print json --duration 10s | jq .    ten seconds as JSON

Without --pid, --exe, --port and those for pods every process is traced except observer's own. Of the
selectors for pods, --namespace, --pod-label and --image, each kind that is given has to match.
OTLP goes where --otlp-endpoint or OTEL_EXPORTER_OTLP_ENDPOINT says, nowhere without either.
--tcp-option-peers changes packets to and from these networks. The SYN of a traced process's
connection carries 4 bytes more (option kind 253), the SYN-ACK answers with 4, and where both did,
the segment that begins with an HTTP/1 request carries 28: trace and span id, in the open. None is
repeated; no other segment or connection is changed. Both hosts need it, each naming the other. A
full segment or one with SACK has no room for it, middleboxes may drop it: a help, never a need.

Needs root, or CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH.

Exit codes: 0 done, 1 cannot trace (observer doctor says why), 2 a flag, an OTEL_* variable or the file is refused.";

/// `observer run`.
#[derive(Debug, Default, Args)]
#[command(after_help = RUN_EXAMPLES)]
pub struct RunArguments {
    /// YAML file with settings; flags stand above it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Trace this process and its forks, not other programs that it starts (repeatable)
    #[arg(long, value_name = "N", help_heading = "Which processes")]
    pub pid: Vec<Pid>,
    /// Trace executables that match: by name, or by path if it contains / (repeatable)
    #[arg(long, value_name = "GLOB", help_heading = "Which processes")]
    pub exe: Vec<Glob>,
    /// Never trace executables that match (repeatable)
    #[arg(long, value_name = "GLOB", help_heading = "Which processes")]
    pub exclude_exe: Vec<Glob>,
    /// Trace processes that listen on this TCP port or range (repeatable)
    #[arg(long, value_name = "N[-M]", help_heading = "Which processes")]
    pub port: Vec<PortRange>,
    /// Trace pods in namespaces that match (repeatable)
    #[arg(long, value_name = "GLOB", help_heading = "Which processes")]
    pub namespace: Vec<PodGlob>,
    /// Never trace pods in namespaces that match (repeatable)
    #[arg(long, value_name = "GLOB", help_heading = "Which processes")]
    pub exclude_namespace: Vec<PodGlob>,
    /// Trace pods whose labels match, e.g. 'app=shop,tier!=db' (repeatable: one of these)
    #[arg(long, value_name = "SELECTOR", help_heading = "Which processes")]
    pub pod_label: Vec<LabelSelector>,
    /// Trace containers whose image matches, with or without its tag (repeatable)
    #[arg(long, value_name = "GLOB", help_heading = "Which processes")]
    pub image: Vec<PodGlob>,
    /// Ask the Kubernetes API for this node's pods: auto (in a pod that has a token and NODE_NAME), on or off [default: auto]
    #[arg(long, value_name = "CHOICE")]
    pub kubernetes: Option<Watch>,
    /// How to ask the kernel: auto, fentry, socket, kprobe or syscall [default: auto]
    #[arg(long, value_name = "TIER")]
    pub tier: Option<Tier>,
    /// Stop after this long, e.g. 500ms, 10s, 1m [default: unlimited]
    #[arg(long, value_name = "TIME")]
    pub duration: Option<RunFor>,
    /// Write to standard output: text (a line an exchange), json (an object a span) or off [default: off]
    #[arg(long, value_name = "FORMAT", help_heading = "Where it goes")]
    pub print: Option<Print>,
    /// Serve Prometheus metrics at http://ADDR/metrics, or off [default: 127.0.0.1:9464]
    #[arg(long, value_name = "ADDR", help_heading = "Where it goes")]
    pub prometheus: Option<Listen>,
    /// Send OTLP here, or off [default: $OTEL_EXPORTER_OTLP_ENDPOINT, else off]
    #[arg(long, value_name = "URL", help_heading = "Where it goes")]
    pub otlp_endpoint: Option<Endpoint>,
    /// OTLP transport: grpc or http/protobuf [default: $OTEL_EXPORTER_OTLP_PROTOCOL, else grpc for port 4317, http/protobuf for others]
    #[arg(long, value_name = "PROTOCOL", help_heading = "Where it goes")]
    pub otlp_protocol: Option<OtlpProtocol>,
    /// Export at most this many spans a second, or unlimited [default: 200]. Metrics count every request all the same
    #[arg(
        long,
        value_name = "N",
        help_heading = "Where it goes",
        allow_hyphen_values = true
    )]
    pub span_rate: Option<SpanRate>,
    /// Breakpoints in Node, nginx, Go and CPython executables, by which the parent of a call is found where one
    /// thread works for several requests: on or off [default: on]. A breakpoint costs the service about 1 to 2 µs a call
    #[arg(long, value_name = "CHOICE")]
    pub breakpoints: Option<Breakpoints>,
    /// A route that is known, e.g. '/orders/{id}' or '/static/*' (repeatable); others are learned
    #[arg(long, value_name = "PATTERN")]
    pub route: Vec<RoutePattern>,
    /// DNS lookups (UDP) of traced processes: on or off [default: on]
    #[arg(long, value_name = "CHOICE")]
    pub dns: Option<Dns>,
    /// What traced processes say over TLS, read with the secrets of their TLS libraries: on or off [default: on]
    #[arg(long, value_name = "CHOICE")]
    pub tls: Option<Tls>,
    /// Put a traceparent line into HTTP/1 requests of traced processes that carry none: off, auto (where a self-test shows
    /// that the kernel does it without harm) or force [default: off]. What force breaks where auto ends up off (so far
    /// everywhere): blocking receives may end with EAGAIN; programs that ask how many bytes wait (FIONREAD: nginx) may stall
    #[arg(long, value_name = "WHEN")]
    pub inject_headers: Option<InjectHeaders>,
    /// Exchange trace context with hosts in these networks by a TCP option, see below (repeatable) [default: off]
    #[arg(long, value_name = "CIDR[,CIDR]", value_delimiter = ',')]
    pub tcp_option_peers: Vec<Network>,
    /// How much observer says about itself: error, warn, info, debug or trace [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<LogLevel>,
    /// Form of observer's own log on standard error: text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

const DEMO_EXAMPLES: &str = "Examples:
  observer demo                                      until Ctrl-C
  observer demo --duration 30s --rate 100            half a minute, 100 requests a second
  observer demo --otlp-endpoint http://localhost:4317 and see the same in your own backend";

/// `observer demo`.
#[derive(Debug, Args)]
#[command(after_help = DEMO_EXAMPLES)]
pub struct DemoArguments {
    /// Stop after this long, e.g. 30s, 5m
    #[arg(long, value_name = "TIME", default_value = "unlimited")]
    pub duration: RunFor,
    /// Requests a second that the load generator sends
    #[arg(long, value_name = "R", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=2000))]
    pub rate: u32,
    /// Send OTLP here too [default: $OTEL_EXPORTER_OTLP_ENDPOINT, else off]
    #[arg(long, value_name = "URL")]
    pub otlp_endpoint: Option<Endpoint>,
    /// How to ask the kernel: auto, fentry, socket, kprobe or syscall
    #[arg(long, value_name = "TIER", default_value_t)]
    pub tier: Tier,
}

/// `observer doctor`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exits 0 where tracing works (perhaps degraded), 1 where nothing can be traced.
With --tls: 0 where a key point is found, 1 where none is."
)]
pub struct DoctorArguments {
    /// One JSON object instead of text
    #[arg(long)]
    pub json: bool,
    /// Only say where the TLS secrets of this program or library pass, or of all that a process has
    /// loaded; nothing is attached
    #[arg(long, value_name = "PATH|PID")]
    pub tls: Option<String>,
    /// Also say what this pod lacks, what is off for that, and which line of the manifest or the
    /// chart's values brings it: in a pod, kubectl exec NAME -- /usr/bin/observer doctor --kubernetes
    #[arg(long, conflicts_with = "tls")]
    pub kubernetes: bool,
}

impl RunArguments {
    /// Defaults, the file, the environment and these flags, each above the one before.
    pub fn settings(self) -> Result<Settings, ConfigError> {
        let file = self
            .config
            .as_deref()
            .map(File::read)
            .transpose()?
            .unwrap_or_default();
        Ok(self.above(Settings::from_file(file, |name| env::var(name).ok())))
    }

    fn above(self, mut settings: Settings) -> Settings {
        fn list<T>(place: &mut Vec<T>, said: Vec<T>) {
            if !said.is_empty() {
                *place = said;
            }
        }
        fn value<T>(place: &mut T, said: Option<T>) {
            if let Some(said) = said {
                *place = said;
            }
        }
        list(&mut settings.selection.pids, self.pid);
        list(&mut settings.selection.exe, self.exe);
        list(&mut settings.selection.exclude_exe, self.exclude_exe);
        list(&mut settings.selection.ports, self.port);
        let pods = &mut settings.selection.pods;
        list(&mut pods.namespaces, self.namespace);
        list(&mut pods.exclude_namespaces, self.exclude_namespace);
        list(&mut pods.labels, self.pod_label);
        list(&mut pods.images, self.image);
        value(&mut settings.kubernetes.watch, self.kubernetes);
        list(&mut settings.metrics.routes, self.route);
        list(&mut settings.tcp_option.peers, self.tcp_option_peers);
        value(&mut settings.tier, self.tier);
        value(
            &mut settings.duration,
            self.duration.map(|duration| duration.0),
        );
        value(&mut settings.print, self.print);
        value(
            &mut settings.prometheus,
            self.prometheus.map(|listen| listen.0),
        );
        value(&mut settings.spans.rate, self.span_rate);
        value(&mut settings.dns, self.dns);
        value(&mut settings.tls, self.tls);
        value(&mut settings.inject_headers, self.inject_headers);
        value(&mut settings.spans.breakpoints, self.breakpoints);
        value(&mut settings.log.level, self.log_level);
        value(&mut settings.log.format, self.log_format);
        endpoint(&mut settings, self.otlp_endpoint);
        settings.otlp.protocol = self.otlp_protocol;
        settings
    }
}

/// A flag's endpoint, above everything.
fn endpoint(settings: &mut Settings, said: Option<Endpoint>) {
    match said {
        None => {}
        Some(Endpoint::Off) => settings.otlp.enabled = false,
        Some(Endpoint::Url(url)) => {
            settings.otlp.enabled = true;
            settings.otlp.endpoint = Some(url);
        }
    }
}

impl DemoArguments {
    /// Defaults and the environment, with these flags above; selects nothing yet. There is no Prometheus page, since a
    /// daemon may be running beside the demo, and no span is sampled away.
    pub fn settings(&self) -> Settings {
        let mut settings = super::defaults();
        settings.prometheus = None;
        settings.tier = self.tier;
        settings.duration = self.duration.0;
        settings.spans.rate = SpanRate(None);
        settings.log.level = LogLevel::Warn;
        endpoint(&mut settings, self.otlp_endpoint.clone());
        settings
    }
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;
