"""Mails over STARTTLS with smtplib. Arguments: folder of the certificate, port, connections."""

import smtplib
import ssl
import sys

folder, port, connections = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
context = ssl.create_default_context(cafile=f"{folder}/cert.pem")
for number in range(connections):
    with smtplib.SMTP("localhost", port) as mail:
        mail.starttls(context=context)
        mail.sendmail("a@localhost", ["b@localhost"], f"Subject: {number}\r\n\r\nThis is mail {number}.")
