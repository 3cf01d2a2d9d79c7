//! The report, letter by letter.

use super::*;
use crate::cli::palette::Palette;

fn report() -> Report {
    Report {
        kernel: "6.18.0".into(),
        chosen: Some("socket"),
        tiers: vec![
            TierReport {
                name: "fentry",
                usable: false,
                why_not: Some("attach: EPERM, the kernel refuses fentry".into()),
            },
            TierReport {
                name: "socket",
                usable: true,
                why_not: None,
            },
            TierReport {
                name: "syscall",
                usable: true,
                why_not: None,
            },
        ],
        findings: vec![
            Finding::ok(
                "kernel type information",
                "/sys/kernel/btf/vmlinux, 5.1 MiB",
            ),
            Finding::lacking(
                "memory lock limit",
                State::Degraded,
                "it cannot be raised",
                "grant CAP_SYS_RESOURCE",
            ),
        ],
    }
}

#[test]
fn text_says_verdict_tiers_findings_and_remedies() {
    assert_eq!(
        report().text(Palette::PLAIN),
        "\
observer can trace on this machine, with tier socket. Kernel 6.18.0.

Capture tiers, best first
  no        fentry                    attach: EPERM, the kernel refuses fentry
  chosen    socket
  usable    syscall

What was looked at
  ok        kernel type information   /sys/kernel/btf/vmlinux, 5.1 MiB
  degraded  memory lock limit         it cannot be raised
                                      → grant CAP_SYS_RESOURCE
"
    );
}

#[test]
fn json_has_the_same_and_the_verdict() {
    let value: serde_json::Value = serde_json::from_str(&report().json()).unwrap();
    assert_eq!(value["can_trace"], true);
    assert_eq!(value["chosen"], "socket");
    assert_eq!(
        value["tiers"][0]["why_not"],
        "attach: EPERM, the kernel refuses fentry"
    );
    assert_eq!(value["tiers"][1]["why_not"], serde_json::Value::Null);
    assert_eq!(value["findings"][1]["state"], "degraded");
}

#[test]
fn a_machine_that_allows_nothing_is_told_so() {
    let report = Report {
        chosen: None,
        ..report()
    };
    assert!(!report.can_trace());
    assert!(
        report
            .text(Palette::PLAIN)
            .starts_with("observer cannot trace on this machine. Kernel 6.18.0.\n")
    );
    assert!(report.json().contains("\"can_trace\":false"));
}
