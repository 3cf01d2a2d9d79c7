"""An HTTP server of Python's standard library that asks the next one for the same path, over TLS at one side or both:
tls_hop.py --listen ADDRESS PORT --next URL [--answer-tls] [--fresh] [--offer PROTOCOLS] [--newest VERSION] CERTIFICATES

CERTIFICATES is a folder with cert.pem and key.pem. A thread answers each connection, and keeps one of its own to the next
server, unless it is --fresh. What it offers there by ALPN (`h2,http/1.1`) it speaks HTTP/1.1 all the same; nothing is
offered if nothing is said. --newest 1.2 takes TLS 1.2 at most.
"""

import argparse
import socket
import ssl
import threading
from http.client import HTTPConnection, HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

parser = argparse.ArgumentParser()
parser.add_argument("--listen", nargs=2)
parser.add_argument("--next")
parser.add_argument("--answer-tls", action="store_true")
parser.add_argument("--fresh", action="store_true")
parser.add_argument("--offer", default="")
parser.add_argument("--newest", default="1.3")
parser.add_argument("certificates")
arguments = parser.parse_args()
NEWEST = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[arguments.newest]
URL = urlsplit(arguments.next)
KEPT = threading.local()


def connect():
    if URL.scheme == "http":
        return HTTPConnection(URL.hostname, URL.port, timeout=None)
    context = ssl.create_default_context(cafile=arguments.certificates + "/cert.pem")
    context.maximum_version = NEWEST
    if arguments.offer:
        context.set_alpn_protocols(arguments.offer.split(","))
    return HTTPSConnection(URL.hostname, URL.port, timeout=None, context=context)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body are two writes; without this each answer waits for the client's delayed ACK.
    disable_nagle_algorithm = True

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        connection = getattr(KEPT, "connection", None) or connect()
        connection.request("GET", self.path)
        answer = connection.getresponse()
        body = answer.read()
        if arguments.fresh:
            connection.close()
        else:
            KEPT.connection = connection
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    address_family = socket.AF_INET6 if ":" in arguments.listen[0] else socket.AF_INET


server = Server((arguments.listen[0], int(arguments.listen[1])), Handler)
if arguments.answer_tls:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(arguments.certificates + "/cert.pem", arguments.certificates + "/key.pem")
    context.maximum_version = NEWEST
    # The handshake is the connection's thread's business, not the one's that accepts.
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
