//! Bytes that lie in files.

use observer_tests::Client;

use crate::behaviour::{Behaviour, Drive, assert_exact};
use crate::stage::{LARGE, Stage};

pub(crate) const BEHAVIOURS: &[Behaviour] = &[
    Behaviour {
        name: "sendfile",
        drive: sendfile,
    },
    Behaviour {
        name: "send from cold pages",
        drive: cold,
    },
];

/// Answers that lie in pages which the process never touched: nothing can be read there before the kernel has.
fn cold(stage: &Stage) -> Drive {
    let server = stage.raw["cold"].as_ref().unwrap();
    let port = server.port();
    let mut client = Client::connect(port).unwrap();
    let paths: Vec<String> = (0..10).map(|number| format!("/cold/{number}")).collect();
    for path in &paths {
        assert_eq!(client.request("GET", path, "").unwrap().status, 200);
    }
    Drive::check(paths.len(), move |evidence| {
        assert_exact(&evidence.served(port, "/"), &paths, 200);
    })
}

/// nginx sends a small and a large file, then answers from memory on the same connection.
fn sendfile(stage: &Stage) -> Drive {
    let port = stage.nginx.port();
    let mut client = Client::connect(port).unwrap();
    let paths = ["/index.html", "/large", "/status/200"].map(str::to_owned);
    for (path, size) in paths.iter().zip([612, LARGE, 0]) {
        let answer = client.request("GET", path, "").unwrap();
        assert_eq!((answer.status, answer.body.len()), (200, size));
    }
    Drive::check(paths.len(), move |evidence| {
        let all = evidence.served(port, "/");
        let spans: Vec<_> = all
            .into_iter()
            .filter(|span| span.status_code() == Some(200))
            .collect();
        assert_exact(&spans, &paths, 200);
        assert_eq!(spans[1].attribute("http.response.body.size"), LARGE);
    })
}
