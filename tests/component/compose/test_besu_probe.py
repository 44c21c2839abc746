"""The validators' health check, as their containers would run it, against a stand-in for Besu."""

import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from compose.besu.composition import probe
from compose.besu.network import Network, Options


class Besu(BaseHTTPRequestHandler):
    status = 200
    asked: ClassVar[list[tuple[str, str | None]]] = []

    def do_GET(self):
        self.asked.append((self.path, self.headers["Host"]))
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(b'{"status": "UP"}')

    def log_message(self, *_):
        pass


@pytest.fixture(name="besu")
def running_besu():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Besu)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def healthy(port):
    kind, *command = probe(Network.make(Options()), port)
    assert kind == "CMD"
    command = [word.replace("$$", "$") for word in command]  # as compose does
    return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0


@pytest.mark.parametrize(("status", "expected"), [(200, True), (503, False), (403, False)])
def test_healthy_is_what_besu_says_of_itself(besu, monkeypatch, status, expected):
    monkeypatch.setattr(Besu, "status", status)
    monkeypatch.setattr(Besu, "asked", [])
    assert healthy(besu) is expected
    assert Besu.asked == [("/readiness?minPeers=2&maxBlocksBehind=10", "localhost")]


def test_nobody_listening_is_not_healthy():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Besu)
    server.server_close()
    assert not healthy(server.server_port)
