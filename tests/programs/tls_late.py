"""A server that takes one connection, and begins its TLS only when it is told to.

Arguments: folder of the certificate, where to write the key log, version (1.2 or 1.3), and "postgres" where the client asks
for TLS first. Says its port, then "connected"; a line on its input begins the handshake.
"""

import socket
import ssl
import sys

folder, log, version = sys.argv[1:4]
versions = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(f"{folder}/cert.pem", f"{folder}/key.pem")
context.minimum_version = context.maximum_version = versions[version]
context.keylog_filename = log
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
connection, _ = listener.accept()
print("connected", flush=True)
sys.stdin.readline()
if "postgres" in sys.argv[4:]:
    # SSLRequest: length and code. It is answered by one byte.
    connection.recv(8, socket.MSG_WAITALL)
    connection.sendall(b"S")
try:
    with context.wrap_socket(connection, server_side=True) as secure:
        secure.recv(1000)
except OSError:
    pass  # The client has seen enough.
