//! An image that several containers run has each breakpoint once, whatever overlay it is seen through.
#![allow(clippy::unwrap_used, reason = "tests panic, they don't return errors")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use observer_tests::{
    Client, Counting, Environment, Folder, Observer, Server, free_port, nginx, until,
};

/// nginx's file in one layer, and overlays that show it.
struct Image {
    folder: Folder,
    mounts: Vec<PathBuf>,
}

impl Image {
    fn new() -> Self {
        let folder = Folder::new();
        for name in ["layer", "empty"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let image = Self {
            folder,
            mounts: Vec::new(),
        };
        image.copy_nginx_to(&image.folder.path().join("layer/nginx"));
        image
    }

    fn copy_nginx_to(&self, to: &Path) {
        let found = Command::new("which").arg("nginx").output().unwrap();
        fs::copy(String::from_utf8(found.stdout).unwrap().trim(), to).unwrap();
    }

    /// nginx as a new overlay shows it.
    fn mount(&mut self) -> PathBuf {
        let at = self
            .folder
            .path()
            .join(format!("mount{}", self.mounts.len()));
        fs::create_dir(&at).unwrap();
        let layers = ["layer", "empty"].map(|name| self.folder.path().join(name));
        let [layer, empty] = layers.map(|path| path.display().to_string());
        let status = Command::new("mount")
            .args(["-t", "overlay", "overlay", "-o"])
            .arg(format!("lowerdir={layer}:{empty}"))
            .arg(&at)
            .status();
        assert!(status.unwrap().success());
        self.mounts.push(at.clone());
        at.join("nginx")
    }

    /// nginx in a file of its own.
    fn copy(&self) -> PathBuf {
        let folder = self.folder.path().join("copy");
        fs::create_dir(&folder).unwrap();
        self.copy_nginx_to(&folder.join("nginx"));
        folder.join("nginx")
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        for mount in &self.mounts {
            let _ = Command::new("umount").arg("-l").arg(mount).status();
        }
    }
}

/// A server from this file, with what it serves in a folder of its own.
fn serve(program: &Path) -> (Server, Folder) {
    let folder = Folder::new();
    let port = free_port();
    let template = nginx(&folder, port);
    let mut command = Command::new(program);
    command.args(template.get_args());
    (Server::start(&mut command, port), folder)
}

/// How often nginx's loop met a breakpoint while it served a hundred requests.
fn hits(observer: &Observer, server: &Server) -> u64 {
    let before = observer.runs("loop_turned");
    let mut client = Client::connect(server.port()).unwrap();
    for _ in 0..100 {
        assert_eq!(client.request("GET", "/", "").unwrap().status, 200);
    }
    observer.runs("loop_turned") - before
}

fn observe(environment: &Environment, servers: &[&Server]) -> Observer {
    let ports: Vec<String> = servers
        .iter()
        .map(|server| format!("--port={}", server.port()))
        .collect();
    let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
    let observer = Observer::start(environment, &ports);
    for server in servers {
        until("the server's runtime is known", || {
            observer.knows_runtime_of(server.pid()).then_some(())
        });
    }
    observer
}

#[test]
fn one_image_in_several_containers_has_each_breakpoint_once_and_a_copy_has_its_own() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let _counting = Counting::new();
    let mut image = Image::new();
    let (first, _html) = serve(&image.mount());
    let observer = observe(&environment, &[&first]);
    let once = hits(&observer, &first);
    assert!(once >= 100, "{once} hits for a hundred requests");
    drop(observer);

    let (second, _html) = serve(&image.mount());
    let (third, _html) = serve(&image.mount());
    let (copied, _html) = serve(&image.copy());
    let observer = observe(&environment, &[&first, &second, &third, &copied]);
    for server in [&first, &second, &third, &copied] {
        let hits = hits(&observer, server);
        // One more or less is chance: the last answer's iteration may end after the count was read.
        assert!(
            hits.abs_diff(once) <= once / 10,
            "{hits} hits, {once} with one container"
        );
    }
}
