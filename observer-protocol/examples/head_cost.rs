//! What one exchange costs in the parsers: `cargo run --release -p observer-protocol --example head_cost`.
//! Prints ns for a request and its response, the least and the median of 401 short rounds.

use std::{hint::black_box, time::Instant};

use observer_protocol::http1::{Limits, RequestKind, RequestParser, ResponseParser, Segment};

const EXCHANGES: &[(&str, &str, &str)] = &[
    (
        "curl and nginx",
        "GET /api/orders/17?verbose=1 HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: curl/8.14.1\r\nAccept: */*\r\n\r\n",
        "HTTP/1.1 200 OK\r\nServer: nginx/1.26.3\r\nDate: Sat, 21 Nov 2026 10:00:00 GMT\r\nContent-Type: text/html\r\n\
         Content-Length: 13\r\nLast-Modified: Tue, 04 Feb 2025 12:00:00 GMT\r\nConnection: keep-alive\r\n\
         ETag: \"67a1f2c0-267\"\r\nAccept-Ranges: bytes\r\n\r\nHello, world!",
    ),
    (
        "a browser and Express",
        "GET /static/app.js HTTP/1.1\r\nHost: shop.example\r\n\
         User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\nAccept: */*\r\n\
         Accept-Language: de,en-US;q=0.7,en;q=0.3\r\nAccept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n\
         traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\
         Referer: http://shop.example/\r\nCookie: session=0123456789abcdef; theme=dark\r\nPriority: u=2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-Powered-By: Express\r\nContent-Type: application/json; charset=utf-8\r\n\
         Content-Length: 11\r\nDate: Sat, 21 Nov 2026 10:00:00 GMT\r\nConnection: keep-alive\r\n\
         Keep-Alive: timeout=5\r\n\r\n{\"ok\":true}",
    ),
];

fn main() {
    for (name, request, response) in EXCHANGES {
        let mut requests = RequestParser::new(Limits::default());
        let mut responses = ResponseParser::new(Limits::default());
        let mut rounds: Vec<f64> = (0..401)
            .map(|_| {
                const COUNT: u32 = 1000;
                let begin = Instant::now();
                for _ in 0..COUNT {
                    let mut segment =
                        Segment::whole(requests.position(), black_box(request.as_bytes()));
                    while let Some(event) = requests.poll(&mut segment) {
                        black_box(event);
                    }
                    let mut segment =
                        Segment::whole(responses.position(), black_box(response.as_bytes()));
                    while let Some(event) = responses.poll(&mut segment, RequestKind::Other) {
                        black_box(event);
                    }
                }
                begin.elapsed().as_nanos() as f64 / f64::from(COUNT)
            })
            .collect();
        rounds.sort_by(f64::total_cmp);
        println!(
            "{name}: {:.0} ns an exchange at least, {:.0} median",
            rounds[0],
            rounds[rounds.len() / 2]
        );
    }
}
