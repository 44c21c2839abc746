"""Compiles ``src/*.sol`` into ``artifacts/*.json``: ``python -m contracts.compile [--check]``.

Needed only by who changes a contract: the artifacts are committed. With ``--check`` nothing is
written, and the exit status is 1 if the committed artifacts are not what the sources compile to.
The compiler is npm's ``solc``, at the version in package.json; it is installed into
``node_modules`` on first use (needs Node.js). Equal sources give equal bytes on any machine.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

CONTRACTS = ("SwarmRegistry", "NodeRegistry", "TrainingContract", "TaskRegistry", "TaskRunner")
"""What is deployed; the other sources are parts of these."""
EVM_VERSION = "paris"
"""The oldest rules among the engines that we run on; avoids PUSH0."""
CODE_LIMIT = 24_576
"""Largest deployed contract in bytes (EIP-170)."""
TIMEOUT_S = 300.0

_FOLDER = Path(__file__).parent
_SOURCES = _FOLDER / "src"
_ARTIFACTS = _FOLDER / "artifacts"
_SOLC = _FOLDER / "node_modules" / "solc"

_SETTINGS: dict[str, Any] = {
    "optimizer": {"enabled": True, "runs": 200},
    "evmVersion": EVM_VERSION,
    "viaIR": True,  # the shorter code: with the old pipeline TrainingContract exceeds CODE_LIMIT
    "metadata": {"bytecodeHash": "none", "appendCBOR": False},
    "outputSelection": {"*": {"*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"]}},
}

# Not `solcjs --standard-json`: it exits before a pipe has taken more than 64 KiB.
_COMPILE = "process.stdout.write(require('solc').compile(require('fs').readFileSync(0, 'utf8')))"

_FUTURE_KEYWORD = "6335"
"""A warning about names (``at``, ``leave``) that Solidity 0.9 will reserve; 0.8 is pinned."""


class CompileError(Exception):
    """The contracts cannot be compiled, or what they compile to is not fit to deploy."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m contracts.compile")
    parser.add_argument(
        "--check", action="store_true", help="compare with artifacts/, write nothing"
    )
    check = parser.parse_args(arguments).check
    try:
        artifacts = build()
    except CompileError as error:
        print(error, file=sys.stderr)
        return 1
    if not check:
        write(artifacts, _ARTIFACTS)
        return 0
    differing = drift(artifacts, _ARTIFACTS)
    for line in differing:
        print(line, file=sys.stderr)
    if differing:
        print("Run `python -m contracts.compile` and commit the result.", file=sys.stderr)
    return 1 if differing else 0


def build() -> dict[str, str]:
    """Compiles all contracts.

    Returns:
        The text of each file that belongs into ``artifacts/``, by file name.

    Raises:
        CompileError: no compiler, errors or warnings in the sources, or too large a contract.
    """
    _install()
    compiler = _solc_version()
    contracts = _compile()
    return {
        f"{name}.json": _artifact(name, contracts[f"{name}.sol"][name], compiler)
        for name in CONTRACTS
    }


def write(artifacts: dict[str, str], folder: Path) -> None:
    """Replaces the artifacts in ``folder``; removes those of contracts that are no more."""
    folder.mkdir(exist_ok=True)
    for stale in folder.glob("*.json"):
        if stale.name not in artifacts:
            stale.unlink()
    for name, text in artifacts.items():
        (folder / name).write_text(text)


def drift(artifacts: dict[str, str], folder: Path) -> list[str]:
    """Says, one line each, where ``folder`` differs from ``artifacts``; empty if nowhere."""
    present = {path.name: path.read_text() for path in folder.glob("*.json")}
    lines = []
    for name in sorted(present.keys() | artifacts.keys()):
        if name not in present:
            lines.append(f"contracts/artifacts/{name} is missing.")
        elif name not in artifacts:
            lines.append(f"contracts/artifacts/{name} belongs to no contract.")
        elif present[name] != artifacts[name]:
            lines.append(f"contracts/artifacts/{name} is not what contracts/src compiles to.")
    return lines


def _artifact(name: str, compiled: dict[str, Any], compiler: str) -> str:
    size = len(compiled["evm"]["deployedBytecode"]["object"]) // 2
    if size > CODE_LIMIT:
        raise CompileError(f"{name} has {size} bytes of code; the limit is {CODE_LIMIT} (EIP-170).")
    fields = {
        "contract": name,
        "compiler": compiler,
        "evmVersion": EVM_VERSION,
        "optimizer": _SETTINGS["optimizer"],
        "codeSize": size,
        "abi": compiled["abi"],
        "bytecode": "0x" + compiled["evm"]["bytecode"]["object"],
    }
    return json.dumps(fields, indent=1) + "\n"


def _compile() -> dict[str, Any]:
    sources = {path.name: {"content": path.read_text()} for path in sorted(_SOURCES.glob("*.sol"))}
    request = {"language": "Solidity", "sources": sources, "settings": _SETTINGS}
    answer = json.loads(_run(["node", "-e", _COMPILE], json.dumps(request)))
    problems = [
        error["formattedMessage"]
        for error in answer.get("errors", [])
        if error["errorCode"] != _FUTURE_KEYWORD
    ]
    if problems:
        raise CompileError("\n".join(problems))
    contracts: dict[str, Any] = answer["contracts"]
    return contracts


def _solc_version() -> str:
    """The compiler's full version, e.g. ``0.8.37+commit.f37e5e0d``."""
    words = _run(["node", "-p", "require('solc').version()"], "")
    return words.strip().removesuffix(".Emscripten.clang")


def _install() -> None:
    wanted = json.loads((_FOLDER / "package.json").read_text())["devDependencies"]["solc"]
    manifest = _SOLC / "package.json"
    if manifest.exists() and json.loads(manifest.read_text())["version"] == wanted:
        return
    _run(["npm", "ci", "--ignore-scripts"], "")


def _run(command: list[str], text: str) -> str:
    program = shutil.which(command[0])
    if program is None:
        raise CompileError(
            f"{command[0]} is not installed; compiling contracts needs Node.js and npm."
        )
    try:
        done = subprocess.run(
            [program, *command[1:]],
            input=text,
            capture_output=True,
            text=True,
            cwd=_FOLDER,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CompileError(f"{command[0]} did not end within {TIMEOUT_S:.0f} s") from error
    if done.returncode != 0:
        raise CompileError(f"{' '.join(command)} failed:\n{done.stderr}{done.stdout}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
