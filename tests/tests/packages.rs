//! `cargo xtask dist`: the packages are what they say, and install.
#![allow(clippy::unwrap_used, reason = "tests panic, they don't return errors")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use observer_tests::{Environment, Folder};

/// Installs a package, looks at it, removes and purges it, with this machine's own tools, below an overlay of this
/// machine's root: nothing of it stays.
const INSTALL: &str = r##"
set -eu
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
mount -t proc proc "$1/root/proc"
cp "$2" "$1/root/observer.deb"
in_it() { chroot "$1/root" sh -euc "$2"; }
in_it "$1" 'dpkg -i /observer.deb
dpkg --verify observer
observer --version
stat -c "%a %U:%G %n" /usr/bin/observer /etc/observer/observer.yaml /usr/lib/systemd/system/observer.service
systemd-analyze verify /usr/lib/systemd/system/observer.service
zcat /usr/share/man/man1/observer-run.1.gz | grep -c otlp
echo "# mine" >> /etc/observer/observer.yaml
dpkg -r observer
test ! -e /usr/bin/observer
tail -n 1 /etc/observer/observer.yaml
dpkg -P observer
test ! -e /etc/observer
echo purged'
"##;

fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{text}{errors}", output.status);
    text
}

fn run(program: &str, arguments: &[&str]) -> String {
    said(&Command::new(program).args(arguments).output().unwrap())
}

/// Makes the packages of the daemon that the tests run.
fn make(environment: &Environment, out: &Path) {
    let mut make = Command::new(environment.xtask());
    make.arg("dist").arg("--binary").arg(environment.binary());
    said(&make.arg("--out").arg(out).output().unwrap());
}

#[test]
fn packages_install_and_leave_and_are_the_same_when_they_are_made_again() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let folder = Folder::new();
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    make(&environment, &first);
    let sums = fs::read_to_string(first.join("SHA256SUMS")).unwrap();
    let names: Vec<&str> = sums.lines().map(|line| &line[66..]).collect();
    assert_eq!(names.len(), 4, "{sums}");
    said(
        &Command::new("sha256sum")
            .args(["--check", "SHA256SUMS"])
            .current_dir(&first)
            .output()
            .unwrap(),
    );
    let named = |ending: &str| {
        let name = names.iter().find(|name| name.ends_with(ending)).unwrap();
        first.join(name).to_str().unwrap().to_owned()
    };

    let place = folder.path().join("installed");
    fs::create_dir(&place).unwrap();
    let install = Command::new("unshare")
        .args(["--mount", "sh", "-c", INSTALL, "sh"])
        .arg(&place)
        .arg(named(".deb"))
        .output()
        .unwrap();
    let installed = said(&install);
    for line in [
        "755 root:root /usr/bin/observer",
        "600 root:root /etc/observer/observer.yaml",
        "644 root:root /usr/lib/systemd/system/observer.service",
        "# mine",
        "purged",
    ] {
        assert!(
            installed.lines().any(|it| it == line),
            "{line}: {installed}"
        );
    }
    let control = run("dpkg-deb", &["-f", &named(".deb")]);
    assert!(control.contains("\nDepends: libc6 (>= 2."), "{control}");

    let rpm = named(".rpm");
    let configuration = run("rpm", &["-qp", "--configfiles", &rpm]);
    assert_eq!(configuration, "/etc/observer/observer.yaml\n");
    let files = run("rpm", &["-qlvp", &rpm]);
    let is_ours = |line: &str| line.contains(" root     root ") && !line.starts_with("-rws");
    assert!(files.lines().all(is_ours), "{files}");
    assert!(
        files.contains("/usr/lib/systemd/system/observer.service"),
        "{files}"
    );
    let tarball = run("tar", &["-tzf", &named(".tar.gz")]);
    assert!(
        tarball.contains("/usr/share/man/man1/observer.1.gz"),
        "{tarball}"
    );

    make(&environment, &second);
    let again = fs::read_to_string(second.join("SHA256SUMS")).unwrap();
    assert_eq!(again, sums);
}
