//! Proxies: one thread, an epoll loop, many connections.

use std::fs;
use std::process::Command;

use super::super::case::{PROXY, PROXY_PIECES, SUBREQUESTS};
use super::{Place, Runtime, nothing};
use crate::debian;

pub(super) const NGINX: Runtime = Runtime {
    name: "nginx",
    about: "proxy_pass, two workers; auth_request for subrequests",
    cases: &[(&PROXY, 1.0), (&SUBREQUESTS, 1.0), (&PROXY_PIECES, 0.0)],
    prepare: nothing,
    command: |_, place| {
        let file = place.folder.join("nginx.conf");
        fs::write(&file, nginx(place))?;
        let mut nginx = Command::new("nginx");
        nginx.arg("-p").arg(&place.folder).arg("-c").arg(file);
        Ok(nginx)
    },
};

pub(super) const HAPROXY: Runtime = Runtime {
    name: "haproxy",
    about: "HTTP mode, two threads that share idle connections",
    // Reading a request, choosing a server and writing are tasks of their own, which a busy thread leaves for its next
    // turn: what it read last says nothing of what it writes, and Debian's executable has no symbols to ask.
    cases: &[(&PROXY, 0.0), (&PROXY_PIECES, 0.0)],
    prepare: |_| debian::install(&[("haproxy", "haproxy")]),
    command: |_, place| {
        let file = place.folder.join("haproxy.cfg");
        fs::write(&file, haproxy(place))?;
        let mut haproxy = Command::new("haproxy");
        haproxy.args(["-db", "-q", "-f"]).arg(file);
        Ok(haproxy)
    },
};

fn haproxy(place: &Place) -> String {
    let Place { port, next, .. } = place;
    format!(
        "global
    nbthread 2
    maxconn 4096
defaults
    mode http
    timeout connect 60s
    timeout client 60s
    timeout server 60s
frontend front
    bind 127.0.0.1:{port} backlog 2048
    http-request set-path %[path].0
    use_backend keep if {{ path_beg /keep/ }}
    default_backend fresh
backend keep
    http-reuse always
    server next 127.0.0.1:{next} pool-max-conn 512
backend fresh
    option http-server-close
    http-reuse never
    server next 127.0.0.1:{next} pool-max-conn 0
"
    )
}

fn nginx(place: &Place) -> String {
    let Place { port, next, .. } = place;
    // The hop stands last in a path: one call more needs no more than `.0`.
    let locations = |connections: &str, header: &str| {
        format!(
            "location ~ ^/{connections}/twice {{
            auth_request /may-{connections};
            proxy_set_header Connection {header};
            proxy_pass http://{connections}$request_uri.1;
        }}
        location = /may-{connections} {{
            internal;
            proxy_set_header Connection {header};
            proxy_pass http://{connections}$request_uri.0;
        }}
        location /{connections}/ {{
            proxy_set_header Connection {header};
            proxy_pass http://{connections}$request_uri.0;
        }}"
        )
    };
    let keep = locations("keep", "\"\"");
    let fresh = locations("fresh", "close");
    format!(
        "daemon off;
worker_processes 2;
user root;
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections 2048; }}
http {{
    access_log off;
    keepalive_requests 1000000;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    upstream keep {{ server 127.0.0.1:{next}; keepalive 512; keepalive_requests 1000000; }}
    upstream fresh {{ server 127.0.0.1:{next}; }}
    server {{
        listen 127.0.0.1:{port} backlog=2048;
        proxy_http_version 1.1;
        {keep}
        {fresh}
    }}
}}
"
    )
}
