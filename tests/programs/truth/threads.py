"""A hop of a chain on Python's standard library, a thread a connection: threads.py PORT NEXT_PORT

With TRUTH_TLS_NEXT or TRUTH_TLS_LISTEN, a folder with cert.pem and key.pem, it asks or answers over TLS.
"""

import os
import ssl
import sys
import urllib.request
from http.client import HTTPConnection, HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from hop import Hop, Pool

NEXT = int(sys.argv[2])
TLS_NEXT, TLS_LISTEN = os.environ.get("TRUTH_TLS_NEXT"), os.environ.get("TRUTH_TLS_LISTEN")
HANDLERS = [urllib.request.ProxyHandler({})]
if TLS_NEXT:
    TRUST = ssl.create_default_context(cafile=TLS_NEXT + "/cert.pem")
    POOL = Pool(lambda: HTTPSConnection("127.0.0.1", NEXT, timeout=60, context=TRUST))
    HANDLERS.append(urllib.request.HTTPSHandler(context=TRUST))
else:
    POOL = Pool(lambda: HTTPConnection("127.0.0.1", NEXT, timeout=60))
DIRECT = urllib.request.build_opener(*HANDLERS)
URL = f"{'https' if TLS_NEXT else 'http'}://127.0.0.1:{NEXT}"


def fetch(connections, path):
    if connections == "fresh":
        with DIRECT.open(URL + path, timeout=60) as answer:
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


server = Server(("127.0.0.1", int(sys.argv[1])), Handler)
if TLS_LISTEN:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS_LISTEN + "/cert.pem", TLS_LISTEN + "/key.pem")
    # The handshake is the connection's thread's business, not the one's that accepts.
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever(poll_interval=5)
