"""A hop of a chain on one thread that waits in an epoll for sockets which stay blocking: epoll.py PORT NEXT_PORT

It reads a request when it may, works on it a little later, and makes the calls of its timers in between. So what the
thread read last tells nothing of what it does. With TRUTH_TLS_LISTEN, a folder with cert.pem and key.pem, it answers over
TLS.
"""

import heapq
import itertools
import os
import selectors
import socket
import ssl
import sys
import time
from http.client import HTTPConnection

from hop import Hop, Pool

NEXT = int(sys.argv[2])
TLS_LISTEN = os.environ.get("TRUTH_TLS_LISTEN")
POOL = Pool(lambda: HTTPConnection("127.0.0.1", NEXT, timeout=60))
# Between reading a request and working on it.
LATER = 0.012
TICK = 0.005
SELECTOR = selectors.EpollSelector()
DUE, COUNTER = [], itertools.count()


def at(due, work):
    heapq.heappush(DUE, (due, next(COUNTER), work))


def fetch(connections, path):
    connection = POOL.take()
    headers = {"Connection": "close"} if connections == "fresh" else {}
    connection.request("GET", path, headers=headers)
    connection.getresponse().read()
    POOL.give_back(connection)


class LoopHop(Hop):
    """Its timer's calls are made by the loop's thread, too."""

    is_ticking, ticks = False, 0

    def tick_for_a_while(self, connections, row):
        self.ticking, self.row = time.monotonic() + 0.1, (connections, row)
        if not self.is_ticking:
            self.is_ticking = True
            at(time.monotonic() + TICK, self.tick)

    def tick(self):
        self.is_ticking = time.monotonic() < self.ticking
        if self.is_ticking:
            self.ticks += 1
            connections, row = self.row
            self.fetch(connections, f"/{connections}/direct/{row}.tick{os.getpid()}-{self.ticks}.0/0")
            at(time.monotonic() + TICK, self.tick)


HOP = LoopHop(fetch)


class Connection:
    def __init__(self, stream):
        self.stream, self.read = stream, b""
        SELECTOR.register(stream, selectors.EVENT_READ, self.readable)

    def readable(self):
        part = self.stream.recv(65536)
        if not part:
            self.close()
            return
        self.read += part
        if b"\r\n\r\n" in self.read:
            head, self.read = self.read.split(b"\r\n\r\n", 1)
            lines = head.decode().lower().split("\r\n")
            path = head.split(b" ", 2)[1].decode()
            connections, modes, tag = path.split("/")[1:4]
            if modes.startswith("timer"):
                HOP.tick_for_a_while(connections, tag.split(".")[0])
            at(time.monotonic() + LATER, lambda: self.answer(path, "connection: close" in lines))

    def answer(self, path, closes):
        afterwards = HOP.serve(path)
        self.stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n")
        if closes:
            self.close()
        if afterwards:
            afterwards()

    def close(self):
        SELECTOR.unregister(self.stream)
        self.stream.close()


def accept():
    stream, _ = LISTENER.accept()
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if TLS_LISTEN:
        try:
            stream = CONTEXT.wrap_socket(stream, server_side=True)
        except OSError:
            # Whoever only looked whether somebody listens.
            return
    Connection(stream)


if TLS_LISTEN:
    CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    CONTEXT.load_cert_chain(TLS_LISTEN + "/cert.pem", TLS_LISTEN + "/key.pem")
LISTENER = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=1024)
SELECTOR.register(LISTENER, selectors.EVENT_READ, accept)
while True:
    patience = max(0, DUE[0][0] - time.monotonic()) if DUE else None
    for key, _ in SELECTOR.select(patience):
        key.data()
    while DUE and DUE[0][0] <= time.monotonic():
        heapq.heappop(DUE)[2]()
