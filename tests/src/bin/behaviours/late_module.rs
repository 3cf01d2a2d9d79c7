//! A daemon that is there before the kernel's module for TLS: its hooks follow when that comes.

use std::fs::File;
use std::os::fd::AsFd as _;

use observer_tests::{Environment, Observer, until};
use rustix::io::Errno;
use rustix::system::{delete_module, finit_module};

use crate::attempt;
use crate::behaviour::assert_exact;
use crate::kernel_tls::Secure;
use crate::report::{Outcome, Report};

const NAME: &str = "kernel TLS whose module comes later";

/// Where `cargo xtask vm` leaves the module.
const FILE: &str = "/run/modules/tls.ko";
const REQUESTS: usize = 20;
const FIRST: usize = 7000;

/// Takes the module out, starts a daemon, and puts it back.
pub(crate) fn run(
    environment: &Environment,
    is_wanted: &dyn Fn(&str) -> bool,
    report: &mut Report,
) {
    if !is_wanted(NAME) {
        return;
    }
    let Ok(file) = File::open(FILE) else {
        let reason = "the module is not at hand, or the kernel has it built in";
        report.say(NAME, &Outcome::Skip(reason.to_owned()));
        return;
    };
    // Python asks whether it is of use here.
    if let Err(reason) = Secure::prepare() {
        report.say(NAME, &Outcome::Skip(reason));
        return;
    }
    let late = attempt(|| late(environment, &file));
    report.say(NAME, &late.map_or_else(Outcome::Fail, |()| Outcome::Pass));
}

fn late(environment: &Environment, file: &File) {
    // The last socket that used it may be waiting for its end.
    until("the module can be taken out", || {
        match delete_module(c"tls", 0) {
            Ok(()) | Err(Errno::NOENT) => Some(()),
            Err(_) => None,
        }
    });
    let observer = Observer::start(environment, &["--exe=python3*", "--span-rate=unlimited"]);
    finit_module(file.as_fd(), c"", 0).unwrap();
    let secure = Secure::start().unwrap();
    let server = secure.server();
    until("kernel TLS is read", || {
        assert_eq!(secure.get(server, &["/bytes/0".to_owned()]), "200 0\n");
        (observer.page().served(&["url_scheme=\"https\""]) > 0).then_some(())
    });
    // Sizes of a beginning of their own.
    let paths: Vec<String> = (0..REQUESTS)
        .map(|number| format!("/bytes/{}", FIRST + number))
        .collect();
    secure.get(server, &paths);
    // At least these: those of the attempts before may be among them.
    observer.settled_page(REQUESTS as u64);
    let spans = observer.stop();
    let port = server.port();
    let served = spans.iter().filter(|span| {
        span.kind() == "server"
            && span.attribute("server.port") == port
            && span.path().starts_with("/bytes/70")
    });
    let served: Vec<_> = served.collect();
    assert_exact(&served, &paths, 200);
}
