//! `deploy/systemd/observer.service`: hardened, and enough to trace.
#![allow(clippy::unwrap_used, reason = "tests panic, they don't return errors")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use observer_tests::{Environment, Folder, Observer, Server, get, patience};

/// The user that it runs as here: any that is not root. (The unit's own exists only while a manager runs it.)
const USER: u32 = 65534;

/// Most that the unit may be exposed, in tenths of `systemd-analyze security`'s points.
const EXPOSURE: u32 = 25;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn unit() -> String {
    fs::read_to_string(root().join("deploy/systemd/observer.service")).unwrap()
}

/// The one value of a key of the unit.
fn value(key: &str) -> String {
    let unit = unit();
    let mut values = unit
        .lines()
        .filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let value = values.next().unwrap_or_else(|| panic!("no {key}="));
    assert_eq!(values.next(), None, "{key}= stands twice");
    value.to_owned()
}

/// The unit's capabilities, as setpriv names them.
fn capabilities() -> Vec<String> {
    let words = value("AmbientCapabilities");
    let named = words.split_whitespace();
    named
        .map(|name| name.strip_prefix("CAP_").unwrap().to_lowercase())
        .collect()
}

/// The daemon as the unit starts it: another user, no more than these capabilities, none to be had by a file.
fn with(environment: &Environment, capabilities: &[String]) -> Command {
    let set: String = capabilities
        .iter()
        .map(|name| format!(",+{name}"))
        .collect();
    let mut command = Command::new("setpriv");
    command
        .args([&format!("--reuid={USER}"), &format!("--regid={USER}")])
        .args(["--clear-groups", "--no-new-privs"])
        .arg(format!("--bounding-set=-all{set}"))
        .arg(format!("--inh-caps=-all{set}"))
        .arg(format!("--ambient-caps=-all{set}"))
        .arg(environment.binary());
    command
}

#[test]
fn the_unit_is_hardened() {
    let Some(_environment) = Environment::enter() else {
        return;
    };
    let output = Command::new("systemd-analyze")
        .args(["security", "--offline=yes", "--no-pager"])
        .arg(format!("--threshold={EXPOSURE}"))
        .arg(root().join("deploy/systemd/observer.service"))
        .output()
        .unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{report}{output:?}");
    assert!(report.contains("Overall exposure level"), "{report}");
}

#[test]
fn what_the_unit_gives_is_enough_to_trace_and_the_manager_hears_of_it() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    assert_eq!(value("Type"), "notify");
    assert_eq!(value("NoNewPrivileges"), "yes");
    assert_eq!(value("CapabilityBoundingSet"), value("AmbientCapabilities"));
    let folder = Folder::new();
    let server = Server::nginx(&folder);
    let heard = folder.path().join("notify");
    let manager = UnixDatagram::bind(&heard).unwrap();
    fs::set_permissions(&heard, fs::Permissions::from_mode(0o666)).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    manager.set_read_timeout(Some(patience())).unwrap();
    // As it is installed: for root only, so that keys may stand in it.
    let example = fs::read(root().join("docs/observer.example.yaml")).unwrap();
    let configuration = folder.file("observer.yaml", example);
    fs::set_permissions(&configuration, fs::Permissions::from_mode(0o600)).unwrap();

    let port = format!("--port={}", server.port());
    let arguments = ["--config", configuration.to_str().unwrap(), &port];
    let observer = Observer::launched(with(&environment, &capabilities()), &arguments, |command| {
        command.env("NOTIFY_SOCKET", &heard).env(
            "WATCHDOG_USEC",
            Duration::from_secs(2).as_micros().to_string(),
        );
    });
    let hear = || {
        let mut datagram = [0; 256];
        let length = manager.recv(&mut datagram).unwrap();
        String::from_utf8_lossy(&datagram[..length]).into_owned()
    };
    let ready = hear();
    assert!(
        ready.starts_with("READY=1\nSTATUS=capturing, tier "),
        "{ready}"
    );
    assert_eq!(hear(), "WATCHDOG=1");
    assert_eq!(hear(), "WATCHDOG=1");
    let status = fs::read_to_string(format!("/proc/{}/status", observer.pid())).unwrap();
    for line in [format!("Uid:\t{USER}\t"), "NoNewPrivs:\t1\n".to_owned()] {
        assert!(status.contains(&line), "{status}");
    }
    get(server.port(), "/unit").unwrap();
    observer.page_with(1);
    let spans = observer.stop();
    assert_eq!(spans.len(), 1, "{spans:?}");
    assert_eq!((spans[0].path(), spans[0].service()), ("/unit", "nginx"));
    let rest = || manager.recv(&mut [0; 256]).is_ok();
    let mut last = hear();
    while last == "WATCHDOG=1" {
        last = hear();
    }
    assert!(last.starts_with("STOPPING=1\n"), "{last}");
    manager.set_nonblocking(true).unwrap();
    assert!(!rest(), "nothing follows");
}

#[test]
fn without_one_of_them_it_says_which_and_ends() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let all = capabilities();
    assert_eq!(all.len(), 4, "{all:?}");
    for missing in &all {
        let rest: Vec<String> = all.iter().filter(|it| *it != missing).cloned().collect();
        let output = with(&environment, &rest)
            .args(["run", "--prometheus=off", "--duration=1s"])
            .output()
            .unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{missing}: {message}");
        for name in &all {
            let line = format!("\n  CAP_{} ", name.to_uppercase());
            assert_eq!(message.contains(&line), name == missing, "{message}");
        }
    }
}
