//! What is not accepted names file, line and the accepted form.

use super::*;

fn complaint(text: &str) -> String {
    File::parse(Path::new("observer.yaml"), text)
        .unwrap_err()
        .to_string()
}

#[test]
fn an_unknown_key_names_file_line_and_what_is_known() {
    assert_eq!(
        complaint("tier: auto\nporst: [80]\n"),
        "observer.yaml:2:1: unknown field `porst`, expected one of select, tier, duration, print, prometheus, otlp, spans, metrics, dns, tls, inject_headers, tcp_option, kubernetes, resource, limits, log"
    );
    assert_eq!(
        complaint("select:\n  port: 80\n"),
        "observer.yaml:2:3: unknown field `port`, expected one of pids, exe, exclude_exe, ports"
    );
}

#[test]
fn a_wrong_type_names_line_and_accepted_form() {
    assert_eq!(
        complaint("select:\n  ports: 80\n"),
        "observer.yaml:2:10: expected a list: write [a, b], or one `- value` a line"
    );
    assert_eq!(
        complaint("limits: 5\n"),
        "observer.yaml:1:9: expected a section: write its keys below it, indented, as `key: value`"
    );
    assert_eq!(
        complaint("tier: [auto]\n"),
        "observer.yaml:1:7: expected a single value: write `key: value`"
    );
}

#[test]
fn an_impossible_value_names_line_and_accepted_form() {
    assert_eq!(
        complaint("select:\n  ports:\n    - 80\n    - 90-80\n"),
        "observer.yaml:4:7: `90-80` is not a port or a range of ports: write N or N-M with 1 <= N <= M <= 65535, e.g. 8080 or 8000-8100"
    );
    assert_eq!(
        complaint("limits:\n  ring_bytes: 3MiB\n"),
        "observer.yaml:2:15: `3MiB` is not a ring size: write a power of two from 64KiB to 256MiB, e.g. 4MiB"
    );
    assert_eq!(
        complaint("spans: {rate: -1}"),
        "observer.yaml:1:15: `-1` is not a span rate: write spans a second from 0 to 1000000, e.g. 200; or unlimited"
    );
}

#[test]
fn a_key_written_twice_is_refused() {
    assert_eq!(
        complaint("tier: auto\ntier: socket\n"),
        "observer.yaml:2:1: duplicate mapping key: tier: write each key once"
    );
}

#[test]
fn headers_and_resource_attributes_are_checked() {
    let message = complaint("otlp:\n  headers:\n    ok: fine\n    \"a b\": x\n");
    assert!(
        message.starts_with("observer.yaml:4:1: `a b` is not a header: write"),
        "{message}"
    );
    let message = complaint("otlp:\n  headers:\n    key: \"a\\nb\"\n");
    assert!(
        message.starts_with("observer.yaml:3:1: `key` is not a header"),
        "{message}"
    );
    let message = complaint("resource:\n  service.name: all\n");
    assert!(
        message.starts_with("observer.yaml:2:1: `service.name` cannot be set"),
        "{message}"
    );
}

#[test]
fn hostile_text_is_an_error_with_a_place_and_never_a_panic() {
    let deep = "[".repeat(100_000);
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: [*b,*b,*b,*b,*b,*b]\n";
    for text in [
        deep.as_str(),
        bomb,
        "\u{0}",
        "%",
        "- a",
        "tier: !!binary x",
        "? ",
        "a: b: c",
        "'",
        "select: {ports: [*x]}",
        "tier: auto\n---\ntier: socket\n",
    ] {
        let message = complaint(text);
        assert!(message.starts_with("observer.yaml:"), "{message}");
        assert!(
            !message.starts_with("observer.yaml:0"),
            "{text:.20?} {message}"
        );
    }
}

#[test]
fn an_empty_file_and_empty_sections_say_nothing() {
    for text in ["", "# only a comment\n", "select:\nlimits:\n", "{}"] {
        let file = File::parse(Path::new("observer.yaml"), text).unwrap();
        assert_eq!(file.tier, None);
        assert_eq!(file.select.unwrap_or_default(), SelectSection::default());
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let message = File::read(Path::new("/nonexistent/observer.yaml"))
        .unwrap_err()
        .to_string();
    assert_eq!(
        message,
        "cannot read the configuration file /nonexistent/observer.yaml: No such file or directory (os error 2)"
    );
}
