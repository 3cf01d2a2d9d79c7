"""Both ends of HTTP/1 in TLS 1.3, where a client reads its session tickets between the head of its first request and its body.

Arguments: folder of the certificate, port, connections. On each connection the server reads nothing of the first request before
all of it is written; two more requests follow. On each second connection the first request has no body: its answer is as short as
a ticket.
"""

import os
import socket
import ssl
import sys

folder, port, connections = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
listener = socket.create_server(("127.0.0.1", port))
handshaken, tell_handshaken = os.pipe()
written, tell_written = os.pipe()


def serve():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{folder}/cert.pem", f"{folder}/key.pem")
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    for _ in range(connections):
        with context.wrap_socket(listener.accept()[0], server_side=True) as connection:
            os.write(tell_handshaken, b"x")
            for _ in range(3):
                os.read(written, 1)
                said = b""
                while b"\r\n\r\n" not in said:
                    said += connection.recv(65536)
                body = 10 if said.startswith(b"POST") else 0
                while len(said) < said.index(b"\r\n\r\n") + 4 + body:
                    said += connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def ask():
    context = ssl.create_default_context(cafile=f"{folder}/cert.pem")
    for number in range(connections):
        plain = socket.create_connection(("127.0.0.1", port))
        with context.wrap_socket(plain, server_hostname="localhost") as connection:
            os.read(handshaken, 1)
            for request in range(3):
                has_body = request == 2 or (request == 0 and number % 2 == 0)
                length = "Content-Length: 10\r\n" if has_body else ""
                head = f"/{number}/{request} HTTP/1.1\r\nHost: localhost\r\n{length}\r\n"
                connection.sendall(f"{'POST' if has_body else 'GET'} {head}".encode())
                if has_body:
                    connection.setblocking(False)
                    try:
                        connection.recv(1)
                    except ssl.SSLWantReadError:
                        pass
                    connection.setblocking(True)
                    connection.sendall(b"0123456789")
                os.write(tell_written, b"x")
                answer = b""
                while not answer.endswith(b"ok"):
                    answer += connection.recv(65536)


if os.fork() == 0:
    serve()
else:
    ask()
    os.wait()
