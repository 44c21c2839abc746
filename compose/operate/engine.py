"""The ``docker`` (or ``podman``) command of this host."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import Any, Sequence

from compose.operate.docker_options import DockerOption, parse_help
from compose.operate.errors import OperateError
from compose.operate.explain import NO_DOCKER, explain

SOCKET = "/var/run/docker.sock"


def words_of_docker(with_sudo: bool = False) -> list[str]:
    """The words that begin each command; as if there were Docker where there is nothing.

    Args:
        with_sudo: ask for more rights in any case.
    """
    name = "podman" if shutil.which("docker") is None and shutil.which("podman") else "docker"
    return ["sudo", name] if with_sudo or (name == "docker" and _needs_sudo()) else [name]


def _needs_sudo() -> bool:
    if os.geteuid() == 0 or os.environ.get("DOCKER_HOST") or shutil.which("sudo") is None:
        return False
    return os.path.exists(SOCKET) and not os.access(SOCKET, os.W_OK)


class Engine:
    """Runs its commands.

    Args:
        with_sudo: ask for more rights in any case.
    """

    def __init__(self, with_sudo: bool = False) -> None:
        self.words = words_of_docker(with_sudo)

    @property
    def is_podman(self) -> bool:
        """Whether it is podman."""
        return self.words[-1] == "podman"

    def try_run(
        self, *words: str, given: bytes | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command to its end; a failure is in its return code.

        Args:
            words: after ``docker``.
            given: its standard input.

        Raises:
            OperateError: there is no such command.
        """
        try:
            return subprocess.run(
                [*self.words, *words], input=given, check=False,
                stdin=subprocess.DEVNULL if given is None else None, capture_output=True,
            )  # fmt: skip
        except FileNotFoundError:
            raise OperateError(NO_DOCKER) from None

    def run(self, *words: str, given: bytes | None = None) -> str:
        """The same; what it printed.

        Raises:
            OperateError: it failed; says why, and what to do.
        """
        done = self.try_run(*words, given=given)
        if done.returncode:
            raise OperateError(explain(done.stderr.decode("utf-8", "replace"), self.who_has))
        return done.stdout.decode("utf-8", "replace").strip()

    def follow(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a command that has our terminal.

        Raises:
            OperateError: there is no such command.
        """
        try:
            return subprocess.Popen([*self.words, *words])
        except FileNotFoundError:
            raise OperateError(NO_DOCKER) from None

    def inspect(self, ids: Sequence[str], kind: str = "container") -> list[dict[str, Any]]:
        """What the engine knows of these; nothing of those that are gone."""
        if not ids:
            return []
        done = self.try_run(kind, "inspect", *ids)
        try:
            found = json.loads(done.stdout or b"[]")
        except ValueError:
            return []
        return found if isinstance(found, list) else []

    def containers(self, *filters: str) -> list[dict[str, Any]]:
        """All containers, running or not.

        Args:
            filters: of ``docker ps``.

        Raises:
            OperateError: the engine does not answer.
        """
        chosen = [f"--filter={each}" for each in filters]
        return self.inspect(self.run("ps", "--all", "--quiet", "--no-trunc", *chosen).split())

    def has_image(self, image: str) -> bool:
        """Whether the image is here."""
        return self.try_run("image", "inspect", image).returncode == 0

    def options(self) -> dict[str, DockerOption]:
        """The options of this version's ``container create``."""
        return parse_help(self.run("container", "create", "--help"))

    def who_has(self, port: int) -> str:
        """The container that publishes this port; empty if none does."""
        done = self.try_run("ps", f"--filter=publish={port}", "--format={{.Names}}")
        return done.stdout.decode().strip().partition("\n")[0]
