"""The web mode on real TLS, and a client of it written from compat/03 section 6 alone.

The client shares no code with ours: it glues the command to the URL and lets ``requests`` encode
it, verifies nothing, and judges the answer by the four rules.
"""

import asyncio
import warnings
from contextlib import asynccontextmanager
from pathlib import Path

import requests

from services.common.ids import NodeKind
from services.swci.core.reply import failure, success
from services.swci.settings import SwciSettings
from services.swci.web import serving_web

PATIENCE = 60
"""Seconds after which something that should happen at once counts as never."""


class HpeClient:
    """As HPE's ``swci.py`` behaves, from its description."""

    def __init__(self, ip, port, cert=None, key=None):
        self.base = f"{'https' if cert else 'http'}://{ip}:{port}"
        self.cert = (cert, key) if key else cert
        self.error = None

    def post(self, path, **more):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it verifies nothing, and urllib3 says so
            return requests.post(self.base + path, cert=self.cert, verify=False, **more)

    def run(self, command):
        try:
            told = self.post("/exec?cmd=" + command).json()
        except Exception:  # noqa: BLE001 - as it does
            self.error = "ERROR : Exception occurred during POST request"
            return []
        if not told:
            self.error = "ERROR : Command did not produce output"
            return []
        lines = told["CONTENT"]
        for line in lines:
            if line.startswith("ERROR "):
                self.error = line
                return []
        self.error = None
        return [part.strip() for line in lines for part in line.splitlines()]

    def upload(self, path):
        with path.open("rb") as file:
            return self.post("/uploadTaskDef", files={"file": file}).text


class Echo:
    """Commands that say what arrived; ``hold`` waits until ``open`` is set."""

    def __init__(self, cwd):
        self.cwd = cwd
        self.arrived = []
        self.open = asyncio.Event()
        self.held = 0
        self.cancelled = 0

    async def execute(self, line):
        self.arrived.append(line)
        match line.split():
            case ["hold"]:
                self.held += 1
                try:
                    await self.open.wait()
                except asyncio.CancelledError:
                    self.cancelled += 1
                    raise
                return success("held", data=1)
            case ["fail"]:
                return failure("it failed")
            case ["body"]:
                return success("ERROR in the text of a task", "ERROR", "b", data=["x"])
            case ["quiet"]:
                return success("", " ")
        return success(f"ran {line}", data={"line": line})


class World:
    """A server, and clients of it."""

    def __init__(self, pki, port, commands):
        self.pki = pki
        self.port = port
        self.commands = commands

    def client(self, role=NodeKind.SWCI, name="user"):
        files = self.pki.files(role, name)
        return HpeClient("127.0.0.1", self.port, files["SWARM_ID_CERT"], files["SWARM_ID_KEY"])

    def plain(self):
        return HpeClient("127.0.0.1", self.port)

    async def run(self, command, client=None):
        return await asyncio.to_thread((client or self.client()).run, command)

    async def until(self, condition):
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.01)


def settings_of(pki, **more):
    files = pki.files(NodeKind.SWCI, "server")
    return SwciSettings(
        swarm_id_key=Path(files["SWARM_ID_KEY"]), swarm_id_cert=Path(files["SWARM_ID_CERT"]),
        swarm_id_capath=Path(files["SWARM_ID_CAPATH"]), swarm_bind_ip="127.0.0.1",
        **{"swci_web_port": 0} | more,
    )  # fmt: skip


@asynccontextmanager
async def serving_echo(pki, cwd, **settings):
    echo = Echo(cwd)
    async with serving_web(settings_of(pki, **settings), echo) as port:
        try:
            yield World(pki, port, echo)
        finally:
            echo.open.set()
