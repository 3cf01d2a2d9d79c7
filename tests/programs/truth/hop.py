"""One hop of a chain, for services that do blocking I/O: what a request to /CONNECTIONS/MODES/TAG/HOP makes its service do.

The first of MODES (see xtask/src/truth/path.rs) is done here, the rest is passed on. Nothing of the request goes on but what stands in the path.
"""

import os
import queue
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor


class Hop:
    def __init__(self, fetch):
        """fetch(connections, path) asks the next service and returns when its answer is read."""
        self.fetch = fetch
        self.workers = ThreadPoolExecutor(8)
        self.ticking, self.row, self.lock = 0.0, None, threading.Lock()
        self.process = None

    def serve(self, path):
        """Does what the path says. Returns what is to be done after the response, or None."""
        _, connections, modes, tag, hop = path.split("/")
        mode, _, rest = modes.partition("-")

        def call(number):
            self.fetch(connections, f"/{connections}/{rest or 'direct'}/{tag}/{hop}.{number}")

        if mode == "after":
            return lambda: self.fetch(connections, f"/{connections}/direct/{tag}~{hop}/0")
        if mode == "timer":
            self.tick_for_a_while(connections, tag.split(".")[0])
        if mode == "sleep":
            time.sleep(random.random() / 50)
        if mode in ("handoff", "parallel"):
            count = 2 if mode == "parallel" else 1
            for work in [self.workers.submit(call, number) for number in range(count)]:
                work.result()
            return None
        if mode == "thread":
            thread = threading.Thread(target=call, args=(0,))
            thread.start()
            thread.join()
            return None
        call(0)
        if mode == "twice":
            call(1)
        return None

    def tick_for_a_while(self, connections, row):
        with self.lock:
            self.ticking, self.row = time.monotonic() + 0.1, (connections, row)
            # A worker that was forked has none of its parent's threads.
            if self.process != os.getpid():
                self.process = os.getpid()
                threading.Thread(target=self.tick, daemon=True).start()

    def tick(self):
        number = 0
        while True:
            time.sleep(0.005)
            if time.monotonic() < self.ticking:
                number += 1
                connections, row = self.row
                self.fetch(connections, f"/{connections}/direct/{row}.tick{os.getpid()}-{number}.0/0")


class Pool:
    """Connections that any thread may take: the one that was given back last."""

    def __init__(self, make):
        self.make, self.idle = make, queue.LifoQueue()

    def take(self):
        try:
            return self.idle.get_nowait()
        except queue.Empty:
            return self.make()

    def give_back(self, connection):
        self.idle.put(connection)
