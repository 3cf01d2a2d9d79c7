"""A hop of a chain for uvicorn: asgi:application, with the next service's port in TRUTH_NEXT and aiohttp or httpx in
TRUTH_CLIENT. What a path means stands in xtask/src/truth/path.rs.
"""

import asyncio
import os
import random
import ssl
import time
import urllib.request

TLS = os.environ.get("TRUTH_TLS_NEXT")
NEXT = ("https" if TLS else "http") + "://127.0.0.1:" + os.environ["TRUTH_NEXT"]
TRUST = ssl.create_default_context(cafile=TLS + "/cert.pem") if TLS else True
BLOCKING = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Aiohttp:
    def __init__(self):
        import aiohttp

        def session(close):
            connector = aiohttp.TCPConnector(limit=0, force_close=close, ssl=TRUST)
            return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(60))

        self.sessions = {"keep": session(False), "fresh": session(True)}

    async def fetch(self, connections, path):
        async with self.sessions[connections].get(NEXT + path) as answer:
            await answer.read()


class Httpx:
    def __init__(self):
        import httpx

        def client(idle):
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=idle)
            return httpx.AsyncClient(limits=limits, timeout=60, trust_env=False, verify=TRUST)

        self.clients = {"keep": client(512), "fresh": client(0)}

    async def fetch(self, connections, path):
        await self.clients[connections].get(NEXT + path)


class Service:
    """Everything that begins before any request."""

    def __init__(self):
        self.fetch = {"aiohttp": Aiohttp, "httpx": Httpx}[os.environ["TRUTH_CLIENT"]]().fetch
        self.queue = asyncio.Queue()
        self.until, self.row = 0.0, None
        self.tasks = [asyncio.create_task(self.work()) for _ in range(8)]
        self.tasks.append(asyncio.create_task(self.tick()))

    async def work(self):
        while True:
            connections, path, done = await self.queue.get()
            await self.fetch(connections, path)
            done.set_result(None)

    async def tick(self):
        number = 0
        while True:
            await asyncio.sleep(0.005)
            if time.monotonic() < self.until:
                number += 1
                connections, row = self.row
                await self.fetch(connections, f"/{connections}/direct/{row}.tick{os.getpid()}-{number}.0/0")

    async def serve(self, path):
        """Does what the path says. Returns what is to be done after the response, or None."""
        _, connections, modes, tag, hop = path.split("/")
        mode, _, rest = modes.partition("-")

        def to(number):
            return f"/{connections}/{rest or 'direct'}/{tag}/{hop}.{number}"

        if mode == "after":
            return lambda: self.fetch(connections, f"/{connections}/direct/{tag}~{hop}/0")
        if mode == "parallel":
            await asyncio.gather(*(self.fetch(connections, to(number)) for number in range(2)))
            return None
        if mode == "handoff":
            done = asyncio.get_running_loop().create_future()
            self.queue.put_nowait((connections, to(0), done))
            await done
            return None
        if mode == "thread":
            await asyncio.get_running_loop().run_in_executor(None, blocking_fetch, to(0))
            return None
        if mode == "timer":
            self.until, self.row = time.monotonic() + 0.1, (connections, tag.split(".")[0])
        if mode == "sleep":
            await asyncio.sleep(random.random() / 50)
        if mode == "spin":
            for _ in range(20):
                await asyncio.sleep(0)
        await self.fetch(connections, to(0))
        if mode == "twice":
            await self.fetch(connections, to(1))
        return None


def blocking_fetch(path):
    with BLOCKING.open(NEXT + path, timeout=60) as answer:
        answer.read()


SERVICE = None


async def application(scope, receive, send):
    global SERVICE
    if scope["type"] == "lifespan":
        await receive()
        SERVICE = Service()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    afterwards = await SERVICE.serve(scope["path"])
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"3")]})
    await send({"type": "http.response.body", "body": b"ok\n"})
    if afterwards:
        await afterwards()
