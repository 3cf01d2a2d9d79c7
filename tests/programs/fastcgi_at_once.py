"""FastCGI by hand: a server that reads what comes with one recv, asks a service once for each request in it, then answers all; and a
client that sends requests over one connection, as many at once as it is told.

Arguments: the service's port, the requests at once, and how often.
"""

import socket
import struct
import sys
import threading
import urllib.request

BACKEND, AT_ONCE, ROUNDS = (int(word) for word in sys.argv[1:4])


def record(kind, number, content=b""):
    padding = -len(content) % 8
    return struct.pack("!BBHHBB", 1, kind, number, len(content), padding, 0) + content + bytes(padding)


def pair(name, value):
    return bytes([len(name), len(value)]) + name.encode() + value.encode()


def request(number, uri):
    parameters = pair("REQUEST_METHOD", "GET") + pair("REQUEST_URI", uri)
    begin = record(1, number, struct.pack("!HB5x", 1, 1))
    return begin + record(4, number, parameters) + record(4, number) + record(5, number)


def records(data):
    while data:
        _, kind, number, length, padding, _ = struct.unpack("!BBHHBB", data[:8])
        yield kind, number, data[8 : 8 + length]
        data = data[8 + length + padding :]


def serve(listener):
    connection, _ = listener.accept()
    while data := connection.recv(65536):
        asked = {}
        for kind, number, content in records(data):
            if kind == 4 and content:
                asked[number] = content[content.index(b"/call/") + 6 :].decode()
        answer = b""
        for number, name in asked.items():
            urllib.request.urlopen(f"http://127.0.0.1:{BACKEND}/bytes/{name}").read()
            answer += record(6, number, b"Status: 200 OK\r\n\r\n" + name.encode()) + record(3, number, bytes(8))
        connection.sendall(answer)


def main():
    listener = socket.create_server(("127.0.0.1", 0))
    server = threading.Thread(target=serve, args=[listener])
    server.start()
    with socket.create_connection(listener.getsockname()) as connection:
        for turn in range(ROUNDS):
            numbers = range(1, AT_ONCE + 1)
            connection.sendall(b"".join(request(number, f"/call/{turn * AT_ONCE + number}") for number in numbers))
            ended = 0
            while ended < AT_ONCE:
                data = connection.recv(65536)
                ended += sum(kind == 3 for kind, _, _ in records(data))
    server.join()


main()
