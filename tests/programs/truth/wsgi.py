"""A hop of a chain for gunicorn: wsgi:application, with the next service's port in TRUTH_NEXT.

With TRUTH_TLS_NEXT, a folder with cert.pem, it asks over TLS.
"""

import os

import requests
from hop import Hop

TLS = os.environ.get("TRUTH_TLS_NEXT")
NEXT = ("https" if TLS else "http") + "://127.0.0.1:" + os.environ["TRUTH_NEXT"]
SESSION = requests.Session()
SESSION.trust_env = False
if TLS:
    SESSION.verify = TLS + "/cert.pem"
for scheme in ("http://", "https://"):
    SESSION.mount(scheme, requests.adapters.HTTPAdapter(pool_maxsize=64))


def fetch(connections, path):
    headers = {"Connection": "close"} if connections == "fresh" else None
    SESSION.get(NEXT + path, headers=headers, timeout=60).raise_for_status()


HOP = Hop(fetch)


class Answer(list):
    """gunicorn closes it when the response is sent."""

    afterwards = None

    def close(self):
        if self.afterwards:
            self.afterwards()


def application(environ, start_response):
    # ThreadPoolExecutor starts its threads when they are needed, so each worker has its own.
    answer = Answer([b"ok\n"])
    answer.afterwards = HOP.serve(environ["PATH_INFO"])
    start_response("200 OK", [("Content-Length", "3")])
    return answer
