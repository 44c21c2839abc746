"""anvil, an Ethereum client that nobody here wrote, as a real process on loopback.

npm delivers it, at the version in package.json, into ``node_modules`` on first use (needs Node.js).
Where that fails, the tests that need it fail; they are not skipped.
"""

import fcntl
import json
import secrets
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

FOLDER = Path(__file__).parent
PACKAGE = "@foundry-rs/anvil"
INSTALL_S, START_S = 300, 60
GAS_LIMIT = 1_000_000_000
"""Of a block; far more than ours need, so that the base fee stays 0."""


def program() -> Path:
    """The executable; installs it first where it is missing or of another version."""
    with (FOLDER / "package.json").open() as lock:  # one at a time
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = _installed()
        if found is None:
            _install()
            found = _installed()
    assert found is not None, f"npm installed {PACKAGE}, but no program for this machine is in it"
    return found


def _installed() -> Path | None:
    wanted = json.loads((FOLDER / "package.json").read_text())["devDependencies"][PACKAGE]
    modules = FOLDER / "node_modules"
    for path in modules.glob(f"{PACKAGE}-*/bin/anvil"):
        if json.loads((path.parents[1] / "package.json").read_text())["version"] == wanted:
            return path
    return None


def _install() -> None:
    npm = shutil.which("npm")
    assert npm is not None, f"these tests need {PACKAGE}: install Node.js with npm"
    done = subprocess.run(
        [npm, "ci", "--ignore-scripts"], cwd=FOLDER, capture_output=True, text=True, check=False,
        timeout=INSTALL_S,
    )  # fmt: skip
    assert done.returncode == 0, f"npm cannot install {PACKAGE}:\n{done.stderr}{done.stdout}"


class Anvil:
    """One client: gas is free, a chain id of its own, blocks at once or every so many seconds.

    Args:
        options: further ones of the command line.
        gas_limit: of a block.
        base_fee: of the first block, in wei.
    """

    def __init__(self, *options: str, gas_limit: int = GAS_LIMIT, base_fee: int = 0) -> None:
        self.gas_limit = gas_limit
        self.base_fee = base_fee
        self.chain_id = secrets.randbelow(1 << 31) + 1
        self.options = options
        self.process = None
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> "Anvil":
        self.process = subprocess.Popen(
            [
                program(), "--silent", "--port", str(self.port), "--chain-id", str(self.chain_id),
                "--gas-price", "0", "--block-base-fee-per-gas", str(self.base_fee),
                "--gas-limit", str(self.gas_limit), *self.options,
            ],
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        give_up = time.monotonic() + START_S
        while True:
            try:
                assert int(self.ask("eth_chainId"), 16) == self.chain_id
            except OSError as exc:
                assert self.process.poll() is None, f"anvil ended: {self.process.returncode}"
                assert time.monotonic() < give_up, f"anvil does not answer: {exc}"
                time.sleep(0.02)
            else:
                return self

    def stop(self) -> None:
        """SIGTERM: it writes its state, where told to keep one."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(START_S)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(START_S)

    def ask(self, method, *params):
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
        request = urllib.request.Request(
            self.url, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            found = json.load(answer)
        assert "error" not in found, found
        return found["result"]
