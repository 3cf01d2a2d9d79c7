"""A hop of a chain on Python's standard library, a thread a connection: threads.py PORT NEXT_PORT"""

import sys
import urllib.request
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from hop import Hop, Pool

NEXT = int(sys.argv[2])
POOL = Pool(lambda: HTTPConnection("127.0.0.1", NEXT, timeout=60))
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def fetch(connections, path):
    if connections == "fresh":
        with DIRECT.open(f"http://127.0.0.1:{NEXT}{path}", timeout=60) as answer:
            answer.read()
        return
    connection = POOL.take()
    connection.request("GET", path)
    connection.getresponse().read()
    POOL.give_back(connection)


HOP = Hop(fetch)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body are two writes; without this each answer waits for the client's delayed ACK.
    disable_nagle_algorithm = True

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        afterwards = HOP.serve(self.path)
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"ok\n")
        if afterwards:
            afterwards()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024


Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever(poll_interval=5)
