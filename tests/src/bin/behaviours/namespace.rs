//! Another network namespace, with a loopback of its own on which the same port means another server.

use std::fs::File;
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::AsFd;
use std::process::Command;

use observer_tests::{Client, Folder, Server};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::behaviour::{Behaviour, Drive};
use crate::stage::Stage;

pub(crate) const BEHAVIOURS: &[Behaviour] = &[Behaviour {
    name: "network namespaces",
    drive: namespaces,
}];

/// Starts nginx in a namespace of its own; the error is why there can be none.
pub(crate) fn nginx(folder: &Folder, port: u16) -> Result<Server, String> {
    may_unshare(&["--net"])?;
    let plain = observer_tests::nginx(folder, port);
    let mut command = Command::new("unshare");
    command
        .args([
            "--net",
            "sh",
            "-c",
            "ip link set lo up && exec \"$@\"",
            "sh",
        ])
        .arg(plain.get_program())
        .args(plain.get_args());
    // It is ready when its master has written the file.
    let id = folder.path().join("nginx.pid");
    let ready = || std::fs::read_to_string(&id).is_ok_and(|pid| !pid.is_empty());
    Ok(Server::start_when(&mut command, port, ready))
}

/// Whether there may be such namespaces; the error is why not.
pub(crate) fn may_unshare(kinds: &[&str]) -> Result<(), String> {
    match Command::new("unshare").args(kinds).arg("true").output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(format!("unshare: {error}")),
    }
}

/// Does something in the network namespace of this process: a thread can be in another one than its own.
pub(crate) fn within<T: Send>(pid: u32, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let done = scope.spawn(|| {
            let place = File::open(format!("/proc/{pid}/ns/net")).unwrap();
            let network = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(place.as_fd(), network).unwrap();
            work()
        });
        done.join().unwrap()
    })
}

fn namespaces(stage: &Stage) -> Drive {
    let elsewhere = match &stage.elsewhere {
        Ok(server) => server,
        Err(reason) => return Drive::Skip(reason.clone()),
    };
    let port = elsewhere.port();
    let ask = |status: u64, times: usize| {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        let mut client = Client::over(stream).unwrap();
        for _ in 0..times {
            let answer = client
                .request("GET", &format!("/status/{status}"), "")
                .unwrap();
            assert_eq!(u64::from(answer.status), status);
        }
    };
    within(elsewhere.pid(), || ask(404, 7));
    ask(503, 5);
    Drive::check(12, move |evidence| {
        for (status, count) in [(404, 7), (503, 5)] {
            let spans = evidence.served(port, &format!("/status/{status}"));
            assert_eq!(spans.len(), count, "{spans:?}");
            for span in spans {
                assert_eq!(span.status_code(), Some(status));
                assert!(!span.is_incomplete(), "{span:?}");
            }
        }
    })
}
