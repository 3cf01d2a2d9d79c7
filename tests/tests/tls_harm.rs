//! Who speaks TLS comes first: breakpoints that come and go, and a daemon that is killed, fail no handshake and no request.
#![allow(clippy::unwrap_used, reason = "tests panic, they don't return errors")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use observer_tests::{
    Certificate, Environment, Folder, InKernel, Observer, Page, Server, left_in_kernel, until,
};

/// Times that the breakpoints come and go.
const ROUNDS: usize = 4;

fn hits(page: &Page) -> f64 {
    page.sum("observer_kernel_events", &["event=\"tls_key_point_hits\""])
}

/// `programs/tls_load.py` in four threads against a server's `/bytes/1000`, until its stdin is closed.
fn load(mut python: Command, certificate: &Certificate, server: &Server) -> Command {
    python
        .arg(Environment::programs().join("tls_load.py"))
        .arg(certificate.path())
        .arg(format!("https://localhost:{}/bytes/1000", server.port()))
        .arg("4")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    python
}

/// A command under a filter of system calls, as in a build of an image.
fn under_seccomp(program: &Path) -> Command {
    let mut command = Command::new("python3");
    command
        .arg(Environment::programs().join("under_seccomp.py"))
        .arg(program);
    command
}

/// Runs `load` while `meanwhile` happens: the answers that it got.
fn while_loaded(mut load: Command, meanwhile: impl FnOnce()) -> usize {
    let mut child = load.spawn().unwrap();
    meanwhile();
    drop(child.stdin.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    String::from_utf8(output.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}

/// Says to stop when it drops: a test that fails must not wait for what goes on until then.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Daemons come and go, each killed or ended once it saw secrets pass: all that they had in the kernel.
fn come_and_go(environment: &Environment, killed: bool) -> InKernel {
    let mut all = InKernel::new();
    for _ in 0..ROUNDS {
        let observer = Observer::start(environment, &[]);
        let before = hits(&observer.page());
        until("secrets pass", || {
            (hits(&observer.page()) > before + 20.0).then_some(())
        });
        all.extend(observer.in_kernel());
        if killed {
            observer.kill();
        } else {
            observer.stop();
        }
    }
    all
}

/// A wheel of a package with a dependency on nothing, to be installed.
fn wheel(folder: &Folder) -> PathBuf {
    let project = folder.path().join("project");
    fs::create_dir_all(project.join("harmless")).unwrap();
    fs::write(project.join("harmless/__init__.py"), "HARM = None\n").unwrap();
    let script = "import sys, zipfile\n\
        wheel = zipfile.ZipFile(sys.argv[1], 'w')\n\
        wheel.write('harmless/__init__.py')\n\
        info = 'harmless-1.0.dist-info/'\n\
        wheel.writestr(info + 'METADATA', 'Metadata-Version: 2.1\\nName: harmless\\nVersion: 1.0\\n')\n\
        wheel.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\n\
        wheel.writestr(info + 'RECORD', 'harmless/__init__.py,,\\n' + ''.join(info + name + ',,\\n' for name in ('METADATA', 'WHEEL', 'RECORD')))\n\
        wheel.close()\n";
    let path = folder.path().join("harmless-1.0-py3-none-any.whl");
    let made = Command::new("python3")
        .args(["-c", script])
        .arg(&path)
        .current_dir(&project)
        .status();
    assert!(made.unwrap().success());
    path
}

#[test]
fn breakpoints_come_and_go_under_filters_threads_and_installations() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let (certificate, folder) = (Certificate::new(), Folder::new());
    let server = Server::nginx_tls(&folder, &certificate, "TLSv1.2 TLSv1.3");
    let wheel = wheel(&folder);
    let url = format!("https://localhost:{}/bytes/1000", server.port());
    let stop = AtomicBool::new(false);
    let (fetched, installed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let again = |count: &AtomicUsize, command: &dyn Fn() -> Command| {
        while !stop.load(Ordering::Relaxed) {
            let output = command().output().unwrap();
            if !output.status.success() {
                stop.store(true, Ordering::Relaxed);
                panic!("{output:?}");
            }
            count.fetch_add(1, Ordering::Relaxed);
        }
    };
    let answers = std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| {
            again(&fetched, &|| {
                let mut curl = under_seccomp(Path::new("curl"));
                curl.args([
                    "--silent",
                    "--show-error",
                    "--fail",
                    "--output",
                    "/dev/null",
                ])
                .arg("--cacert")
                .arg(certificate.path().join("cert.pem"))
                .arg(&url);
                curl
            });
        });
        scope.spawn(|| {
            again(&installed, &|| {
                let mut pip = under_seccomp(&environment.python("pip"));
                pip.args(["install", "--quiet", "--no-index", "--upgrade", "--target"])
                    .arg(folder.path().join("installed"))
                    .arg(&wheel);
                pip
            });
        });
        let threads = load(under_seccomp(Path::new("python3")), &certificate, &server);
        while_loaded(threads, || {
            come_and_go(&environment, false);
        })
    });
    let (fetched, installed) = (fetched.into_inner(), installed.into_inner());
    eprintln!("{answers} answers to threads, {fetched} fetched by curl, {installed} installations");
    assert!(answers > ROUNDS && fetched > ROUNDS && installed > 0);
}

/// The byte at the key point of a program with OpenSSL inside: in a process's memory, and in the file. (Another daemon on this
/// machine may have armed the system's own library.)
fn at_key_point(environment: &Environment, pid: u32) -> (u8, u8) {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let code = maps
        .lines()
        .find(|line| line.ends_with("/nginx") && line.contains(" r-xp "));
    let fields: Vec<&str> = code.unwrap().split_ascii_whitespace().collect();
    let (file, number) = (Path::new(fields[5]), |text| {
        u64::from_str_radix(text, 16).unwrap()
    });
    let output = Command::new(environment.binary())
        .args(["doctor", "--json", "--tls"])
        .arg(file)
        .output()
        .unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let point = report["files"][0]["points"][0]["offset"].as_u64().unwrap();
    let start = number(fields[0].split_once('-').unwrap().0);
    let address = start + point - number(fields[2]);
    let byte = |path: &Path, at| {
        let mut byte = [0];
        File::open(path)
            .unwrap()
            .read_exact_at(&mut byte, at)
            .unwrap();
        byte[0]
    };
    let memory = PathBuf::from(format!("/proc/{pid}/mem"));
    (byte(&memory, address), byte(file, point))
}

#[test]
fn killing_the_daemon_under_tls_fails_no_request_and_leaves_nothing_behind() {
    /// `int3`: what the kernel puts there.
    const BREAKPOINT: u8 = 0xcc;
    let Some(environment) = Environment::enter() else {
        return;
    };
    let (certificate, folder) = (Certificate::new(), Folder::new());
    let server = Server::static_nginx_files(&environment, &certificate, &folder, "TLSv1.2 TLSv1.3");
    // Those of a daemon that ended just now go a little later.
    let is_whole = || {
        let (now, whole) = at_key_point(&environment, server.pid());
        (now == whole).then_some(())
    };
    until("no breakpoint stands", is_whole);
    let threads = load(Command::new("python3"), &certificate, &server);
    let mut all = InKernel::new();
    let answers = while_loaded(threads, || {
        let observer = Observer::start(&environment, &[]);
        until("a breakpoint stands", || {
            (at_key_point(&environment, server.pid()).0 == BREAKPOINT).then_some(())
        });
        all.extend(observer.in_kernel());
        observer.kill();
        all.extend(come_and_go(&environment, true));
    });
    eprintln!("{answers} answers");
    assert!(answers > ROUNDS);
    for kind in ["prog", "map", "link"] {
        assert!(
            all.iter().any(|(its, _)| *its == kind),
            "no {kind} was seen"
        );
    }
    // The kernel frees them after a grace period.
    until("what the daemon had in the kernel is gone", || {
        left_in_kernel(&all).is_empty().then_some(())
    });
    until("the code is as it was", is_whole);
}
