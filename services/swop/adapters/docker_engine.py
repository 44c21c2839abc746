"""Containers through the Docker SDK: the `Engine` of a SWOP in production.

Only the modules ``docker_*`` beside this one import ``docker``. A container made here keeps 30 MB
of its output, whatever the daemon's default log driver is, and has an init process, so that a
program that does not handle SIGTERM ends at once when it is told to stop.
"""

import asyncio
import logging
import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import docker.errors
from docker import APIClient

from services.swop.adapters import docker_images, docker_self, docker_volumes
from services.swop.adapters.docker_auth import auth_config
from services.swop.adapters.docker_build import BuildOutput
from services.swop.adapters.docker_client import Access, Client, Request
from services.swop.adapters.docker_container import arguments, found
from services.swop.adapters.docker_errors import EngineUnreachableError, sentence
from services.swop.adapters.docker_self import OwnContainer
from services.swop.core.engine import (
    LABEL_GROUP,
    LABEL_SWOP,
    BuildSpec,
    ContainerSpec,
    ContainerState,
    EngineError,
    Found,
    PullSpec,
)

log = logging.getLogger("swarm.swop.docker")

LOOK_SECONDS = (0.05, 1.0)
"""First and longest pause between two looks at a running container."""
PATIENCE_SECONDS = 600.0
"""How long a container is waited for while no daemon answers: an upgrade of Docker."""
LARGEST_LOG = 64 << 20
"""Bytes of a saved log."""
LONGEST_LINE = 4096
"""Characters of a line of `DockerEngine.logs`."""
_CONFLICT = 409
_NOT_OURS = frozenset({403, 404})
"""A proxy does not show it; it was removed since it was listed."""


class DockerEngine:
    """The `Engine` of services/swop/core/engine.py on a Docker daemon.

    Args:
        access: where the daemon is; by default its socket.
    """

    def __init__(self, access: Access | None = None) -> None:
        self._client = Client(access or Access())

    async def check(self) -> None:
        """See `Engine.check`; removes what a killed SWOP left half done."""
        version = await self._client.call(lambda api: api.version())
        if version.get("Os", "linux") != "linux":
            raise EngineError("Docker runs Windows containers here: switch it to Linux containers")
        removed = await self._client.call(
            lambda api: docker_volumes.remove_leftovers(api, datetime.now(UTC))
        )
        log.info(
            "Docker %s at %s%s",
            version.get("Version", "?"),
            self._client.url,
            f", {removed} leftover helper(s) removed" if removed else "",
        )

    async def own_image(self) -> str | None:
        """See `Engine.own_image`."""
        traces = await asyncio.to_thread(docker_self.read_traces)
        if image := traces.info_image():
            log.info("Extracted container id and image info from %s file", docker_self.INFO_FILE)
            return image
        own = await self.own_container()
        return own.image if own else None

    async def own_container(self) -> OwnContainer | None:
        """The container this SWOP runs in; None where it runs in none, or cannot find out."""
        traces = await asyncio.to_thread(docker_self.read_traces)
        for id in traces.ids():
            try:
                return await self._client.call(lambda api, id=id: _own(api, id))  # type: ignore[misc]
            except EngineUnreachableError:
                raise
            except EngineError as error:
                log.info("Container %s is not this SWOP's: %s", id[:12], error)
        return None

    async def build(self, spec: BuildSpec, log: Callable[[str], None]) -> None:
        """See `Engine.build`.

        Raises:
            BuildError: a step failed; the text names it.
        """
        name = f"Dockerfile.swop-{secrets.token_hex(8)}"
        output = BuildOutput(log)
        with docker_volumes.spool() as context:
            await self._client.call(
                lambda api: docker_volumes.build_context(
                    api, spec.context_volume, name, spec.dockerfile, context
                )
            )
            context.seek(0)
            request = Request.build(spec, name, context)
            await self._client.follow(request, output.take)
        output.finish()

    async def pull(self, spec: PullSpec) -> None:
        """See `Engine.pull`."""
        auth = await asyncio.to_thread(auth_config, spec)

        def take(message: Mapping[str, Any]) -> None:
            if "error" in message:
                raise EngineError(sentence(str(message["error"])))

        await self._client.follow(Request.pull(spec.image, auth), take)
        if not await self.has_image(spec.image):
            raise EngineError(f"pulling {spec.image} broke off: Docker was stopped? Try again")

    async def has_image(self, tag: str) -> bool:
        """See `Engine.has_image`."""
        return await self._client.call(lambda api: docker_images.has(api, tag))

    async def make_volume(self, name: str, labels: Mapping[str, str]) -> None:
        """See `Engine.make_volume`."""
        await self._client.call(lambda api: docker_volumes.make(api, name, labels))

    async def has_volume(self, name: str) -> bool:
        """See `Engine.has_volume`."""
        return await self._client.call(lambda api: docker_volumes.has(api, name))

    async def volume_labels(self, name: str) -> Mapping[str, str] | None:
        """See `Engine.volume_labels`."""
        return await self._client.call(lambda api: docker_volumes.labels(api, name))

    async def put_files(self, volume: str, folder: Path) -> None:
        """See `Engine.put_files`."""
        await self._client.call(lambda api: docker_volumes.put(api, volume, folder))

    async def create(self, spec: ContainerSpec) -> str:
        """See `Engine.create`; a leftover of this SWOP with the same name is removed first."""
        return await self._client.call(lambda api: _create(api, spec))

    async def start(self, id: str) -> None:
        """See `Engine.start`."""
        await self._client.call(lambda api: api.start(id))

    async def wait(self, id: str) -> int:
        """See `Engine.wait`; survives a restart of Docker.

        It looks again and again instead of holding a request open: a request could neither be
        cancelled nor outlive the daemon.
        """
        first, longest = LOOK_SECONDS
        pause, silent_since = first, None
        now = asyncio.get_running_loop().time
        while True:
            try:
                code = await self._client.call(lambda api: _exit_code(api, id))
            except EngineUnreachableError as error:
                if silent_since is None:
                    silent_since = now()
                    log.warning("Waiting for Docker to come back: %s", error)
                elif now() - silent_since > PATIENCE_SECONDS:
                    raise
            else:
                if silent_since is not None:
                    log.info("Docker answers again")
                    silent_since = None
                if code is not None:
                    return code
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, longest)

    async def stop(self, id: str, seconds: float) -> None:
        """See `Engine.stop`."""
        await self._client.call(lambda api: _stop(api, id, math.ceil(seconds)))

    async def remove(self, id: str) -> None:
        """See `Engine.remove`."""
        await self._client.call(lambda api: _remove(api, id))

    async def logs(self, id: str, tail: int) -> Sequence[str]:
        """See `Engine.logs`."""
        text = await self._client.call(lambda api: api.logs(id, tail=tail))
        lines = text.decode("utf-8", "replace").splitlines()
        return [line[:LONGEST_LINE] for line in lines[-tail:]]

    async def save_logs(self, id: str, path: Path) -> None:
        """See `Engine.save_logs`; at most `LARGEST_LOG` bytes."""
        await self._client.call(lambda api: _save_logs(api, id, path))

    async def find(self, labels: Mapping[str, str]) -> Sequence[Found]:
        """See `Engine.find`."""
        return await self._client.call(lambda api: _find(api, labels))

    async def close(self) -> None:
        """See `Engine.close`."""
        await self._client.close()


def _own(api: APIClient, id: str) -> OwnContainer:
    inspected = api.inspect_container(id)
    image = str(inspected["Config"]["Image"])
    if image.startswith("sha256:"):  # started by id: HPE's "wrong derived name"
        tags = docker_images.inspect(api, image).get("RepoTags") or [image]
        image = str(tags[0])
    networks = inspected["NetworkSettings"].get("Networks") or {}
    return OwnContainer(
        id=str(inspected["Id"]),
        name=str(inspected["Name"]).removeprefix("/"),
        image=image,
        networks=tuple(networks),
    )


def _create(api: APIClient, spec: ContainerSpec) -> str:
    made: dict[str, Any]
    try:
        made = api.create_container(**arguments(api, spec))
    except docker.errors.APIError as error:
        if error.status_code != _CONFLICT:
            raise
        _remove_leftover(api, spec)
        made = api.create_container(**arguments(api, spec))
    for warning in made.get("Warnings") or ():
        log.warning("Docker, on %s: %s", spec.name, warning)
    return str(made["Id"])


def _remove_leftover(api: APIClient, spec: ContainerSpec) -> None:
    """Make a name free that a container of this SWOP has; refuse where it is somebody else's."""
    try:
        other = found(api.inspect_container(spec.name))
        ours = all(
            name in spec.labels and other.labels.get(name) == spec.labels[name]
            for name in (LABEL_GROUP, LABEL_SWOP)
        )
    except docker.errors.NotFound:
        return
    except docker.errors.APIError:  # a proxy that does not show what is not ours
        ours = False
    if not ours:
        raise EngineError(
            f"the container name {spec.name} is taken by a container that is not this SWOP's: "
            "rename or remove it"
        ) from None
    log.warning("Removing container %s, left from before", spec.name)
    _remove(api, spec.name)


def _exit_code(api: APIClient, id: str) -> int | None:
    """Exit code of a container; None while it runs."""
    try:
        inspected = api.inspect_container(id)
    except docker.errors.NotFound:
        raise EngineError(f"container {id[:12]} was removed by somebody while it ran") from None
    container = found(inspected)
    if container.state is ContainerState.RUNNING:
        return None
    if container.exit_code is None:
        raise EngineError(f"container {container.name} was never started")
    if inspected["State"].get("OOMKilled"):
        log.warning("Container %s was killed: this host's memory ran out", container.name)
    return container.exit_code


def _stop(api: APIClient, id: str, seconds: int) -> None:
    try:
        api.stop(id, timeout=seconds)
    except docker.errors.NotFound:
        return


def _remove(api: APIClient, id: str) -> None:
    try:
        api.remove_container(id, v=True, force=True)
    except docker.errors.NotFound:
        return
    except docker.errors.APIError as error:
        if error.status_code != _CONFLICT or "already in progress" not in str(error.explanation):
            raise


def _save_logs(api: APIClient, id: str, path: Path) -> None:
    api.inspect_container(id)  # the SDK forgets to close the stream where there is no container
    part = path.with_name(path.name + ".part")
    left = LARGEST_LOG
    with part.open("wb") as file:
        for chunk in api.logs(id, stream=True, follow=False):
            file.write(chunk[:left])
            left -= len(chunk)
            if left <= 0:
                file.write(b"\n[the rest was not saved]\n")
                break
    part.replace(path)


def _find(api: APIClient, labels: Mapping[str, str]) -> list[Found]:
    wanted = [f"{name}={value}" for name, value in labels.items()]
    containers = []
    for listed in api.containers(all=True, filters={"label": wanted}):
        try:
            containers.append(found(api.inspect_container(listed["Id"])))
        except docker.errors.APIError as error:
            if error.status_code not in _NOT_OURS:
                raise
    return containers
