"""Many TLS connections at once: tls_many.py CERTIFICATES PORT CONNECTIONS

500 at a time are opened, every other one by TLS 1.2, then each asks for a path of its own, then all are closed. Writes a line for each answer: status, bytes of its
body, path.
"""

import asyncio
import socket
import ssl
import sys

CERTIFICATES, PORT, CONNECTIONS = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
AT_ONCE = 500


def context(version):
    made = ssl.create_default_context(cafile=CERTIFICATES + "/cert.pem")
    made.maximum_version = version
    return made


CONTEXTS = [context(ssl.TLSVersion.TLSv1_3), context(ssl.TLSVersion.TLSv1_2)]


async def ask(number, all_open):
    reader, writer = await asyncio.open_connection("localhost", PORT, ssl=CONTEXTS[number % 2], family=socket.AF_INET)
    await all_open.wait()
    path = f"/small/{number}"
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    head, body = answer.split(b"\r\n\r\n", 1)
    print(head.split(b" ")[1].decode(), len(body), path, flush=True)
    writer.close()


async def main():
    for first in range(0, CONNECTIONS, AT_ONCE):
        count = min(AT_ONCE, CONNECTIONS - first)
        all_open = asyncio.Barrier(count)
        await asyncio.gather(*(ask(first + number, all_open) for number in range(count)))


asyncio.run(main())
