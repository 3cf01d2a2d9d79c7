"""A service that carries the OpenTelemetry SDK: sdk_gateway.py PORT BACKEND_PORT OTLP_PORT

Answers /call/ID with what the backend answers to /id/ID. Makes a server and a client span of its own, hands its context
on and exports by OTLP/HTTP.
"""

import sys
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagate import inject
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

PORT, BACKEND, OTLP = map(int, sys.argv[1:])
provider = TracerProvider()
endpoint = "http://127.0.0.1:%d/v1/traces" % OTLP
provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
trace.set_tracer_provider(provider)
tracer = trace.get_tracer("sdk_gateway")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        with tracer.start_as_current_span("gateway", kind=trace.SpanKind.SERVER):
            with tracer.start_as_current_span("call", kind=trace.SpanKind.CLIENT):
                headers = {}
                inject(headers)
                backend = HTTPConnection("127.0.0.1", BACKEND)
                backend.request("GET", "/id/" + self.path.rsplit("/", 1)[1], headers=headers)
                body = backend.getresponse().read()
                backend.close()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    request_queue_size = 128


Server(("127.0.0.1", PORT), Handler).serve_forever(poll_interval=5)
