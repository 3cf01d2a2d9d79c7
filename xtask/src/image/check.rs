//! The image in a container: does it trace, with exactly what the chart gives it?
//!
//! runc runs it from the layout: root with four capabilities and no way to more, a root file system that is read-only, the
//! host's process ids, the paths of `/proc` and `/sys` masked that Kubernetes masks.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::bench::{Nginx, Page, free_address};
use crate::{command, debian, workspace};

/// Requests that are sent, each of which must be counted.
const REQUESTS: usize = 20;

/// How long anything may take here.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the image of a layout and compares what it counts with what was sent.
///
/// # Errors
/// When the layout is broken, runc is missing, or the daemon does not trace.
pub(super) fn run(layout: &Path, work: &Path) -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "`--check` runs a container that loads kernel programs: it needs root"
    );
    debian::install(&[("runc", "runc"), ("nginx", "nginx-light")])?;
    let bundle = work.join("bundle");
    let configuration = unpack(layout, &bundle.join("rootfs"))?;
    let page = free_address()?;
    let nginx = Nginx::start(false)?;
    // By name, since an executable that is linked statically must find addresses without the host's library.
    let collector = TcpListener::bind("127.0.0.1:0")?;
    collector.set_nonblocking(true)?;
    let arguments = [
        format!("--port={}", nginx.address.port()),
        format!("--prometheus={page}"),
        format!(
            "--otlp-endpoint=http://localhost:{}",
            collector.local_addr()?.port()
        ),
    ];
    let specification = specification(&configuration, &arguments, &capabilities()?);
    fs::write(bundle.join("config.json"), specification.to_string())?;
    let container = Container::start(&bundle)?;
    wait("the container is ready", || {
        ask(page, "/readyz").is_ok_and(|it| it.starts_with("HTTP/1.1 200"))
    })?;
    for _ in 0..REQUESTS {
        ask(nginx.address, "/")?;
    }
    let counted = |page: &Page| -> f64 {
        page.family("http_server_request_duration_seconds_count")
            .filter(|(labels, _)| labels.contains("nginx"))
            .map(|(_, value)| value)
            .sum()
    };
    let mut last = 0.0;
    wait("every request is counted", || {
        last = Page::fetch(page).map_or(0.0, |page| counted(&page));
        last >= REQUESTS as f64
    })
    .with_context(|| format!("{last} of {REQUESTS} requests are counted"))?;
    ensure!(last == REQUESTS as f64, "{last} requests for {REQUESTS}");
    wait("the collector, named localhost, is found", || {
        collector.accept().is_ok()
    })?;
    container.stop()?;
    eprintln!(
        "the image traced {REQUESTS} of {REQUESTS} requests in a container with the chart's capabilities"
    );
    Ok(())
}

/// Unpacks all layers, and gives the image's configuration.
fn unpack(layout: &Path, root: &Path) -> Result<Value> {
    fs::create_dir_all(root)?;
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().unwrap_or_default();
        layout.join("blobs").join(digest.replace(':', "/"))
    };
    let parse = |path: &Path| -> Result<Value> {
        let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        Ok(serde_json::from_slice(&bytes)?)
    };
    let index = parse(&layout.join("index.json"))?;
    let manifest = parse(&blob(&index["manifests"][0]))?;
    for layer in manifest["layers"].as_array().into_iter().flatten() {
        command::run(
            Command::new("tar")
                .arg("-xzpf")
                .arg(blob(layer))
                .arg("-C")
                .arg(root),
        )?;
    }
    Ok(parse(&blob(&manifest["config"]))?["config"].clone())
}

/// Those of the manifests that `observer install kubernetes` prints.
fn capabilities() -> Result<Vec<String>> {
    let path = workspace::root().join("deploy/kubernetes/observer.yaml");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let mut lines = text
        .lines()
        .map(str::trim)
        .skip_while(|line| *line != "add:");
    lines.next().context("the manifests add no capability")?;
    let added = lines.map_while(|line| line.strip_prefix("- "));
    Ok(added.map(|name| format!("CAP_{name}")).collect())
}

/// What runc is to do, as containerd would say it for the chart's pod; but for the network, which is the host's here.
fn specification(configuration: &Value, arguments: &[String], capabilities: &[String]) -> Value {
    let list = |key: &str| configuration[key].as_array().cloned().unwrap_or_default();
    let mut words = list("Entrypoint");
    words.extend(list("Cmd"));
    words.extend(arguments.iter().map(|it| Value::from(it.as_str())));
    let read_only = |place: &str| json!({"destination": place, "source": place, "type": "bind", "options": ["bind", "ro", "nosuid", "nodev"]});
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": words,
            "env": configuration["Env"],
            "cwd": configuration["WorkingDir"],
            "noNewPrivileges": true,
            "capabilities": {
                "bounding": capabilities,
                "effective": capabilities,
                "permitted": capabilities,
            },
        },
        "root": {"path": "rootfs", "readonly": true},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
            read_only("/etc/resolv.conf"),
            read_only("/etc/hosts"),
        ],
        "linux": {
            // Not the process ids: what runs on the node is what it looks at.
            "namespaces": [{"type": "mount"}, {"type": "uts"}, {"type": "ipc"}],
            "maskedPaths": [
                "/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}

/// A container that runs; killed and deleted when dropped.
struct Container {
    name: String,
    child: Child,
}

impl Container {
    fn start(bundle: &Path) -> Result<Self> {
        let name = format!("observer-check-{}", std::process::id());
        let child = Command::new("runc")
            .arg("run")
            .arg("--bundle")
            .arg(bundle)
            .arg(&name)
            .stdin(Stdio::null())
            .spawn()
            .context("starting runc")?;
        Ok(Self { name, child })
    }

    /// SIGTERM, upon which it ends with success.
    fn stop(mut self) -> Result<()> {
        command::run(Command::new("runc").args(["kill", &self.name, "TERM"]))?;
        let mut status = None;
        wait("the container ends", || {
            status = self.child.try_wait().ok().flatten();
            status.is_some()
        })?;
        match status {
            Some(status) if status.success() => Ok(()),
            status => bail!("the container ended with {status:?}"),
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = command::succeeds(Command::new("runc").args(["delete", "--force", &self.name]));
        let _ = self.child.wait();
    }
}

/// One request on a connection of its own; the whole answer.
fn ask(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

fn wait(what: &str, mut is_so: impl FnMut() -> bool) -> Result<()> {
    let began = Instant::now();
    while !is_so() {
        ensure!(began.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_capabilities_are_those_of_the_service() {
        let unit = workspace::root().join("deploy/systemd/observer.service");
        let unit = fs::read_to_string(unit).unwrap();
        let line = unit
            .lines()
            .find_map(|line| line.strip_prefix("AmbientCapabilities="));
        let mut service: Vec<&str> = line.unwrap().split_whitespace().collect();
        let mut chart = capabilities().unwrap();
        service.sort_unstable();
        chart.sort_unstable();
        assert_eq!(chart, service);
        assert_eq!(chart.len(), 4);
    }
}
