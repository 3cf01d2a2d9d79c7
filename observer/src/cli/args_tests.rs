//! Flags are accepted as documented, refused with the accepted form, and stand above the file.

use clap::CommandFactory;

use super::*;

fn run(flags: &[&str]) -> Result<RunArguments, String> {
    let parsed =
        Arguments::try_parse_from(["observer", "run"].iter().chain(flags)).map_err(|error| {
            assert_eq!(error.exit_code(), 2);
            error.to_string()
        })?;
    match parsed.command {
        Command::Run(run) => Ok(*run),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_definition_is_sound() {
    Arguments::command().debug_assert();
}

#[test]
fn every_documented_flag_is_accepted() {
    let flags = "--otlp-endpoint http://c:4318 --otlp-protocol http/protobuf --prometheus off --print json --pid 1 --pid 2 \
        --exe nginx --exe /opt/** --exclude-exe sshd --port 80 --port 8000-8100 --tier socket --duration 10s \
        --inject-headers auto --span-rate unlimited --route /orders/{id} --route /static/* --log-level debug --log-format json \
        --tcp-option-peers 10.0.0.0/8,fd00::/8 --tcp-option-peers 192.0.2.1";
    let settings = run(&flags.split_whitespace().collect::<Vec<_>>())
        .unwrap()
        .above(Settings::default());
    assert_eq!(settings.selection.pids, [Pid(1), Pid(2)]);
    assert_eq!(settings.selection.exe.len(), 2);
    assert_eq!(
        settings.selection.ports[1],
        PortRange {
            first: 8000,
            last: 8100
        }
    );
    assert_eq!(settings.otlp.endpoint.as_deref(), Some("http://c:4318"));
    assert_eq!(settings.otlp.protocol, Some(OtlpProtocol::HttpProtobuf));
    assert_eq!(
        (settings.prometheus, settings.print, settings.tier),
        (None, Print::Json, Tier::Socket)
    );
    assert_eq!(settings.spans.rate.0, None);
    assert_eq!(settings.metrics.routes.len(), 2);
    assert_eq!(settings.inject_headers, InjectHeaders::Auto);
    let peers = settings.tcp_option.peers.iter();
    let peers: Vec<String> = peers.map(ToString::to_string).collect();
    assert_eq!(peers, ["10.0.0.0/8", "fd00::/8", "192.0.2.1/32"]);
    assert_eq!(
        (settings.log.level, settings.log.format),
        (LogLevel::Debug, LogFormat::Json)
    );
}

#[test]
fn no_flags_change_nothing() {
    assert_eq!(
        run(&[]).unwrap().above(Settings::default()),
        Settings::default()
    );
}

#[test]
fn a_wrong_flag_names_the_accepted_form() {
    for (flag, value, accepted) in [
        ("--port", "90-80", "N or N-M"),
        ("--duration", "10", "500ms, 10s, 1m"),
        ("--tier", "best", "auto, fentry, socket, kprobe or syscall"),
        ("--prometheus", "9464", "IP:PORT"),
        ("--otlp-protocol", "http/json", "grpc or http/protobuf"),
        ("--otlp-endpoint", "collector:4317", "a URL"),
        ("--pid", "0", "an integer from 1"),
        ("--exe", "[", "a file name or a path"),
        ("--span-rate", "-1", "spans a second"),
        ("--print", "xml", "text, json or off"),
    ] {
        let message = run(&[&format!("{flag}={value}")]).unwrap_err();
        assert!(
            message.contains(accepted) && message.contains(value) && message.contains(flag),
            "{message}"
        );
    }
}

#[test]
fn flags_stand_above_the_file_and_lists_replace_lists() {
    let text = "tier: fentry\nprint: text\nselect: {ports: [80, 81]}\notlp: {endpoint: off}\n";
    let file = File::parse(std::path::Path::new("f"), text).unwrap();
    let settings = Settings::from_file(file, |_| None);
    let settings = run(&[
        "--tier",
        "socket",
        "--port",
        "9000",
        "--otlp-endpoint",
        "http://a",
    ])
    .unwrap()
    .above(settings);
    assert_eq!((settings.tier, settings.print), (Tier::Socket, Print::Text));
    assert_eq!(
        settings.selection.ports,
        [PortRange {
            first: 9000,
            last: 9000
        }]
    );
    assert!(settings.otlp.enabled);
}

#[test]
fn the_demo_takes_its_flags() {
    let demo =
        |flags: &[&str]| match Arguments::try_parse_from(["observer", "demo"].iter().chain(flags))
            .unwrap()
            .command
        {
            Command::Demo(demo) => demo,
            other => panic!("{other:?}"),
        };
    let settings = demo(&[
        "--otlp-endpoint",
        "http://a",
        "--duration",
        "30s",
        "--tier",
        "socket",
    ])
    .settings();
    assert_eq!(settings.otlp.endpoint.as_deref(), Some("http://a"));
    assert_eq!(
        settings.duration.map(|duration| duration.as_secs()),
        Some(30)
    );
    assert_eq!((settings.tier, settings.prometheus), (Tier::Socket, None));
    assert_eq!(demo(&[]).rate, 20);
    assert!(Arguments::try_parse_from(["observer", "demo", "--rate", "0"]).is_err());
}
