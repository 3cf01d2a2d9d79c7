"""A server that loads its TLS library when the first client asks for TLS.

Arguments: folder of the certificate, port. It answers a line of the first connection's, in the open, once the library is
loaded, and then takes connections with TLS on the same port, each of which it answers once.
"""

import socket
import sys

folder, port = sys.argv[1:3]
listener = socket.create_server(("127.0.0.1", int(port)))
while True:
    connection, _ = listener.accept()
    with connection:
        if connection.recv(100).startswith(b"load"):
            break
import ssl  # noqa: E402

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(f"{folder}/cert.pem", f"{folder}/key.pem")
while True:
    connection, _ = listener.accept()
    try:
        with context.wrap_socket(connection, server_side=True) as secure:
            secure.recv(1000)
            secure.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
    except OSError:
        pass
