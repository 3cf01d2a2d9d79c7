"""Both ends of a protocol that nobody else speaks, many exchanges at once on a connection:
made_up.py serve PORT [BACKEND]
made_up.py ask PORT

Every message is a frame: F7 6D, a kind, an id of four bytes, a length of four bytes, and so many bytes. A call's first four
bytes say how many its reply has. The server answers what it has read in the opposite order; before it answers a call it asks the
HTTP server at the port BACKEND, if any, for /sleep/ID. The client does what its standard
input says, a line a step, and says `done` after each:
calls FIRST COUNT SIZE REPLY   so many calls at once, and all their replies
one ID SIZE REPLY              one call, in writes of 1,000 bytes each
tell ID SIZE                   asks nothing
watch ID SIZE                  three answers of so many bytes
turn ID SIZE                   another protocol: a request, and an answer of so many bytes that says at its end that it ends
"""

import socket
import struct
import sys
import threading
import urllib.request

CALL, TELL, WATCH, REPLY, MORE, DONE = range(1, 7)
TURN = 9
HEADER = struct.Struct(">2sBII")


def frame(kind, number, content):
    return HEADER.pack(b"\xf7m", kind, number, len(content)) + content


class Frames:
    """What arrives on a connection, frame by frame."""

    def __init__(self, connection):
        self.connection = connection
        self.held = b""

    def read(self):
        """All frames that are there, at least one; none at the end."""
        while True:
            if self.held[:2] == b"\xf7t" and len(self.held) >= 10:
                number, size = struct.unpack_from(">II", self.held, 2)
                self.held = self.held[10:]
                return [(TURN, number, size)]
            if self.held[:2] == b"\xf7T" and self.held.endswith(b"END\n"):
                answer, self.held = self.held, b""
                return [(TURN, 0, answer)]
            frames, at = [], 0
            while len(self.held) - at >= HEADER.size and self.held[:2] == b"\xf7m":
                magic, kind, number, length = HEADER.unpack_from(self.held, at)
                assert magic == b"\xf7m"
                if len(self.held) - at < HEADER.size + length:
                    break
                at += HEADER.size
                frames.append((kind, number, self.held[at : at + length]))
                at += length
            self.held = self.held[at:]
            if frames:
                return frames
            more = self.connection.recv(65536)
            if not more:
                return []
            self.held += more


def serve(connection):
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    frames = Frames(connection)
    while taken := frames.read():
        for kind, number, content in reversed(taken):
            if kind == CALL:
                if len(sys.argv) > 3:
                    urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[3]}/sleep/{number}").read()
                size = struct.unpack_from(">I", content)[0]
                connection.sendall(frame(REPLY, number, b"r" * size))
            elif kind == TURN:
                answer = b"\xf7T" + b"t" * (content - 6) + b"END\n"
                for at in range(0, len(answer), 20000):
                    connection.sendall(answer[at : at + 20000])
            elif kind == WATCH:
                for _ in range(3):
                    connection.sendall(frame(MORE, number, content))
                connection.sendall(frame(DONE, number, b""))


def content(size, reply):
    return struct.pack(">I", reply) + b"c" * (size - 4)


def ask(connection):
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    frames = Frames(connection)
    for line in sys.stdin:
        step, *numbers = line.split()
        numbers = [int(number) for number in numbers]
        awaited = {}
        if step == "calls":
            first, count, size, reply = numbers
            awaited = {number: reply for number in range(first, first + count)}
            connection.sendall(b"".join(frame(CALL, number, content(size, reply)) for number in awaited))
        elif step == "one":
            number, size, reply = numbers
            awaited = {number: reply}
            whole = frame(CALL, number, content(size, reply))
            for at in range(0, len(whole), 1000):
                connection.sendall(whole[at : at + 1000])
        elif step == "tell":
            connection.sendall(frame(TELL, numbers[0], b"t" * numbers[1]))
        elif step == "watch":
            connection.sendall(frame(WATCH, numbers[0], b"w" * numbers[1]))
            awaited = {numbers[0]: 0}
        elif step == "turn":
            number, size = numbers
            connection.sendall(b"\xf7t" + struct.pack(">II", number, size))
            while not (answers := frames.read()):
                pass
            assert len(answers[0][2]) == size
        else:
            raise ValueError(step)
        while awaited:
            for kind, number, answer in frames.read():
                if kind in (REPLY, DONE):
                    assert len(answer) == awaited.pop(number)
        print("done", flush=True)


if sys.argv[1] == "serve":
    listener = socket.create_server(("127.0.0.1", int(sys.argv[2])))
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
else:
    ask(socket.create_connection(("127.0.0.1", int(sys.argv[2]))))
