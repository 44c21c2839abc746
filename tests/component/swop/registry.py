"""A registry with one image, on the loopback interface, where Docker asks for no certificate."""

import base64
import gzip
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NAME, TAG = "org/name", "1.0"
USER, PASSWORD = "me", "secret:word"
AUTH = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def _image() -> tuple[bytes, dict[str, bytes]]:
    """Manifest and blobs of an image that holds one file."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        member = tarfile.TarInfo("pulled.txt")
        member.size = 6
        archive.addfile(member, io.BytesIO(b"pulled"))
    raw = layer.getvalue()
    packed = gzip.compress(raw, mtime=0)
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [_digest(raw)]},
            "history": [{"created_by": "test"}],
        }
    ).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": _part("application/vnd.docker.container.image.v1+json", config),
        "layers": [_part("application/vnd.docker.image.rootfs.diff.tar.gzip", packed)],
    }
    return json.dumps(manifest).encode(), {_digest(config): config, _digest(packed): packed}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _part(kind: str, content: bytes) -> dict[str, object]:
    return {"mediaType": kind, "size": len(content), "digest": _digest(content)}


_MANIFEST_BYTES, _BLOBS = _image()
_NOT_FOUND = (404, "application/json", b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}')
_WHO = (401, "application/json", b'{"errors":[{"code":"UNAUTHORIZED"}]}')


class _Handler(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self.wfile.write(self._answer())

    def _answer(self) -> bytes:
        known = self.headers.get("Authorization") == f"Basic {AUTH}"
        status, kind, content = self._find() if known else _WHO
        self.send_response(status)
        if not known:
            self.send_header("WWW-Authenticate", 'Basic realm="test"')
        if kind == _MANIFEST:
            self.send_header("Docker-Content-Digest", _digest(content))
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        return content

    def _find(self) -> tuple[int, str, bytes]:
        last = self.path.rpartition("/")[2]
        if self.path == "/v2/":
            return 200, "application/json", b"{}"
        if self.path == f"/v2/{NAME}/manifests/{TAG}" or last == _digest(_MANIFEST_BYTES):
            return 200, _MANIFEST, _MANIFEST_BYTES
        if last in _BLOBS:
            return 200, "application/octet-stream", _BLOBS[last]
        return _NOT_FOUND

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@contextmanager
def registry() -> Iterator[str]:
    """Serve it; ``host:port``."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
