"""Both ends of a protocol of its own that puts many requests on one TLS connection: tls_shared.py client|server PORT NEXT_ADDRESS NEXT_PORT CERTIFICATES

client: an HTTP server, a thread a connection, whose threads write `PATH\\n` on one connection to that server as
they like (made with the first), and wait for a line `PATH STATUS\\n`. It offers nothing by ALPN.
server: reads lines until none come for 3 ms, and asks that HTTP server for each path, one after the other, in the thread that read them.
"""

import select
import socket
import ssl
import sys
import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ROLE, PORT, NEXT, CERTIFICATES = sys.argv[1], int(sys.argv[2]), (sys.argv[3], int(sys.argv[4])), sys.argv[5]


def serve(connection):
    backend = HTTPConnection(*NEXT)
    rest = b""
    while piece := connection.recv(65536):
        # More may come meanwhile, from others.
        while connection.pending() or select.select([connection], [], [], 0.003)[0]:
            more = connection.recv(65536)
            if not more:
                return
            piece += more
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            backend.request("GET", line.decode())
            answer = backend.getresponse()
            answer.read()
            connection.sendall(b"%s %d\n" % (line, answer.status))


class Shared:
    def __init__(self):
        context = ssl.create_default_context(cafile=CERTIFICATES + "/cert.pem")
        self.connection = context.wrap_socket(socket.create_connection(NEXT), server_hostname=NEXT[0])
        # OpenSSL allows one thread at a time, which must not wait for the other end.
        self.connection.setblocking(False)
        self.lock, self.waiting = threading.Lock(), {}
        threading.Thread(target=self.read, daemon=True).start()

    def ask(self, path):
        done = threading.Event()
        self.waiting[path] = done
        with self.lock:
            self.connection.sendall(path.encode() + b"\n")
        done.wait()

    def read(self):
        rest = b""
        while True:
            select.select([self.connection], [], [])
            try:
                with self.lock:
                    piece = self.connection.recv(65536)
            except ssl.SSLWantReadError:
                continue
            if not piece:
                return
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                self.waiting.pop(line.split()[0].decode()).set()


SHARED, MAKING = [], threading.Lock()


def shared():
    with MAKING:
        if not SHARED:
            SHARED.append(Shared())
        return SHARED[0]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        shared().ask(self.path)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


if ROLE == "client":
    server = ThreadingHTTPServer(("127.0.0.1", PORT), Handler)
    server.daemon_threads = True
    server.serve_forever()
else:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES + "/cert.pem", CERTIFICATES + "/key.pem")
    listener = socket.create_server(("", PORT))
    while True:
        accepted, _ = listener.accept()

        def work(accepted=accepted):
            try:
                serve(context.wrap_socket(accepted, server_side=True))
            except (OSError, ssl.SSLError):
                pass

        threading.Thread(target=work, daemon=True).start()
