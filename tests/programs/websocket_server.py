"""The same server as websocket_server.js, on the package websockets."""

import asyncio
import sys

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed


async def chat(socket):
    try:
        await socket.send("welcome")
        async for message in socket:
            if isinstance(message, str) and message.startswith("close "):
                await socket.close(int(message[6:]))
            elif message == "kill":
                socket.transport.abort()
            else:
                await socket.send(message)
    except ConnectionClosed:
        pass


async def main():
    compression = "deflate" if sys.argv[2:] == ["deflate"] else None
    async with serve(chat, "127.0.0.1", int(sys.argv[1]), compression=compression, max_size=None):
        await asyncio.Future()


asyncio.run(main())
