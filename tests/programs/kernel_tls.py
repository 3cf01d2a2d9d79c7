"""HTTPS whose records the kernel makes: kernel_tls.py CERTIFICATE WHAT

WHAT: check (whether this kernel and OpenSSL can, in words where they can't), server PORT, gateway PORT BACKEND, which
speaks plain HTTP and answers /ask/ID with what the server on port BACKEND answers to /told/ID, over a connection of each
thread's own, or get PORT PATH..., which writes status and size of each answer. All answer /bytes/N, too.

TLS 1.2: before 3.2 OpenSSL leaves what it receives by TLS 1.3 to itself.
"""

import socket
import ssl
import sys
import threading
from http.client import HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# SSL_OP_ENABLE_KTLS; Python has a name for it from 3.12 on.
ENABLE_KTLS = 1 << 3


def context(purpose):
    made = ssl.SSLContext(purpose)
    made.options |= ENABLE_KTLS
    made.maximum_version = ssl.TLSVersion.TLSv1_2
    if purpose == ssl.PROTOCOL_TLS_SERVER:
        made.load_cert_chain(sys.argv[1])
    else:
        made.load_verify_locations(sys.argv[1])
    return made


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        _, kind, argument = self.path.split("/")
        body = ask(argument) if kind == "ask" else b"x" * int(argument) if kind == "bytes" else b"ok\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


BACKEND = threading.local()


def ask(identity):
    if not hasattr(BACKEND, "connection"):
        client = context(ssl.PROTOCOL_TLS_CLIENT)
        BACKEND.connection = HTTPSConnection("localhost", int(sys.argv[4]), context=client)
    BACKEND.connection.request("GET", "/told/" + identity)
    return BACKEND.connection.getresponse().read()


class Secure(ThreadingHTTPServer):
    """Each thread shakes hands for its own connection."""

    request_queue_size = 128
    context = None

    def finish_request(self, request, address):
        with self.context.wrap_socket(request, server_side=True) as secured:
            super().finish_request(secured, address)


def in_use():
    """Sockets on which the kernel decrypts, and encrypts."""
    with open("/proc/net/tls_stat") as numbers:
        counts = dict(line.split() for line in numbers)
    return int(counts["TlsRxSw"]), int(counts["TlsTxSw"])


def check():
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        with context(ssl.PROTOCOL_TLS_SERVER).wrap_socket(listener.accept()[0], server_side=True) as secured:
            secured.sendall(secured.recv(1))

    threading.Thread(target=serve, daemon=True).start()
    try:
        before = in_use()
    except FileNotFoundError:
        sys.exit("this kernel has no kernel TLS")
    client = context(ssl.PROTOCOL_TLS_CLIENT)
    with client.wrap_socket(socket.create_connection(listener.getsockname()), server_hostname="localhost") as secured:
        secured.sendall(b"x")
        secured.recv(1)
    if not all(then < now for then, now in zip(before, in_use())):
        sys.exit("OpenSSL does not use kernel TLS here")


def get():
    connection = HTTPSConnection("localhost", int(sys.argv[3]), context=context(ssl.PROTOCOL_TLS_CLIENT))
    for path in sys.argv[4:]:
        connection.request("GET", path)
        answer = connection.getresponse()
        print(answer.status, len(answer.read()))


def main():
    what = sys.argv[2]
    if what in ("check", "get"):
        check() if what == "check" else get()
        return
    server = (Secure if what == "server" else ThreadingHTTPServer)(("127.0.0.1", int(sys.argv[3])), Handler)
    server.context = context(ssl.PROTOCOL_TLS_SERVER) if what == "server" else None
    server.daemon_threads = True
    server.serve_forever(poll_interval=5)


main()
