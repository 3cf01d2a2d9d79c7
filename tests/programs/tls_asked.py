"""Both ends of connections that begin as MySQL's: the server greets, the client asks for TLS and begins it at once, without an answer;
the server reads the request in two parts. One in two clients says something else in the open instead: a header of a
record, alone, which is no TLS.

Arguments: folder of the certificate, port, connections.
"""

import socket
import ssl
import sys
import threading

folder, port, connections = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
GREETING = b"\x4a\x00\x00\x00\x0a8.0.0-greeting" + bytes(60)
REQUEST = b"\x20\x00\x00\x01\x85\xae\x7f\x00" + bytes(28)
NO_TLS = b"\x16\x03\x01\x02\x00"
listener = socket.create_server(("127.0.0.1", port))


def exactly(connection, count):
    said = b""
    while len(said) < count:
        said += connection.recv(count - len(said))
    return said


def serve():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{folder}/cert.pem", f"{folder}/key.pem")
    for number in range(connections):
        plain = listener.accept()[0]
        plain.sendall(GREETING)
        exactly(plain, 4), exactly(plain, 32)
        if number % 2:
            exactly(plain, len(NO_TLS)), exactly(plain, 600)
            plain.sendall(b"ok")
            plain.close()
            continue
        with context.wrap_socket(plain, server_side=True) as connection:
            connection.sendall(connection.recv(100))
            connection.recv(1)


def ask():
    context = ssl.create_default_context(cafile=f"{folder}/cert.pem")
    for number in range(connections):
        plain = socket.create_connection(("127.0.0.1", port))
        exactly(plain, len(GREETING))
        plain.sendall(REQUEST)
        if number % 2:
            plain.sendall(NO_TLS)
            plain.sendall(b"no hello" * 75)
            exactly(plain, 2)
            plain.close()
            continue
        with context.wrap_socket(plain, server_hostname="localhost") as connection:
            connection.sendall(b"select 1")
            exactly(connection, 8)


server = threading.Thread(target=serve)
server.start()
ask()
server.join()
