//! Proxies: one thread, an epoll loop, many connections.

use std::fs;
use std::process::Command;

use super::super::case::PROXY;
use super::{Place, Runtime, nothing};

pub(super) const NGINX: Runtime = Runtime {
    name: "nginx",
    about: "proxy_pass, two workers",
    cases: &[(&PROXY, 1.0)],
    prepare: nothing,
    command: |_, place| {
        let file = place.folder.join("nginx.conf");
        fs::write(&file, nginx(place))?;
        let mut nginx = Command::new("nginx");
        nginx.arg("-p").arg(&place.folder).arg("-c").arg(file);
        Ok(nginx)
    },
};

fn nginx(place: &Place) -> String {
    let Place { port, next, .. } = place;
    // The hop stands last, and grows by one call: the path needs no more than `.0`.
    let location = |connections: &str, headers: &str| {
        format!(
            "location ~ ^/{connections}/(.*)$ {{
            {headers}
            proxy_pass http://{connections}/{connections}/$1.0;
        }}"
        )
    };
    let keep = location("keep", "proxy_set_header Connection \"\";");
    let fresh = location("fresh", "proxy_set_header Connection close;");
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
