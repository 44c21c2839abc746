"""Build the wheel of this tree, install it beside old and new packages, and try it there.

    python -m tests.matrix [--require-all]

Each combination gets a virtual environment of its own in .cache/matrix, kept for the next run, and
runs checks.py in it, which needs nothing but the wheel. A Python that is not on this machine (PATH
and ~/.pyenv/versions are searched) is left out and named loudly; with --require-all that fails.
"""

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "matrix"
CHECKS = Path(__file__).with_name("checks.py")
SECONDS = 300.0
"""Deadline of each command."""


@dataclass(frozen=True)
class Combination:
    """One line of the matrix."""

    python: str
    protobuf: str
    numpy: str

    @property
    def name(self) -> str:
        return f"python {self.python}, protobuf {self.protobuf}, numpy {self.numpy}"

    @property
    def packages(self) -> tuple[str, ...]:
        return f"protobuf=={self.protobuf}", f"numpy=={self.numpy}"


MATRIX = (
    Combination("3.10", "3.20.3", "1.24.4"),
    Combination("3.11", "4.25.8", "1.26.4"),
    Combination("3.12", "5.29.5", "2.0.2"),
    Combination("3.12", "6.33.6", "2.2.6"),
    Combination("3.13", "7.36.2", "2.4.6"),
)


class CommandError(Exception):
    """A command failed; the text is what it printed."""


def run(*command: str | Path) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=SECONDS,
        check=False, cwd=CACHE,
    )  # fmt: skip
    if done.returncode:
        raise CommandError(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def candidates(version: str) -> Iterable[str]:
    """Where a Python of this version may be, likeliest first."""
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        yield sys.executable
    if found := shutil.which(f"python{version}"):
        yield found
    for folder in sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*"), reverse=True):
        yield str(folder / "bin" / "python")


def interpreter(version: str) -> str | None:
    """A Python of this version that runs and can make virtual environments."""
    probe = (
        f"import sys, venv; sys.exit(sys.version_info[:2] != {tuple(map(int, version.split('.')))})"
    )
    for candidate in candidates(version):
        try:
            run(candidate, "-c", probe)
        except (CommandError, OSError):
            continue
        return candidate
    return None


def build() -> Path:
    """The wheel of this tree."""
    folder = CACHE / "wheel"
    shutil.rmtree(folder, ignore_errors=True)
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, ROOT)
    (wheel,) = folder.iterdir()
    return wheel


def environment(combination: Combination, python: str) -> Path:
    """The Python of a virtual environment with the combination's packages."""
    folder = CACHE / combination.name.replace(", ", "-").replace(" ", "")
    inside, stamp = folder / "bin" / "python", folder / "ready"
    wanted = f"{python} {' '.join(combination.packages)}"
    if stamp.is_file() and stamp.read_text() == wanted:
        return inside
    shutil.rmtree(folder, ignore_errors=True)
    run(python, "-m", "venv", "--without-pip", folder)
    pip(inside, "install", "-q", *combination.packages)
    stamp.write_text(wanted)
    return inside


def pip(python: Path, *arguments: str | Path) -> None:
    run(
        sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", *arguments
    )  # fmt: skip


def tried(combination: Combination, python: str, wheel: Path) -> tuple[bool, str]:
    """Whether the wheel works there, and a line or more about it."""
    began = time.monotonic()
    try:
        inside = environment(combination, python)
        pip(inside, "install", "-q", "--no-deps", "--force-reinstall", wheel)
        pip(inside, "check")  # the wheel's own metadata admits these packages
        said = run(inside, "-I", "-W", "error", CHECKS, combination.protobuf, combination.numpy)
    except (CommandError, subprocess.TimeoutExpired) as exc:
        return False, f"FAILED  {combination.name}\n{exc}"
    return True, f"ok      {combination.name}: {said.strip()} ({time.monotonic() - began:.1f} s)"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.matrix", description=__doc__)
    parser.add_argument("--require-all", action="store_true", help="a missing Python is a failure")
    required = parser.parse_args(arguments).require_all
    CACHE.mkdir(parents=True, exist_ok=True)
    found = {each: interpreter(each.python) for each in MATRIX}
    there = {each: python for each, python in found.items() if python}
    results = []
    if there:
        wheel = build()
        with ThreadPoolExecutor(2) as pool:
            results = list(pool.map(lambda each: tried(each, there[each], wheel), there))
    missing = [each for each in MATRIX if each not in there]
    failed = sum(not good for good, _ in results)
    lines = [
        *(text for _, text in results),
        *(
            f"NOT TESTED  {each.name}: no Python {each.python} on PATH or in ~/.pyenv/versions"
            for each in missing
        ),
        f"matrix: {len(results) - failed} ok, {failed} failed, {len(missing)} not tested",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if failed or not results or (required and missing) else 0


if __name__ == "__main__":
    sys.exit(main())
