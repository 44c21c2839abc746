"""No proxy of the environment stands between SWOP and its engine."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from services.swop.adapters.docker_client import Access, Client


class Daemon(BaseHTTPRequestHandler):
    """As much of an engine as a connection needs."""

    def do_GET(self):
        body = json.dumps({"ApiVersion": "1.45", "Version": "26"}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def daemon():
    with ThreadingHTTPServer(("127.0.0.1", 0), Daemon) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"tcp://127.0.0.1:{server.server_port}"
        server.shutdown()


async def test_an_engine_behind_tcp_is_spoken_to_directly(daemon, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")
    client = Client(Access(daemon))
    try:
        assert (await client.call(lambda api: api.version()))["Version"] == "26"
    finally:
        await client.close()
