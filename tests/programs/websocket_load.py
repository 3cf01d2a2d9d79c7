"""Many WebSocket connections for some seconds, on the package websockets. Prints what each sent and got, a line of JSON each.

Arguments: port, connections, seconds, and `deflate` where messages are compressed.
"""

import asyncio
import json
import random
import sys
import time

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

SIZES = [0, 1, 125, 126, 300, 4000, 70_000]
ENDS = ["close", "close 4000", "close 1001", "close 4001", "abort", "kill"]


class Chat:
    def __init__(self, number, port, deflate):
        self.number, self.random = number, random.Random(number)
        self.counts = {"path": f"/chat/{number}", "sent": 0, "sent_bytes": 0, "got": 0, "got_bytes": 0}
        self.url = f"ws://127.0.0.1:{port}{self.counts['path']}?token=secret"
        self.deflate = "deflate" if deflate else None

    async def get(self):
        message = await self.socket.recv()
        self.counts["got"] += 1
        self.counts["got_bytes"] += len(message.encode() if isinstance(message, str) else message)

    async def say(self, pieces):
        await self.socket.send(pieces if len(pieces) > 1 else pieces[0])
        self.counts["sent"] += 1
        self.counts["sent_bytes"] += sum(len(piece) for piece in pieces)

    async def run(self, until):
        self.socket = await connect(self.url, compression=self.deflate, max_size=None, open_timeout=60)
        await self.get()
        while time.monotonic() < until:
            size = self.random.choice(SIZES)
            piece = ("x" * size) if self.random.random() < 0.5 else (b"y" * size)
            await self.say([piece] * self.random.choice([1, 1, 3]))
            if self.random.random() < 0.2:
                await (await self.socket.ping())
            await self.get()
            await asyncio.sleep(self.random.random() * 0.1)
        await self.end(ENDS[self.number % len(ENDS)])
        return self.counts

    async def end(self, how):
        self.counts["end"] = how
        if how == "close":
            await self.socket.close()
        elif how == "close 4000":
            await self.socket.close(4000)
        elif how == "abort":
            self.socket.transport.abort()
        else:
            await self.say([how])
            try:
                await self.get()
            except ConnectionClosed:
                pass


async def main():
    port, connections, seconds = (int(word) for word in sys.argv[1:4])
    until = time.monotonic() + seconds
    chats = (Chat(number, port, sys.argv[4:] == ["deflate"]).run(until) for number in range(connections))
    for counts in await asyncio.gather(*chats):
        print(json.dumps(counts))


asyncio.run(main())
