//! The package for Fedora, RHEL, SUSE and what comes of them, by `rpmbuild`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::source::Source;
use super::tree::{self, File};
use crate::command;

/// Makes the package in `out`.
///
/// # Errors
/// When `rpmbuild` fails.
pub(super) fn make(source: &Source, files: &[File], work: &Path, out: &Path) -> Result<PathBuf> {
    let folder = work.join("rpm");
    let tree = folder.join("tree");
    tree::lay(&tree, files, source)?;
    let description = folder.join("observer.spec");
    fs::write(&description, specification(source, files))?;
    let made = folder.join("made");
    let database = folder.join("database");
    let defines = [
        format!("_topdir {}", folder.display()),
        format!("_rpmdir {}", made.display()),
        format!("_dbpath {}", database.display()),
        format!("observer_tree {}", tree.display()),
        "_build_name_fmt %{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}.rpm".to_owned(),
        // The same bytes again: no time and no name of the machine, one thread.
        "_buildhost localhost".to_owned(),
        "use_source_date_epoch_as_buildtime 1".to_owned(),
        "clamp_mtime_to_source_date_epoch 1".to_owned(),
        "_binary_payload w6.gzdio".to_owned(),
        // The executable is packaged as it is.
        "debug_package %{nil}".to_owned(),
        "__os_install_post %{nil}".to_owned(),
        "_build_id_links none".to_owned(),
    ];
    let mut build = Command::new("rpmbuild");
    build.args(["-bb", "--quiet", "--target", "x86_64-linux"]);
    for define in &defines {
        build.args(["--define", define]);
    }
    build.arg("--buildroot").arg(folder.join("root"));
    command::run(
        build
            .arg(&description)
            .env("SOURCE_DATE_EPOCH", source.epoch.to_string()),
    )?;
    let name = format!("observer-{}-1.x86_64.rpm", source.version);
    let package = out.join(&name);
    fs::copy(made.join(&name), &package).with_context(|| format!("rpmbuild made no {name}"))?;
    Ok(package)
}

fn specification(source: &Source, files: &[File]) -> String {
    let mut places: Vec<String> = files
        .iter()
        .map(|file| {
            let kind = if file.place.starts_with("etc/") {
                "%config(noreplace) "
            } else if file.place.starts_with("usr/share/doc/") {
                "%doc "
            } else {
                ""
            };
            format!(
                "%attr({:04o}, root, root) {kind}/{}\n",
                file.mode, file.place
            )
        })
        .collect();
    places.sort_unstable();
    format!(
        "Name: observer
Version: {version}
Release: 1
Summary: Traces services that carry no instrumentation
License: MIT OR Apache-2.0
Recommends: ca-certificates

%description
Kernel programs see the bytes that processes exchange over sockets; a daemon
makes spans, traces and metrics of them, as OTLP and for Prometheus.

%install
mkdir -p %{{buildroot}}
cp -a %{{observer_tree}}/. %{{buildroot}}/

# Nothing is started or enabled by an installation: who wants it says `systemctl enable --now observer`.
%post
if [ -d /run/systemd/system ]; then systemctl daemon-reload || :; fi

%preun
if [ $1 -eq 0 ] && [ -d /run/systemd/system ]; then systemctl disable --now observer.service || :; fi

# After an upgrade, what ran runs on as the new one.
%postun
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || :
    if [ $1 -ge 1 ]; then systemctl try-restart observer.service || :; fi
fi

%files
%dir %attr(0755, root, root) /etc/observer
%dir %attr(0755, root, root) /usr/share/doc/observer
{places}",
        version = source.version,
        places = places.concat()
    )
}
