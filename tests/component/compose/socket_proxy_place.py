"""The socket proxy in front of a stand-in for Docker that writes down what it gets."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compose.socket_proxy.daemon import Daemon
from compose.socket_proxy.gate import Gate
from compose.socket_proxy.roots import Roots
from compose.socket_proxy.seal import Seal
from compose.socket_proxy.server import Server

SEAL = Seal(b"k" * 32)
ID = "ab" * 32
BODY_END = b"0\r\n\r\n"


@dataclass
class Place:
    """The proxy, and Docker's stand-in."""

    socket: Path
    root: Path
    things: dict[str, Any] = field(default_factory=dict)
    """Answers of the stand-in by path; 404 for all others."""
    got: list[bytes] = field(default_factory=list)
    """Whole requests that the stand-in got, without the proxy's own questions."""
    hold: asyncio.Event | None = None
    """The stand-in answers once this is set."""
    cut: asyncio.Event = field(default_factory=asyncio.Event)
    """The proxy has dropped its connection to the stand-in while that was waiting."""

    async def send(self, request: bytes) -> tuple[int, str]:
        """Send bytes; the status and the text of the answer, 0 where there is none."""
        reader, writer = await asyncio.open_unix_connection(str(self.socket))
        try:
            writer.write(request)
            async with asyncio.timeout(20):
                answer = await reader.read()
        finally:
            writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]) if head else 0, body.decode()

    async def ask(self, method: str, target: str, body: Any = None) -> tuple[int, str]:
        """Send a well-formed request."""
        content = b"" if body is None else body if isinstance(body, bytes) else _json(body)
        head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n"
        return await self.send(head.encode() + content)

    async def create(self, body: Any, name: str = "c1") -> tuple[int, str]:
        """Ask for a container."""
        return await self.ask("POST", f"/v1.45/containers/create?name={name}", body)

    def passed(self) -> Any:
        """The JSON body of the only request that was passed on."""
        (request,) = self.got
        return json.loads(request.partition(b"\r\n\r\n")[2])

    def own(self, name: str, status: str = "running") -> None:
        """Let Docker have a container that was made through the proxy."""
        self.container(name, SEAL.label("container", name), status)

    def container(self, name: str, labels: dict[str, str], status: str = "running") -> None:
        """Let Docker have a container."""
        self.things[f"/containers/{name}/json"] = {
            "Id": ID, "Name": f"/{name}", "Config": {"Labels": labels}, "State": {"Status": status},
        }  # fmt: skip

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Be Docker."""
        head = await reader.readuntil(b"\r\n\r\n")
        path = head.split()[1].decode()
        question = b" HTTP/1.0\r\n" in head
        if not question:
            if b"Transfer-Encoding: chunked" in head:
                body = await reader.readuntil(BODY_END)
            else:
                length = int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0])
                body = await reader.readexactly(length)
            self.got.append(head + body)
            await self._wait(reader)
        answer = self.things.get(path) if question else {"ok": True}
        status = b"404 Not Found" if answer is None else b"200 OK"
        writer.write(b"HTTP/1.1 " + status + b"\r\nConnection: close\r\n\r\n" + _json(answer))
        writer.close()

    async def _wait(self, reader: asyncio.StreamReader) -> None:
        if self.hold is None:
            return
        held = asyncio.create_task(self.hold.wait())
        left = asyncio.create_task(reader.read())
        await asyncio.wait({held, left}, return_when=asyncio.FIRST_COMPLETED)
        if left.done():
            self.cut.set()
        held.cancel()
        left.cancel()


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


@asynccontextmanager
async def proxied(folder: Path, *volumes: str) -> AsyncIterator[Place]:
    """Start both."""
    root = folder / "root"
    root.mkdir()
    place = Place(folder / "proxy.sock", root)
    daemon = Daemon(folder / "docker.sock")
    gate = Gate(daemon, SEAL, Roots([root]), frozenset(volumes), frozenset({"swop1"}))
    stand_in = await asyncio.start_unix_server(place.serve, str(folder / "docker.sock"))
    async with Server(gate, daemon).listening(place.socket, 0o660, None):
        yield place
    stand_in.close()
