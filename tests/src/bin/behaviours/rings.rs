//! io_uring: bytes that move outside of the system calls for sockets.

use observer_tests::Client;

use crate::behaviour::{Behaviour, Drive, assert_exact};
use crate::stage::Stage;

/// The ways of `raw_server` that use a ring.
pub(crate) const WAYS: [&str; 8] = [
    "ring",
    "multishot",
    "fixed",
    "poll",
    "array",
    "worker",
    "pair",
    "chain",
];

pub(crate) const BEHAVIOURS: &[Behaviour] = &[
    Behaviour {
        name: "io_uring recv, send",
        drive: |stage| ring(stage, "ring"),
    },
    Behaviour {
        name: "io_uring multishot recv",
        drive: |stage| ring(stage, "multishot"),
    },
    Behaviour {
        name: "io_uring fixed buffers",
        drive: |stage| ring(stage, "fixed"),
    },
    Behaviour {
        name: "io_uring SQPOLL",
        drive: |stage| ring(stage, "poll"),
    },
    Behaviour {
        name: "io_uring arrays of buffers",
        drive: |stage| ring(stage, "array"),
    },
    Behaviour {
        name: "io_uring worker threads",
        drive: |stage| ring(stage, "worker"),
    },
    Behaviour {
        name: "io_uring two receives at once",
        drive: |stage| ring(stage, "pair"),
    },
    Behaviour {
        name: "io_uring registered files, chains",
        drive: |stage| ring(stage, "chain"),
    },
];

fn ring(stage: &Stage, way: &'static str) -> Drive {
    let server = match &stage.raw[way] {
        Ok(server) => server,
        Err(reason) => return Drive::Skip(reason.clone()),
    };
    let (port, pid) = (server.port(), server.pid());
    let mut client = Client::connect(port).unwrap();
    let paths: Vec<String> = (0..10).map(|number| format!("/{way}/{number}")).collect();
    for path in &paths {
        assert_eq!(client.request("GET", path, "").unwrap().status, 200);
    }
    // No part of the count: tiers differ.
    Drive::check(0, move |evidence| {
        let spans = evidence.served(port, "/");
        assert_exact(&spans, &paths, 200);
        // Whoever the kernel had move the bytes, they are this process's.
        for span in spans {
            assert_eq!(span.service(), "raw_server", "{span:?}");
        }
        let pid = format!("process_pid=\"{pid}\"");
        assert!(evidence.page.sum("target_info", &[&pid]) >= 1.0, "no {pid}");
    })
}
