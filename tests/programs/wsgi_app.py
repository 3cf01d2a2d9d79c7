"""The test service in Flask, for gunicorn."""

import time

from flask import Flask, Response, request

app = Flask(__name__)
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


@app.route("/status/<int:code>", methods=METHODS)
def status(code):
    return Response("" if code in (204, 304) else "ok\n", status=code)


@app.route("/bytes/<int:size>")
def some_bytes(size):
    return Response(b"x" * size)


@app.route("/sleep/<int:milliseconds>")
def sleep(milliseconds):
    time.sleep(milliseconds / 1000)
    return Response("ok\n")


@app.route("/echo", methods=METHODS)
@app.route("/echo/<int:size>", methods=METHODS)
def echo(size=0):
    return Response("%d\n" % len(request.get_data()))
