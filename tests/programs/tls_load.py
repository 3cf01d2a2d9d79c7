"""Load over TLS, from threads: tls_load.py CERTIFICATES URL THREADS

CERTIFICATES is a folder with cert.pem. Each thread asks URL again and again, three times over each connection, until stdin is
closed; then the program writes how many answers came. It fails when one did not come, or was no 200.
"""

import ssl
import sys
import threading
from http.client import HTTPSConnection
from urllib.parse import urlsplit

certificates, url, threads = sys.argv[1:]
url = urlsplit(url)
stop = threading.Event()
answers, failures = [], []


def ask():
    try:
        context = ssl.create_default_context(cafile=certificates + "/cert.pem")
        while not stop.is_set():
            connection = HTTPSConnection(url.hostname, url.port, context=context, timeout=60)
            for _ in range(3):
                connection.request("GET", url.path)
                answer = connection.getresponse()
                answer.read()
                assert answer.status == 200, answer.status
                answers.append(1)
            connection.close()
    except Exception as error:
        failures.append(error)
        stop.set()


running = [threading.Thread(target=ask) for _ in range(int(threads))]
for thread in running:
    thread.start()
sys.stdin.read()
stop.set()
for thread in running:
    thread.join()
if failures:
    sys.exit(f"{failures[0]!r}")
print(len(answers))
