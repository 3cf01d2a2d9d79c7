"""An HTTP server of Python's standard library: stdlib_server.py PORT MODEL

MODEL: threads (one a connection), fork (one a connection), prefork (4 processes on one listening socket),
pool (8 threads), peek (threads, each request looked at with MSG_PEEK first), slow-read (reads one byte, then 7 at a time),
headless (threads, of which the first one ends at SIGUSR1), pass (the accepting process hands each connection to another over a Unix socket), ipv6 (on ::, so that v4-mapped peers
come too), unix (PORT is a path). With a third argument, threads and pool answer /call/ID with what the server on that
port answers to /id/ID, over a connection of the thread's own. /lookup/NAME resolves the name as the system does it,
/ask/SERVER/NAME sends a query of its own through a socket that is not connected, and /ask-in-vain/NAME asks twice, by two
sockets, who never answers. All of them answer /status/CODE, /bytes/N, /sleep/MS, /chunks/N, POST /echo
with the length and POST /digest with the SHA-256 of what came.
"""

import ctypes
import hashlib
import os
import signal
import socket
import socketserver
import struct
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, HTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body are two writes; without this each answer waits for the client's delayed ACK.
    disable_nagle_algorithm = True

    def log_message(self, *arguments):
        pass

    def answer(self):
        length = int(self.headers.get("content-length") or 0)
        received, digest = 0, hashlib.sha256()
        while received < length:
            part = self.rfile.read(min(length - received, 65536))
            received += len(part)
            digest.update(part)
        _, kind, *rest = self.path.split("?")[0].split("/")
        status, body = 200, b"ok\n"
        if kind == "status":
            status = int(rest[0])
        elif kind == "bytes":
            body = b"x" * int(rest[0])
        elif kind == "sleep":
            time.sleep(int(rest[0]) / 1000)
        elif kind == "echo":
            body = b"%d\n" % received
        elif kind == "digest":
            body = digest.hexdigest().encode()
        elif kind == "call":
            status, body = call(rest[0], self.headers.get("traceparent"))
        elif kind == "lookup":
            body = lookup(rest[0])
        elif kind == "ask":
            body = ask(*rest)
        elif kind == "ask-in-vain":
            ask_in_vain(rest[0])
        elif kind == "chunks":
            self.send_response(status)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for chunk in range(int(rest[0])):
                self.wfile.write(b"5;n=%d\r\nHTTP/\r\n" % chunk)
            self.wfile.write(b"0\r\nTrailer: yes\r\n\r\n")
            return
        self.send_response(status)
        if status in (204, 304):
            self.end_headers()
            return
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = do_OPTIONS = answer


BACKEND = threading.local()


def call(identity, traceparent):
    """Asks the backend over this thread's connection, and hands the trace context on as it came."""
    if not hasattr(BACKEND, "connection"):
        BACKEND.connection = HTTPConnection("127.0.0.1", int(sys.argv[3]))
    headers = {"traceparent": traceparent} if traceparent else {}
    BACKEND.connection.request("GET", "/id/" + identity, headers=headers)
    answer = BACKEND.connection.getresponse()
    return answer.status, answer.read()


def lookup(name):
    try:
        return b"%d\n" % len(socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM))
    except socket.gaierror as error:
        return b"%s\n" % str(error).encode()


def query(identity, name):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!6H", identity, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", 1, 1)


def ask(server, name):
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        asking.settimeout(5)
        # What goes elsewhere through the same socket is nobody's business.
        asking.sendto(b"not for a name server", (server, 9))
        asking.sendto(query(4711, name), (server, 53))
        answer = asking.recv(512)
    return b"%d\n" % (answer[3] & 15)


def ask_in_vain(name):
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(3)]
    sockets[0].bind(("127.0.0.99", 53))
    for asking in sockets[1:]:
        asking.connect(("127.0.0.99", 53))
        asking.send(query(815, name))
        time.sleep(0.3)
    for each in sockets:
        each.close()


class PeekHandler(Handler):
    def handle_one_request(self):
        for _ in range(3):
            self.connection.recv(4096, socket.MSG_PEEK)
        super().handle_one_request()


class SlowReader:
    """Reads few bytes a call, so that one header arrives in many pieces. (Go's server reads one byte ahead, too.)"""

    def __init__(self, connection):
        self.connection, self.rest = connection, b""

    def take(self, size):
        while len(self.rest) < size:
            piece = self.connection.recv(7 if self.rest else 1)
            if not piece:
                break
            self.rest += piece
        taken, self.rest = self.rest[:size], self.rest[size:]
        return taken

    def read(self, size):
        return self.take(size)

    def readline(self, limit=65537):
        while b"\n" not in self.rest and len(self.rest) < limit:
            piece = self.connection.recv(7 if self.rest else 1)
            if not piece:
                return self.take(len(self.rest))
            self.rest += piece
        return self.take(min(self.rest.find(b"\n") + 1, limit))

    def close(self):
        pass


class SlowReadHandler(Handler):
    def setup(self):
        super().setup()
        self.rfile = SlowReader(self.connection)


class Threads(socketserver.ThreadingMixIn, HTTPServer):
    daemon_threads = True
    request_queue_size = 128


class Fork(socketserver.ForkingMixIn, HTTPServer):
    request_queue_size = 128
    max_children = 256


class IPv6(Threads):
    address_family = socket.AF_INET6

    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


class Unix(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 128


class UnixHandler(Handler):
    disable_nagle_algorithm = False


class Pass(HTTPServer):
    """Accepts, and hands the connection to another process that answers."""

    request_queue_size = 128

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.here, there = socket.socketpair()
        if os.fork() == 0:
            self.socket.close()
            while True:
                _, descriptors, _, _ = socket.recv_fds(there, 1, 1)
                connection = socket.socket(fileno=descriptors[0])
                Handler(connection, None, self)
                connection.close()

    def process_request(self, request, client_address):
        socket.send_fds(self.here, [b"x"], [request.fileno()])
        request.close()


class Pool(HTTPServer):
    request_queue_size = 128
    workers = ThreadPoolExecutor(8)

    def process_request(self, request, client_address):
        self.workers.submit(self.work, request, client_address)

    def work(self, request, client_address):
        try:
            self.finish_request(request, client_address)
        finally:
            self.shutdown_request(request)


def serve_without_first_thread(server):
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    threading.Thread(target=server.serve_forever).start()
    signal.sigwait([signal.SIGUSR1])
    exit_thread = 60  # x86-64
    ctypes.CDLL(None).syscall(exit_thread, 0)


def main():
    model = sys.argv[2]
    address = sys.argv[1] if model == "unix" else ("127.0.0.1", int(sys.argv[1]))
    if model == "unix":
        server = Unix(address, UnixHandler)
    elif model == "ipv6":
        server = IPv6(("::", address[1]), Handler)
    elif model == "pass":
        server = Pass(address, Handler)
    elif model == "fork":
        server = Fork(address, Handler)
    elif model == "pool":
        server = Pool(address, Handler)
    elif model == "peek":
        server = Threads(address, PeekHandler)
    elif model == "slow-read":
        server = Threads(address, SlowReadHandler)
    elif model == "prefork":
        server = Threads(address, Handler)
        for _ in range(3):
            if os.fork() == 0:
                break
    else:
        server = Threads(address, Handler)
    if model == "headless":
        serve_without_first_thread(server)
    server.serve_forever(poll_interval=5)


main()
