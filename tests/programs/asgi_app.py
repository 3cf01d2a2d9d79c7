"""The test service in FastAPI, for uvicorn."""

import asyncio

from fastapi import FastAPI, Request, Response

app = FastAPI()
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


@app.api_route("/status/{code}", methods=METHODS)
async def status(code: int):
    return Response("" if code in (204, 304) else "ok\n", status_code=code)


@app.get("/bytes/{size}")
async def some_bytes(size: int):
    return Response(b"x" * size)


@app.get("/sleep/{milliseconds}")
async def sleep(milliseconds: int):
    await asyncio.sleep(milliseconds / 1000)
    return Response("ok\n")


@app.api_route("/echo", methods=METHODS)
@app.api_route("/echo/{size}", methods=METHODS)
async def echo(request: Request):
    return Response("%d\n" % len(await request.body()))
