"""An HTTP client over TLS: tls_client.py LIBRARY CERTIFICATES URL PATH...

LIBRARY: stdlib (one connection), fresh (the same, a connection each), requests, httpx, aiohttp (both with four connections at once).
CERTIFICATES is a folder with cert.pem. Asks URL for each PATH by GET, or sends so many bytes by POST where the path is
/echo/BYTES; writes a line for each answer: status, bytes of its body, path.
"""

import asyncio
import ssl
import sys
from urllib.parse import urlsplit

LIBRARY, CERTIFICATES, URL, *PATHS = sys.argv[1:]
CERTIFICATE = CERTIFICATES + "/cert.pem"


def body(path):
    return b"y" * int(path.rsplit("/", 1)[1]) if path.startswith("/echo/") else None


def method(path):
    return "GET" if body(path) is None else "POST"


def say(status, content, path):
    print(status, len(content), path, flush=True)


def stdlib():
    from http.client import HTTPSConnection

    url = urlsplit(URL)
    context = ssl.create_default_context(cafile=CERTIFICATE)
    connection = None
    for path in PATHS:
        if connection is None or LIBRARY == "fresh":
            connection = HTTPSConnection(url.hostname, url.port, context=context)
        connection.request(method(path), path, body(path))
        answer = connection.getresponse()
        say(answer.status, answer.read(), path)
        if LIBRARY == "fresh":
            connection.close()


def requests():
    import requests

    with requests.Session() as session:
        session.verify, session.trust_env = CERTIFICATE, False
        for path in PATHS:
            answer = session.request(method(path), URL + path, data=body(path))
            say(answer.status_code, answer.content, path)


async def httpx():
    import httpx

    context = ssl.create_default_context(cafile=CERTIFICATE)
    limits = httpx.Limits(max_connections=4)
    async with httpx.AsyncClient(verify=context, limits=limits, timeout=60) as client:

        async def ask(path):
            answer = await client.request(method(path), URL + path, content=body(path))
            say(answer.status_code, answer.content, path)

        await asyncio.gather(*map(ask, PATHS))


async def aiohttp():
    import aiohttp

    context = ssl.create_default_context(cafile=CERTIFICATE)
    connector = aiohttp.TCPConnector(limit=4, ssl=context)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def ask(path):
            async with session.request(method(path), URL + path, data=body(path)) as answer:
                say(answer.status, await answer.read(), path)

        await asyncio.gather(*map(ask, PATHS))


if LIBRARY in ("stdlib", "fresh"):
    stdlib()
elif LIBRARY == "requests":
    requests()
else:
    asyncio.run({"httpx": httpx, "aiohttp": aiohttp}[LIBRARY]())
