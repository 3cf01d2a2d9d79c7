//! Messages as real programs send them, and what they are.

use crate::http1::RequestKind;

/// A request and what is in it.
pub(super) struct Request {
    pub(super) name: &'static str,
    pub(super) bytes: &'static [u8],
    pub(super) method: &'static str,
    pub(super) target: &'static str,
    pub(super) body: u64,
}

/// A response and what is in it.
pub(super) struct Response {
    pub(super) name: &'static str,
    pub(super) bytes: &'static [u8],
    pub(super) request: RequestKind,
    pub(super) interim: &'static [u16],
    pub(super) status: u16,
    /// `None`: it ends with the connection.
    pub(super) body: Option<u64>,
}

macro_rules! request {
    ($name:literal, $method:literal, $target:literal, $body:literal, $($bytes:literal),+) => {
        Request { name: $name, bytes: concat!($($bytes),+).as_bytes(), method: $method, target: $target, body: $body }
    };
}

macro_rules! response {
    ($name:literal, $request:ident, $interim:expr, $status:literal, $body:expr, $($bytes:literal),+) => {
        Response {
            name: $name, bytes: concat!($($bytes),+).as_bytes(), request: RequestKind::$request, interim: &$interim,
            status: $status, body: $body,
        }
    };
}

pub(super) const REQUESTS: &[Request] = &[
    request!(
        "curl",
        "GET",
        "/api/orders/17?verbose=1",
        0,
        "GET /api/orders/17?verbose=1 HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: curl/8.14.1\r\nAccept: */*\r\n\r\n"
    ),
    request!(
        "curl --http1.0",
        "GET",
        "/",
        0,
        "GET / HTTP/1.0\r\nHost: localhost\r\nUser-Agent: curl/8.14.1\r\nAccept: */*\r\n\r\n"
    ),
    request!(
        "curl -I",
        "HEAD",
        "/index.html",
        0,
        "HEAD /index.html HTTP/1.1\r\nHost: localhost\r\nUser-Agent: curl/8.14.1\r\nAccept: */*\r\n\r\n"
    ),
    request!(
        "curl -d",
        "POST",
        "/login",
        27,
        "POST /login HTTP/1.1\r\nHost: localhost\r\nUser-Agent: curl/8.14.1\r\nAccept: */*\r\nContent-Length: 27\r\n",
        "Content-Type: application/x-www-form-urlencoded\r\n\r\nuser=alice&password=hunter2"
    ),
    request!(
        "curl -T . with chunks",
        "PUT",
        "/upload",
        17,
        "PUT /upload HTTP/1.1\r\nHost: localhost\r\nUser-Agent: curl/8.14.1\r\nAccept: */*\r\n",
        "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
        "a\r\n0123456789\r\n7\r\nhello\r\n\r\n0\r\n\r\n"
    ),
    request!(
        "curl through a proxy",
        "GET",
        "http://example.com/x",
        0,
        "GET http://example.com/x HTTP/1.1\r\nHost: example.com\r\nUser-Agent: curl/8.14.1\r\nAccept: */*\r\n",
        "Proxy-Connection: Keep-Alive\r\n\r\n"
    ),
    request!(
        "curl CONNECT",
        "CONNECT",
        "example.com:443",
        0,
        "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\nUser-Agent: curl/8.14.1\r\n",
        "Proxy-Connection: Keep-Alive\r\n\r\n"
    ),
    request!(
        "Firefox",
        "GET",
        "/static/app.js",
        0,
        "GET /static/app.js HTTP/1.1\r\nHost: shop.example\r\n",
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\nAccept: */*\r\n",
        "Accept-Language: de,en-US;q=0.7,en;q=0.3\r\nAccept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n",
        "Referer: http://shop.example/\r\nCookie: session=0123456789abcdef; theme=dark\r\nPriority: u=2\r\n\r\n"
    ),
    request!(
        "Chrome WebSocket",
        "GET",
        "/socket",
        0,
        "GET /socket HTTP/1.1\r\nHost: shop.example\r\nConnection: Upgrade\r\nPragma: no-cache\r\n",
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n",
        "Upgrade: websocket\r\nOrigin: http://shop.example\r\nSec-WebSocket-Version: 13\r\n",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ),
    request!(
        "Python requests",
        "POST",
        "/v1/items",
        15,
        "POST /v1/items HTTP/1.1\r\nHost: localhost:5000\r\nUser-Agent: python-requests/2.32.3\r\n",
        "Accept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: keep-alive\r\nContent-Length: 15\r\n",
        "Content-Type: application/json\r\n\r\n{\"name\": \"abc\"}"
    ),
    request!(
        "Python http.client",
        "GET",
        "/",
        0,
        "GET / HTTP/1.1\r\nHost: localhost:8000\r\nAccept-Encoding: identity\r\n\r\n"
    ),
    request!(
        "Go net/http",
        "DELETE",
        "/v1/items/42",
        0,
        "DELETE /v1/items/42 HTTP/1.1\r\nHost: 10.0.0.7:9000\r\nUser-Agent: Go-http-client/1.1\r\nAccept-Encoding: gzip\r\n\r\n"
    ),
    request!(
        "Go net/http streaming",
        "POST",
        "/",
        3,
        "POST / HTTP/1.1\r\nHost: x\r\nUser-Agent: Go-http-client/1.1\r\nTransfer-Encoding: chunked\r\n",
        "Trailer: X-Sum\r\nAccept-Encoding: gzip\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 6\r\n\r\n"
    ),
    request!(
        "Node fetch",
        "PATCH",
        "/users/7",
        2,
        "PATCH /users/7 HTTP/1.1\r\nhost: localhost:3000\r\nconnection: keep-alive\r\ncontent-type: application/json\r\n",
        "accept: */*\r\naccept-language: *\r\nsec-fetch-mode: cors\r\nuser-agent: node\r\n",
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ntracestate: a=1\r\n",
        "accept-encoding: gzip, deflate\r\ncontent-length: 2\r\n\r\n{}"
    ),
    request!(
        "nginx proxy_pass",
        "GET",
        "/backend",
        0,
        "GET /backend HTTP/1.0\r\nHost: backend\r\nConnection: close\r\nX-Real-IP: 10.1.2.3\r\n\r\n"
    ),
    request!(
        "wrk",
        "GET",
        "/",
        0,
        "GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n"
    ),
    request!(
        "ApacheBench",
        "GET",
        "/",
        0,
        "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\nHost: localhost\r\nUser-Agent: ApacheBench/2.3\r\nAccept: */*\r\n\r\n"
    ),
    request!(
        "Java HttpClient",
        "GET",
        "/",
        0,
        "GET / HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nContent-Length: 0\r\nHost: localhost\r\n",
        "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\nUpgrade: h2c\r\nUser-Agent: Java-http-client/21\r\n\r\n"
    ),
    request!(
        "SSDP",
        "M-SEARCH",
        "*",
        0,
        "M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\n\r\n"
    ),
    request!(
        "CORS preflight",
        "OPTIONS",
        "*",
        0,
        "OPTIONS * HTTP/1.1\r\nHost: x\r\nOrigin: null\r\n\r\n"
    ),
    request!("typed into nc", "GET", "/", 0, "GET / HTTP/1.0\n\n"),
    request!(
        "after stray line ends",
        "GET",
        "/",
        0,
        "\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"
    ),
];

pub(super) const RESPONSES: &[Response] = &[
    response!(
        "nginx",
        Other,
        [],
        200,
        Some(13),
        "HTTP/1.1 200 OK\r\nServer: nginx/1.26.3\r\nDate: Sat, 21 Nov 2026 10:00:00 GMT\r\nContent-Type: text/html\r\n",
        "Content-Length: 13\r\nLast-Modified: Tue, 04 Feb 2025 12:00:00 GMT\r\nConnection: keep-alive\r\n",
        "ETag: \"67a1f2c0-267\"\r\nAccept-Ranges: bytes\r\n\r\nHello, world!"
    ),
    response!(
        "nginx 304",
        Other,
        [],
        304,
        Some(0),
        "HTTP/1.1 304 Not Modified\r\nServer: nginx/1.26.3\r\nContent-Length: 615\r\nConnection: keep-alive\r\n\r\n"
    ),
    response!(
        "nginx to HEAD",
        Head,
        [],
        200,
        Some(0),
        "HTTP/1.1 200 OK\r\nServer: nginx/1.26.3\r\nContent-Type: text/html\r\nContent-Length: 615\r\n\r\n"
    ),
    response!(
        "nginx chunked to HEAD",
        Head,
        [],
        200,
        Some(0),
        "HTTP/1.1 200 OK\r\nServer: nginx/1.26.3\r\nTransfer-Encoding: chunked\r\n\r\n"
    ),
    response!(
        "nginx gzip",
        Other,
        [],
        200,
        Some(20),
        "HTTP/1.1 200 OK\r\nServer: nginx/1.26.3\r\nTransfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n\r\n",
        "14\r\n01234567890123456789\r\n0\r\n\r\n"
    ),
    response!(
        "nginx 400",
        Unknown,
        [],
        400,
        Some(5),
        "HTTP/1.1 400 Bad Request\r\nServer: nginx/1.26.3\r\nContent-Length: 5\r\nConnection: close\r\n\r\n<html"
    ),
    response!(
        "Node",
        Other,
        [],
        200,
        Some(11),
        "HTTP/1.1 200 OK\r\nX-Powered-By: Express\r\nContent-Type: application/json; charset=utf-8\r\n",
        "Content-Length: 11\r\nDate: Sat, 21 Nov 2026 10:00:00 GMT\r\nConnection: keep-alive\r\n",
        "Keep-Alive: timeout=5\r\n\r\n{\"ok\":true}"
    ),
    response!(
        "Node chunked with trailers",
        Other,
        [],
        200,
        Some(8),
        "HTTP/1.1 200 OK\r\nTrailer: Server-Timing\r\nDate: Sat, 21 Nov 2026 10:00:00 GMT\r\nConnection: keep-alive\r\n",
        "Transfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n4\r\nefgh\r\n0\r\nServer-Timing: db;dur=5\r\n\r\n"
    ),
    response!(
        "python http.server",
        Other,
        [],
        200,
        None,
        "HTTP/1.0 200 OK\r\nServer: SimpleHTTP/0.6 Python/3.13.5\r\nDate: Sat, 21 Nov 2026 10:00:00 GMT\r\n",
        "Content-type: text/html; charset=utf-8\r\n\r\n<!DOCTYPE HTML>\n"
    ),
    response!(
        "gunicorn",
        Other,
        [],
        404,
        Some(9),
        "HTTP/1.1 404 NOT FOUND\r\nServer: gunicorn\r\nDate: Sat, 21 Nov 2026 10:00:00 GMT\r\nConnection: keep-alive\r\n",
        "Content-Type: text/plain\r\nContent-Length: 9\r\n\r\nNot Found"
    ),
    response!(
        "uvicorn",
        Other,
        [],
        500,
        Some(21),
        "HTTP/1.1 500 Internal Server Error\r\ndate: Sat, 21 Nov 2026 10:00:00 GMT\r\nserver: uvicorn\r\n",
        "content-length: 21\r\ncontent-type: text/plain; charset=utf-8\r\n\r\nInternal Server Error"
    ),
    response!(
        "Go net/http",
        Other,
        [],
        204,
        Some(0),
        "HTTP/1.1 204 No Content\r\nDate: Sat, 21 Nov 2026 10:00:00 GMT\r\n\r\n"
    ),
    response!(
        "Go 100 and 103 first",
        Other,
        [100, 103],
        201,
        Some(2),
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </s.css>; rel=preload\r\n\r\n",
        "HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok"
    ),
    response!(
        "server-sent events",
        Other,
        [],
        200,
        None,
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n",
        "data: 1\n\ndata: 2\n\n"
    ),
    response!(
        "WebSocket",
        Other,
        [],
        101,
        Some(0),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    ),
    response!(
        "CONNECT",
        Connect,
        [],
        200,
        Some(0),
        "HTTP/1.1 200 Connection established\r\n\r\n"
    ),
    response!(
        "CONNECT refused",
        Connect,
        [],
        403,
        Some(2),
        "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"
    ),
    response!(
        "redirect without reason",
        Other,
        [],
        302,
        Some(0),
        "HTTP/1.1 302\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n"
    ),
    response!(
        "reason beyond ASCII",
        Other,
        [],
        200,
        Some(1),
        "HTTP/1.1 200 très bien\r\nContent-Length: 1\r\n\r\nx"
    ),
    response!(
        "folded header and stray space",
        Other,
        [],
        200,
        Some(1),
        "HTTP/1.1 200 OK\r\nX-Old: a\r\n b\r\nContent-Length : 1\r\n\r\nx"
    ),
    response!(
        "LF only",
        Other,
        [],
        200,
        Some(1),
        "HTTP/1.0 200 OK\nContent-Length: 1\n\nx"
    ),
];
