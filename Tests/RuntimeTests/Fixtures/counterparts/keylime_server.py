"""Starts one of Keylime's servers in the working folder, for the fixtures beside this file."""
import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

here = pathlib.Path.cwd()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def make_certificate():
    """Makes tls.key and tls.pem, which the server and its client share."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "tls.key",
                    "-out", "tls.pem", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"],
                   check=True, capture_output=True)


@contextlib.contextmanager
def running(program, texts, version_url, context=None):
    """Runs a program with these sections, each in a file of its own, until the block ends; prints the log after an HTTP error."""
    environment = dict(os.environ, KEYLIME_DIR=str(here))
    for name, text in texts.items():
        (here / f"{name}.conf").write_text(f"[{name}]\nversion = 2.5\n{text}")
        environment[f"KEYLIME_{name.upper()}_CONFIG"] = str(here / f"{name}.conf")
    log = here / "server.log"
    with open(log, "w") as file:
        server = subprocess.Popen([program], env=environment, stdout=file, stderr=file, start_new_session=True)
    try:
        await_server(server, version_url, context, log)
        yield
    except urllib.error.HTTPError as error:
        print(error.code, error.read().decode(), log.read_text()[-2000:])
    finally:
        # Its processes wait for each other.
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(60)


def await_server(server, version_url, context, log):
    for _ in range(600):
        try:
            urllib.request.urlopen(version_url, timeout=10, context=context).close()
            return
        except (urllib.error.URLError, ConnectionError):
            if server.poll() is not None:
                sys.exit("the server ended: " + log.read_text()[-2000:])
            time.sleep(0.1)
    sys.exit("the server does not listen")
