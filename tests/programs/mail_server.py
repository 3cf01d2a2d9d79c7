"""A mail server (aiosmtpd) that takes no mail but over TLS, which begins with STARTTLS. Arguments: folder of the certificate, port."""

import ssl
import sys
import time

from aiosmtpd.controller import Controller


class Taker:
    async def handle_DATA(self, server, session, envelope):
        return "250 taken"


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(f"{sys.argv[1]}/cert.pem", f"{sys.argv[1]}/key.pem")
controller = Controller(
    Taker(),
    hostname="127.0.0.1",
    port=int(sys.argv[2]),
    tls_context=context,
    require_starttls=True,
)
controller.start()
while True:
    time.sleep(60)
