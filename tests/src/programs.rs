//! The servers that tests start: one service, written for many runtimes.
//!
//! Each answers `/status/CODE`, `/bytes/N`, `/sleep/MS` and `/echo`, Python's standard library `/chunks/N`, too; nginx serves a file of 612 bytes at `/` and what
//! its configuration says.

use std::process::Command;

use crate::{Environment, Folder, Receiver, Server, free_port};

impl Server {
    /// nginx with one worker. `location /status/404` and the like answer with that status (444: not at all), `/large` is a file of 20 MB.
    pub fn nginx(folder: &Folder) -> Self {
        let port = free_port();
        let mut nginx = nginx(folder, port);
        std::fs::write(folder.path().join("html/large"), vec![b'x'; 20 << 20]).unwrap();
        Self::start(&mut nginx, port)
    }

    /// Python's standard library; for `model` see `programs/stdlib_server.py`.
    pub fn stdlib(model: &str) -> Self {
        let port = free_port();
        let mut python = Command::new("python3");
        python
            .arg(Environment::programs().join("stdlib_server.py"))
            .args([&port.to_string(), model]);
        Self::start(&mut python, port)
    }

    /// Python's standard library, answering `/call/ID` with what `backend` answers to `/id/ID`.
    pub fn stdlib_gateway(model: &str, backend: &Server) -> Self {
        let port = free_port();
        let mut python = Command::new("python3");
        python
            .arg(Environment::programs().join("stdlib_server.py"))
            .args([&port.to_string(), model, &backend.port().to_string()]);
        Self::start(&mut python, port)
    }

    /// Node, answering `/call/ID` with what `backend` answers to `/id/ID`, over four connections for all requests.
    pub fn node_gateway(backend: &Server) -> Self {
        let port = free_port();
        let mut node = Command::new("node");
        node.arg(Environment::programs().join("node_gateway.js"))
            .args([port.to_string(), backend.port().to_string()]);
        Self::start(&mut node, port)
    }

    /// Node, asking `backend` for `/sleep/MS` and then for `/status/200` for each `/twice/MS`, while a timer fires.
    pub fn node_twice(backend: &Server) -> Self {
        let port = free_port();
        let mut node = Command::new("node");
        node.arg(Environment::programs().join("node_twice.js"))
            .args([port.to_string(), backend.port().to_string()]);
        Self::start(&mut node, port)
    }

    /// A gateway as [`stdlib_gateway`](Self::stdlib_gateway) that makes spans of its own and exports them.
    pub fn sdk_gateway(environment: &Environment, backend: &Server, receiver: &Receiver) -> Self {
        let port = free_port();
        let mut python = Command::new(environment.python("python3"));
        python
            .arg(Environment::programs().join("sdk_gateway.py"))
            .args([port, backend.port(), receiver.port()].map(|it| it.to_string()));
        Self::start(&mut python, port)
    }

    /// gunicorn with two pre-forked workers of four threads and a Flask application.
    pub fn gunicorn(environment: &Environment) -> Self {
        let port = free_port();
        let mut gunicorn = Command::new(environment.python("gunicorn"));
        gunicorn
            .current_dir(Environment::programs())
            .args(["--workers=2", "--threads=4", "--log-level=warning"])
            .arg(format!("--bind=127.0.0.1:{port}"))
            .arg("wsgi_app:app")
            .env("PYTHONDONTWRITEBYTECODE", "1");
        Self::start(&mut gunicorn, port)
    }

    /// uvicorn on uvloop and httptools with a FastAPI application.
    pub fn uvicorn(environment: &Environment) -> Self {
        let port = free_port();
        let mut uvicorn = Command::new(environment.python("uvicorn"));
        uvicorn
            .current_dir(Environment::programs())
            .args(["--loop=uvloop", "--http=httptools", "--log-level=warning"])
            .arg(format!("--port={port}"))
            .arg("asgi_app:app")
            .env("PYTHONDONTWRITEBYTECODE", "1");
        Self::start(&mut uvicorn, port)
    }

    /// Node's own http module.
    pub fn node() -> Self {
        let port = free_port();
        let mut node = Command::new("node");
        node.arg(Environment::programs().join("node_server.js"))
            .arg(port.to_string());
        Self::start(&mut node, port)
    }

    /// Go's net/http, a static binary.
    pub fn go(environment: &Environment) -> Self {
        let port = free_port();
        let mut go = Command::new(environment.go_server());
        go.arg(port.to_string());
        Self::start(&mut go, port)
    }
}

/// The command that runs nginx on a port of 127.0.0.1, with what it serves in `html/` of the folder.
pub fn nginx(folder: &Folder, port: u16) -> Command {
    let html = folder.path().join("html");
    std::fs::create_dir_all(&html).unwrap();
    std::fs::write(html.join("index.html"), "observer ".repeat(68)).unwrap();
    let statuses: String = [200, 201, 204, 301, 400, 404, 444, 500, 503]
        .iter()
        .map(|status| format!("location = /status/{status} {{ return {status} \"\"; }}\n"))
        .collect();
    let http = format!(
        "sendfile on;
    keepalive_requests 1000000;
    client_max_body_size 64m;
    server {{
        listen 127.0.0.1:{port};
        root html;
        {statuses}
        location /proxied/ {{ proxy_pass http://127.0.0.1:{port}/; }}
    }}"
    );
    nginx_with(folder, &http)
}

/// The command that runs nginx with one worker, all that it writes in the folder, and this in its block `http`.
pub fn nginx_with(folder: &Folder, http: &str) -> Command {
    let configuration = format!(
        "daemon off;
worker_processes 1;
user root;
pid nginx.pid;
error_log stderr crit;
events {{ worker_connections 2048; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    {http}
}}
"
    );
    let file = folder.file("nginx.conf", configuration);
    let mut nginx = Command::new("nginx");
    nginx.arg("-p").arg(folder.path()).arg("-c").arg(file);
    nginx
}
