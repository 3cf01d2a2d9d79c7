//! HTTP as it goes over the wire.

use std::io::Write;

use observer_tests::{Client, get};

use crate::behaviour::{Behaviour, Drive, assert_exact};
use crate::stage::Stage;

pub(crate) const BEHAVIOURS: &[Behaviour] = &[
    Behaviour {
        name: "100-continue",
        drive: interim,
    },
    Behaviour {
        name: "chunked response",
        drive: chunked,
    },
    Behaviour {
        name: "upload",
        drive: upload,
    },
    Behaviour {
        name: "trace context behind 15 KiB",
        drive: long_head,
    },
    Behaviour {
        name: "two sends at once",
        drive: together,
    },
    Behaviour {
        name: "MSG_PEEK",
        drive: peek,
    },
    Behaviour {
        name: "server that never answers",
        drive: unanswered,
    },
];

fn interim(stage: &Stage) -> Drive {
    let port = stage.python.port();
    let mut client = Client::connect(port).unwrap();
    let head =
        b"PUT /status/202 HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    client.stream().write_all(head).unwrap();
    assert_eq!(client.read_response("PUT").unwrap().0, 100);
    client.stream().write_all(b"body").unwrap();
    assert_eq!(client.read_response("PUT").unwrap().0, 202);
    Drive::check(1, move |evidence| {
        let spans = evidence.served(port, "/status/202");
        assert_exact(&spans, &["/status/202".to_owned()], 202);
    })
}

fn chunked(stage: &Stage) -> Drive {
    let port = stage.python.port();
    let mut client = Client::connect(port).unwrap();
    for path in ["/chunks/3", "/chunks/4"] {
        let answer = client.request("GET", path, "").unwrap();
        assert!(answer.body.starts_with(b"HTTP/HTTP/"), "{answer:?}");
    }
    Drive::check(2, move |evidence| {
        let paths = ["/chunks/3".to_owned(), "/chunks/4".to_owned()];
        assert_exact(&evidence.served(port, "/chunks/"), &paths, 200);
    })
}

fn upload(stage: &Stage) -> Drive {
    const LENGTH: usize = 1 << 20;
    let port = stage.prefork.port();
    let mut client = Client::connect(port).unwrap();
    let answer = client.post("/echo", &vec![b'x'; LENGTH]).unwrap();
    assert_eq!(answer.body, format!("{LENGTH}\n").as_bytes());
    Drive::check(1, move |evidence| {
        let spans = evidence.served(port, "/echo");
        assert_exact(&spans, &["/echo".to_owned()], 200);
        assert_eq!(spans[0].attribute("http.request.body.size"), LENGTH);
    })
}

/// The server reads the whole head in one call.
fn long_head(stage: &Stage) -> Drive {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e47";
    let port = stage.raw["peek"].as_ref().unwrap().port();
    let kilobytes = [7, 9, 12, 15];
    for size in kilobytes {
        let mut client = Client::connect(port).unwrap();
        let cookies = "c".repeat(size << 10);
        let headers = format!(
            "Cookie: {cookies}\r\ntraceparent: 00-{TRACE}{size:02}-00f067aa0ba902b7-01\r\n"
        );
        client
            .request("GET", &format!("/long/{size:02}"), &headers)
            .unwrap();
    }
    Drive::check(kilobytes.len(), move |evidence| {
        let paths = kilobytes.map(|size| format!("/long/{size:02}"));
        let spans = evidence.served(port, "/long/");
        assert_exact(&spans, &paths, 200);
        for span in spans {
            let size = span.path().trim_start_matches("/long/");
            assert_eq!(span.trace_id(), format!("{TRACE}{size}"), "{span:?}");
        }
    })
}

/// Halves of an answer's body that are equally long: the second is counted, too.
fn together(stage: &Stage) -> Drive {
    let port = match &stage.raw["together"] {
        Ok(server) => server.port(),
        Err(reason) => return Drive::Skip(format!("no page can be kept back: {reason}")),
    };
    let mut client = Client::connect(port).unwrap();
    let paths: Vec<String> = (0..5).map(|number| format!("/together/{number}")).collect();
    for path in &paths {
        assert_eq!(client.request("GET", path, "").unwrap().body.len(), 4000);
    }
    Drive::check(paths.len(), move |evidence| {
        let spans = evidence.served(port, "/together/");
        assert_exact(&spans, &paths, 200);
        for span in spans {
            assert_eq!(span.attribute("http.response.body.size"), 4000, "{span:?}");
        }
    })
}

fn peek(stage: &Stage) -> Drive {
    let port = stage.raw["peek"].as_ref().unwrap().port();
    let mut client = Client::connect(port).unwrap();
    let paths: Vec<String> = (0..10).map(|number| format!("/peeked/{number}")).collect();
    for path in &paths {
        client.request("GET", path, "").unwrap();
    }
    Drive::check(paths.len(), move |evidence| {
        assert_exact(&evidence.served(port, "/peeked"), &paths, 200);
    })
}

/// nginx closes without a word where it is told to answer 444.
fn unanswered(stage: &Stage) -> Drive {
    let port = stage.nginx.port();
    assert!(get(port, "/status/444").is_err());
    Drive::check(1, move |evidence| {
        let spans = evidence.served(port, "/status/444");
        assert_eq!(spans.len(), 1);
        assert_eq!(spans[0].status_code(), None, "an invented status");
        assert!(spans[0].is_incomplete(), "{:?}", spans[0]);
    })
}
