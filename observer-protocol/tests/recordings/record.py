#!/usr/bin/env python3
"""Records TLS connections for `observer-protocol/tests/recorded.rs`: `python3 record.py [NAME…]` beside this file.

Real programs talk through a proxy that keeps what each side sent; one side writes its key log. Each file has lines of
`c HEX` and `s HEX` (what client and server sent, in the order seen), `key LABEL RANDOM SECRET`, `said c COUNT` and
`said s COUNT` (each side said so many bytes of its pattern, below), and what the programs themselves say of the connection.
The secrets are of these connections alone, with a key that is made anew each time. Needs openssl, Node and Go.
"""

import os
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
HOST = "recorded.example"


def pattern(side, count):
    """The first bytes of what a side says: lines of sixteen, none of which is a command of s_client or s_server."""
    word = "client" if side == "c" else "server"
    return "".join(f"{line:08} {word}\n" for line in range(count // 16 + 1)).encode()[:count]


class Proxy:
    """Forwards one connection, and keeps what passes."""

    def __init__(self, port):
        self.seen = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.target = port
        self.lock = threading.Lock()
        self.done = threading.Event()
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        client, _ = self.listener.accept()
        server = socket.create_connection(("127.0.0.1", self.target))
        ways = [
            threading.Thread(target=self.copy, args=way, daemon=True)
            for way in [("c", client, server), ("s", server, client)]
        ]
        [way.start() for way in ways]
        [way.join() for way in ways]
        self.done.set()

    def copy(self, side, source, target):
        try:
            while data := source.recv(65536):
                with self.lock:
                    self.seen.append((side, data))
                target.sendall(data)
        except OSError:
            pass
        try:
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class Folder:
    def __init__(self, path):
        self.path = path
        self.certificate, self.key = f"{path}/certificate.pem", f"{path}/key.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", self.key, "-out", self.certificate,
             "-days", "400", "-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}"],
            check=True, stderr=subprocess.DEVNULL)
        end = subprocess.check_output(["openssl", "x509", "-enddate", "-noout", "-in", self.certificate], text=True)
        self.not_after = int(ssl.cert_time_to_seconds(end.strip().split("=")[1]))

    def log(self):
        path = f"{self.path}/{time.monotonic_ns()}.keys"
        open(path, "w").close()
        return path


def write(name, folder, proxy, log, said, facts):
    proxy.done.wait(10)
    lines = [f"{key} {value}" for key, value in facts.items()]
    lines.append(f"not_after {folder.not_after}")
    lines += [f"key {line.strip()}" for line in open(log) if line.strip() and not line.startswith("#")]
    lines += [f"said {side} {count}" for side, count in said.items()]
    # Neighbours of one side are put together, as a large read would.
    turns = []
    for side, data in proxy.seen:
        if turns and turns[-1][0] == side:
            turns[-1][1] += data
        else:
            turns.append([side, data])
    lines += [f"{side} {data.hex()}" for side, data in turns]
    with open(f"{HERE}/{name}.txt", "w") as file:
        file.write("\n".join(lines) + "\n")
    print(name, facts, said, {side: sum(len(d) for s, d in proxy.seen if s == side) for side in "cs"})


def exactly(connection, count):
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        assert more, "closed early"
        data += more
    return data


TURNS = [("c", 100), ("s", 1500), ("c", 3000), ("s", 40), ("s", 60)]


def python(name, folder, server_setup, client_setup, turns=TURNS, refused=False, sessions=1):
    """Both ends by Python's ssl; the last of `sessions` connections is kept, which resume each other."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder.certificate, folder.key)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not refused:
        client.load_verify_locations(folder.certificate)
    for context in (server, client):
        context.set_alpn_protocols(["h2", "http/1.1"] if context is client else ["http/1.1"])
    server_setup(server)
    client_setup(client)
    listener = socket.create_server(("127.0.0.1", 0))
    session = None
    log = folder.log()
    server.keylog_filename = log
    for _ in range(sessions):
        if not (sessions > 1 and name.endswith("_12")):
            # TLS 1.2's resumption needs the first connection's master secret.
            open(log, "w").close()
        proxy = Proxy(listener.getsockname()[1])
        ended = []

        def serve():
            plain, _ = listener.accept()
            said = {"c": 0, "s": 0}
            try:
                with server.wrap_socket(plain, server_side=True) as connection:
                    for side, count in turns:
                        if side == "c":
                            exactly(connection, count)
                        else:
                            connection.sendall(pattern("s", said["s"] + count)[said["s"]:])
                        said[side] += count
                    connection.unwrap()
            except (ssl.SSLError, OSError) as error:
                ended.append(error)
                plain.close()

        thread = threading.Thread(target=serve)
        thread.start()
        said, facts = {"c": 0, "s": 0}, {"sni": HOST}
        plain = socket.create_connection(("127.0.0.1", proxy.port))
        try:
            connection = client.wrap_socket(plain, server_hostname=HOST, session=session)
            for side, count in turns:
                if side == "s":
                    exactly(connection, count)
                else:
                    connection.sendall(pattern("c", said["c"] + count)[said["c"]:])
                said[side] += count
            session = connection.session
            facts |= {"version": connection.version(), "openssl_suite": connection.cipher()[0],
                      "alpn": connection.selected_alpn_protocol(), "resumed": int(connection.session_reused)}
            try:
                connection.unwrap()
            except (ssl.SSLError, OSError):
                pass
            connection.close()
        except ssl.SSLError as error:
            assert refused, error
            facts["refused"] = 1
            plain.close()
        thread.join()
        assert refused or not ended, ended
    write(name, folder, proxy, log, said, facts)


def wait_for(what, seconds=10):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "nothing came"
        time.sleep(0.01)


def openssl(name, folder, server_options, client_options, turns=TURNS, early=0, resume=False):
    """Both ends by openssl's own programs. A turn may be a command: a letter and who is given it."""
    session = f"{folder.path}/{name}.session"
    log = folder.log()
    port = free_port()
    server = subprocess.Popen(
        ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", folder.certificate, "-key", folder.key,
         "-keylogfile", log, *server_options],
        stdin=subprocess.PIPE, stdout=open(f"{session}.server", "wb"), stderr=subprocess.STDOUT)
    wait_for(lambda: b"ACCEPT" in open(f"{session}.server", "rb").read())

    def connect(port, options, turns, early):
        client = subprocess.Popen(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", HOST, "-CAfile", folder.certificate,
             *client_options, *options],
            stdin=subprocess.PIPE, stdout=open(f"{session}.client", "wb"), stderr=subprocess.STDOUT)
        said = {"c": early, "s": 0}
        begun = len(open(f"{session}.server", "rb").read())
        shown = lambda side: open(f"{session}.{'server' if side == 'c' else 'client'}", "rb").read()
        wait_for(lambda: b"Verify return code" in shown("s"))
        for side, count in turns:
            process = client if side == "c" else server
            if isinstance(count, str):
                process.stdin.write(count.encode() + b"\n")
                process.stdin.flush()
                time.sleep(0.3)
                continue
            process.stdin.write(pattern(side, said[side] + count)[said[side]:])
            process.stdin.flush()
            said[side] += count
            # A whole number of lines is said, so the last one shows that all came.
            last = pattern(side, said[side])[-16:]
            seen = lambda: shown(side)[begun if side == "c" else 0:]
            wait_for(lambda: last in seen())
        text = shown("s").decode(errors="replace")
        client.stdin.close()
        client.wait(10)
        return said, text

    turns = [(side, count if isinstance(count, str) else (count + 15) // 16 * 16) for side, count in turns]
    if resume:
        connect(port, ["-sess_out", session], [("c", 16), ("s", 16)], 0)
        open(log, "w").close()
    options = ["-sess_in", session] if resume else []
    if early:
        open(f"{session}.early", "wb").write(pattern("c", early))
        options += ["-early_data", f"{session}.early"]
    proxy = Proxy(port)
    said, text = connect(proxy.port, options, turns, early)
    proxy.done.wait(10)
    server.kill()
    server.wait()
    version, suite = re.findall(r"New, (TLSv[\d.]+), Cipher is (\S+)|Reused, (TLSv[\d.]+), Cipher is (\S+)", text)[0][0:2] \
        if "New, TLS" in text else re.findall(r"Reused, (TLSv[\d.]+), Cipher is (\S+)", text)[0]
    write(name, folder, proxy, log, said,
          {"sni": HOST, "version": version, "openssl_suite": suite, "resumed": int("Reused, " in text)})


def program(name, folder, command, version, turns=TURNS):
    """Both ends by one program: it is given ports, certificate, key, key log, version and turns, and says the suite."""
    log, port = folder.log(), free_port()
    proxy = Proxy(port)
    turns_text = ",".join(f"{side}{count}" for side, count in turns)
    text = subprocess.check_output(
        [*command, str(port), str(proxy.port), folder.certificate, folder.key, log, version, turns_text], text=True)
    said = {side: sum(count for s, count in turns if s == side) for side in "cs"}
    write(name, folder, proxy, log, said,
          {"sni": HOST, "version": f"TLSv{version}", "suite": text.strip(), "alpn": "http/1.1", "resumed": 0})


def at_most_12(context):
    context.maximum_version = ssl.TLSVersion.TLSv1_2


def suite_12(cipher, options=0):
    def setup(context):
        at_most_12(context)
        context.set_ciphers(f"{cipher}:@SECLEVEL=0")
        context.options |= options
    return setup


NO_ENCRYPT_THEN_MAC, NO_EXTENDED_MASTER_SECRET = 1 << 19, 1
ANY_12 = suite_12("ALL")
NOTHING = lambda context: None


def recordings(folder):
    yield "python_13", python, (NOTHING, NOTHING, [("c", 100), ("s", 20000), ("c", 50), ("s", 50)])
    yield "python_resumed_13", python, (NOTHING, NOTHING, TURNS, False, 2)
    yield "python_refused_13", python, (NOTHING, NOTHING, TURNS, True)
    yield "python_refused_12", python, (at_most_12, NOTHING, TURNS, True)
    yield "python_resumed_12", python, (at_most_12, NOTHING, TURNS, False, 2)
    for cipher in ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-CHACHA20-POLY1305",
                   "AES128-CCM", "AES256-CCM", "AES128-CCM8", "AES256-CCM8"]:
        name = cipher.lower().replace("-", "_")
        yield f"python_{name}_12", python, (suite_12(cipher), ANY_12)
    for cipher in ["AES128-SHA", "ECDHE-RSA-AES256-SHA", "ECDHE-RSA-AES128-SHA256", "AES256-SHA256",
                   "ECDHE-RSA-AES256-SHA384"]:
        name = cipher.lower().replace("-", "_")
        yield f"python_{name}_etm_12", python, (suite_12(cipher), ANY_12)
        yield f"python_{name}_mte_12", python, (suite_12(cipher, NO_ENCRYPT_THEN_MAC), ANY_12)
    yield "python_no_ems_12", python, (suite_12("AES128-GCM-SHA256", NO_EXTENDED_MASTER_SECRET), ANY_12)
    for suite in ["AES_128_GCM_SHA256", "AES_256_GCM_SHA384", "CHACHA20_POLY1305_SHA256", "AES_128_CCM_SHA256",
                  "AES_128_CCM_8_SHA256"]:
        options = ["-ciphersuites", f"TLS_{suite}", "-cipher", "ALL:@SECLEVEL=0"]
        yield f"openssl_{suite.lower()}_13", openssl, (options, options)
    yield "openssl_retry_13", openssl, (["-groups", "P-384"], [])
    yield "openssl_key_update_13", openssl, (
        [], [], [("c", 32), ("s", 32), ("c", "k"), ("c", 32), ("s", "K"), ("s", 32), ("c", 32), ("c", "K"), ("c", 48), ("s", 48)])
    yield "openssl_early_13", openssl, (["-early_data"], [], [("s", 32), ("c", 64), ("s", 64)], 64, True)
    yield "openssl_early_refused_13", openssl, (["-max_early_data", "1000"], [], [("s", 32), ("c", 64), ("s", 64)], 64, True)
    yield "openssl_renegotiation_12", openssl, (
        ["-tls1_2", "-client_renegotiation"], ["-tls1_2"], [("c", 32), ("s", 32), ("c", "R"), ("c", 48), ("s", 48)])
    yield "openssl_padded_13", openssl, (["-record_padding", "512"], ["-record_padding", "64"])
    subprocess.run(["go", "build", "-o", f"{folder.path}/go", f"{HERE}/programs/both.go"], check=True)
    for version in ["1.2", "1.3"]:
        digits = version.replace(".", "")
        yield f"go_{digits}", program, ([f"{folder.path}/go"], version)
        yield f"node_{digits}", program, (["node", f"{HERE}/programs/both.js"], version)


def main():
    with tempfile.TemporaryDirectory() as path:
        folder = Folder(path)
        for name, how, arguments in recordings(folder):
            if not sys.argv[1:] or name in sys.argv[1:]:
                how(name, folder, *arguments)


main()
