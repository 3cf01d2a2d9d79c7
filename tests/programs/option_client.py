"""A client that does what it is told on stdin, and says on stdout what came of it: option_client.py SERVER PORT

kept N: N requests over one connection; fresh N: a connection each; curl N: curl, over one connection, after a
slow one over another; post BYTES: a body in one
write with the head; reach ADDRESS: a connection that is given three seconds.
"""

import hashlib
import http.client
import os
import socket
import subprocess
import sys

SERVER, PORT = sys.argv[1], int(sys.argv[2])
count = 0


def paths(number):
    """Each is asked for once."""
    global count
    for _ in range(number):
        count += 1
        yield count, f"/bytes/{10000 + count}"


def get(connection):
    number, path = next(paths(1))
    connection.request("GET", path)
    answer = connection.getresponse()
    assert answer.status == 200 and answer.read() == b"x" * (10000 + number), path


for line in sys.stdin:
    command, argument = line.split()
    if command == "kept":
        connection = http.client.HTTPConnection(SERVER, PORT)
        for _ in range(int(argument)):
            get(connection)
        connection.close()
    elif command == "fresh":
        for _ in range(int(argument)):
            connection = http.client.HTTPConnection(SERVER, PORT)
            get(connection)
            connection.close()
    elif command == "curl":
        host = f"[{SERVER}]" if ":" in SERVER else SERVER
        wanted = list(paths(int(argument)))
        # The first takes a while, on a connection of its own: the daemon has to decide about a new process.
        command = ["curl", "-sS", "-H", "Connection: close", f"http://{host}:{PORT}/sleep/500", "--next", "-sS"]
        urls = [f"http://{host}:{PORT}{path}" for _, path in wanted]
        body = subprocess.run(command + urls, stdout=subprocess.PIPE, check=True).stdout
        assert body == b"ok\n" + b"x" * sum(10000 + number for number, _ in wanted)
    elif command == "post":
        body = os.urandom(int(argument))
        head = f"POST /digest HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        connection = socket.create_connection((SERVER, PORT))
        connection.sendall(head + body)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.read().decode() == hashlib.sha256(body).hexdigest()
        connection.close()
    elif command == "reach":
        try:
            socket.create_connection((argument, PORT), timeout=3)
        except TimeoutError:
            pass
    print("done", flush=True)
