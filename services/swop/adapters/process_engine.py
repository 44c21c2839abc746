"""Runs the same tasks without containers: volumes are folders, containers are processes.

Paths of a container in its command, its variables and its working directory are translated to
where their mounts are on this host. A program that has container paths built in does not run so;
nor is anything confined: a task's program can do what this SWOP's user can. For the embedded swarm,
for tests, and for hosts that are trusted as a whole.
"""

import logging
import os
import random
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from services.swop.adapters.process_container import MARK, Container
from services.swop.adapters.process_image import Image, Images, full_tag
from services.swop.adapters.process_volumes import Volumes, checked
from services.swop.adapters.threads import in_thread
from services.swop.core.engine import (
    LABEL_SWOP,
    BuildSpec,
    ContainerSpec,
    EngineError,
    Found,
    Mount,
    MountKind,
    PullSpec,
    Role,
)
from services.swop.core.paths import PYTHONS, Places, normal

log = logging.getLogger("swarm.swop.process")

OWN_IMAGE = "process/swop"
SL_IMAGE = "process/sl"
SHARED = "/tmp/hpe-swarm"  # noqa: S108 - a path in the container, HPE's
REPOSITORY = Path(__file__).resolve().parents[3]
"""Where ``services`` and ``swarmlearning`` are imported from."""
FS_PORT = 30305
"""Port of an SL's file server inside a container."""
PORTS = range(19_000, 29_000)
"""For file servers; below those that systems give to outgoing connections."""
KEPT = (
    "PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV",
    "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES",
)  # fmt: skip
"""Variables of this SWOP that programs get, too."""
LEFTOVER_SECONDS = 60.0
"""After that a container's folder without a record was left by a SWOP that was killed."""


class ProcessEngine:
    """An `Engine` of folders and processes.

    Args:
        folder: for volumes, images and containers. Several SWOPs may share one.
        address: under which SLs of other hosts reach ours.
        bind: address that our SLs listen on.
        refused: patterns of variables that no image may set; they would change what runs.
    """

    def __init__(self, folder: Path, address: str, bind: str, refused: Sequence[str] = ()) -> None:
        self._volumes = Volumes(folder / "volumes", folder / "labels")
        self._containers = folder / "containers"
        self._images = Images(folder / "images", refused)
        self._folder, self._address, self._bind = folder, address, bind

    async def check(self) -> None:
        """Check that the folder can be used."""
        try:
            self._volumes.prepare()
            for each in (self._containers, self._folder / "images"):
                each.mkdir(parents=True, exist_ok=True)
            await in_thread(self._remove_leftovers)
        except OSError as exc:
            raise EngineError(f"cannot use the folder of the process engine: {exc}") from exc

    def _remove_leftovers(self) -> None:
        """Remove what SWOPs that were killed left half made and nobody would find."""
        self._images.remove_leftovers()
        for folder in self._containers.glob("*"):
            with suppress(FileNotFoundError):
                young = folder.stat().st_mtime > time.time() - LEFTOVER_SECONDS
                if not young and not (folder / "container.json").exists():
                    shutil.rmtree(folder, ignore_errors=True)

    async def own_image(self) -> str | None:
        """A name that leads to `SL_IMAGE`."""
        return OWN_IMAGE

    async def build(self, spec: BuildSpec, log: Callable[[str], None]) -> None:
        """Make an image's folder."""
        context = None
        if spec.context_volume is not None:
            context = self._volumes.path(spec.context_volume)
            if not context.is_dir():
                raise EngineError(
                    f"volume {spec.context_volume} (build context) is missing on this host"
                )
        await in_thread(lambda: self._images.build(spec, context, log))

    async def pull(self, spec: PullSpec) -> None:
        """There is nothing to pull, but an image that was built here will do."""
        if self._images.find(spec.image) is None:
            raise EngineError(
                f"a process engine cannot pull {spec.image}: build it with MAKE_USER_CONTAINER"
            )

    async def has_image(self, tag: str) -> bool:
        """Say whether it was built, or is the SL's."""
        return full_tag(tag) == full_tag(SL_IMAGE) or self._images.find(tag) is not None

    async def make_volume(self, name: str, labels: Mapping[str, str]) -> None:
        """Make a folder."""
        self._volumes.make(name, labels)

    async def has_volume(self, name: str) -> bool:
        """Say whether its folder is there."""
        return self._volumes.path(name).is_dir()

    async def volume_labels(self, name: str) -> Mapping[str, str] | None:
        """Return what is remembered of it."""
        return self._volumes.labels(name)

    async def put_files(self, volume: str, folder: Path) -> None:
        """Copy a folder's content into a volume."""
        await in_thread(lambda: self._volumes.fill(volume, folder))

    async def create(self, spec: ContainerSpec) -> str:
        """Make a container's folder: where its paths are, and what to run."""
        container = self._container(spec.name)
        if (there := await in_thread(container.found)) is not None:
            if there.labels.get(LABEL_SWOP) != spec.labels.get(LABEL_SWOP):
                raise EngineError(
                    f"the name {spec.name} is taken by a container that is not this SWOP's"
                )
            log.warning("removing %s, which was left of an earlier try", spec.name)
            await self.remove(spec.name)
        return await in_thread(lambda: self._create(spec))

    async def start(self, id: str) -> None:
        """Start its program."""
        self._container(id).start()

    async def wait(self, id: str) -> int:
        """Wait until it ended."""
        return await self._container(id).wait()

    async def stop(self, id: str, seconds: float) -> None:
        """End it and all that it started."""
        await self._container(id).stop(seconds)

    async def remove(self, id: str) -> None:
        """Remove its folder."""
        container = self._container(id)
        await container.stop(0)
        await in_thread(container.remove)

    async def logs(self, id: str, tail: int) -> Sequence[str]:
        """Return its last lines of output."""
        return await in_thread(lambda: self._container(id).logs(tail))

    async def save_logs(self, id: str, path: Path) -> None:
        """Copy its output."""
        try:
            await in_thread(lambda: self._container(id).save_logs(path))
        except OSError as exc:
            raise EngineError(f"cannot save the log of {id}: {exc}") from exc

    async def find(self, labels: Mapping[str, str]) -> Sequence[Found]:
        """Look through all containers' folders."""
        return await in_thread(lambda: list(self._find(labels)))

    async def close(self) -> None:
        """Nothing to let go of."""

    def _find(self, labels: Mapping[str, str]) -> Iterator[Found]:
        for folder in sorted(self._containers.glob("*")):
            found = Container(folder).found()
            if found is not None and labels.items() <= found.labels.items():
                yield found

    # --- making a container

    def _create(self, spec: ContainerSpec) -> str:
        folder = self._containers / checked(spec.name)
        container = Container(folder)
        image, files = self._image(spec)
        try:
            if not (folder / "container.json").exists():
                shutil.rmtree(folder, ignore_errors=True)  # we were killed while we made it
            folder.mkdir(parents=True)
            container.begin(dict(spec.labels), {})
            places = self._furnish(container, spec, image, files)
            start = {
                "argv": self._program(spec, image, places),
                "cwd": places.path(spec.working_dir or image.working_dir) or str(folder / "root"),
                "env": self._environment(spec, image, places, folder),
            }
            container.make(start)
        except FileExistsError as exc:
            there = exc.filename2 or exc.filename
            raise EngineError(f"cannot make {spec.name}: {there} exists already") from exc
        except OSError as exc:
            raise EngineError(f"cannot make {spec.name}: {exc}") from exc
        return spec.name

    def _image(self, spec: ContainerSpec) -> tuple[Image, Path | None]:
        if spec.role is Role.SL and full_tag(spec.image) == full_tag(SL_IMAGE):
            return Image(spec.image), None
        found = self._images.find(spec.image)
        if found is None:
            raise EngineError(
                f"image {spec.image} is not on this host: run the task that builds it first"
            )
        return found

    def _furnish(
        self, container: Container, spec: ContainerSpec, image: Image, files: Path | None
    ) -> Places:
        """Fill the container's root folder; where its paths are."""
        root = container.folder / "root"
        with self._images.held(spec.image):
            if files is not None and files.is_dir():
                shutil.copytree(files, root, symlinks=True)
        root.mkdir(exist_ok=True)
        known = {path: str(root / path.lstrip("/")) for path in image.copied}
        outside: dict[str, str] = {}
        for mount in sorted(spec.mounts, key=lambda each: normal(each.target)):
            source = self._source(mount)
            target = normal(mount.target)
            if target == "/":
                raise EngineError(f"{mount.target}: nothing can be mounted over / of the container")
            link = Path(Places({"/": str(root), **known}).path(target) or root)
            if not link.is_relative_to(root):
                outside[str(link)] = str(source)
                container.begin(dict(spec.labels), outside)
            _link(link, source)
            known[target] = str(source)
        working_dir = normal(spec.working_dir or image.working_dir)
        place = Path(Places({"/": str(root), **known}).path(working_dir) or root)
        place.mkdir(parents=True, exist_ok=True)
        if working_dir != "/":
            known.setdefault(working_dir, str(place))
        return Places(known)

    def _source(self, mount: Mount) -> Path:
        """Where something that is mounted is on this host."""
        if mount.kind is MountKind.VOLUME:
            volume = self._volumes.path(mount.source)
            volume.mkdir(parents=True, exist_ok=True)
            return volume
        path = Path(mount.source)
        if not path.is_absolute() or not path.exists():
            raise EngineError(f"mount source {mount.source} is missing on this host")
        return path

    def _program(self, spec: ContainerSpec, image: Image, places: Places) -> list[str]:
        if spec.role is Role.SL and full_tag(spec.image) == full_tag(SL_IMAGE):
            return [sys.executable, "-m", "services.sl"]
        first = image.entrypoint if spec.entrypoint is None else list(spec.entrypoint)
        rest = list(spec.command) or (image.command if spec.entrypoint is None else [])
        words = first + rest
        if not words:
            raise EngineError(f"{spec.name}: neither the task nor the image says what to run")
        if words[0] in PYTHONS:
            words[0] = sys.executable
        return [words[0], *map(places.text, words[1:])]

    def _environment(
        self, spec: ContainerSpec, image: Image, places: Places, folder: Path
    ) -> dict[str, str]:
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        own = {**kept, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(REPOSITORY)}
        given = {name: places.text(value) for name, value in {**image.env, **spec.env}.items()}
        if shared := places.path(SHARED):
            own["SL_WEIGHTS_DIR"] = shared
        if "PYTHONPATH" in given:
            given["PYTHONPATH"] += f":{REPOSITORY}"
        if spec.options.gpus is not None and spec.options.gpus.ids:
            own["CUDA_VISIBLE_DEVICES"] = ",".join(spec.options.gpus.ids)
        forced = self._of_sl(spec, folder) if spec.role is Role.SL else {}
        return {**own, **given, **forced, MARK: str(folder)}

    def _of_sl(self, spec: ContainerSpec, folder: Path) -> dict[str, str]:
        """What SLs that share one host must have of their own."""
        published = [host for host, inside in spec.ports.items() if inside == FS_PORT]
        port = str(published[0] if published else _free_port(self._bind))
        own = {
            "SL_FS_LISTEN_PORT": port,
            "SL_STORE_DIR": str(folder / "store"),
            "SWARM_BIND_IP": self._bind,
        }
        if published:
            return own  # the profile says under which address others reach it
        return {**own, "SL_FS_PORT": port, "SL_FS_SERVICE": "", "THIS_NODE_IP": self._address}

    def _container(self, name: str) -> Container:
        return Container(self._containers / checked(name))


def _link(link: Path, source: Path) -> None:
    """Make a mount's source appear at its place.

    Raises:
        FileExistsError: something else is there.
    """
    if link.is_symlink() and (link.readlink() == source or not link.exists()):
        link.unlink()
    elif link.is_dir() and not link.is_symlink() and not any(link.iterdir()):
        link.rmdir()  # as Docker leaves it for a mount inside a mount
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(source)


def _free_port(address: str) -> int:
    """A port that nobody listens on now."""
    for port in random.SystemRandom().sample(PORTS, 200):
        with socket.socket() as sock:
            try:
                sock.bind((address, port))
            except OSError:
                continue
            return port
    raise EngineError("no port is free for the SL's file server")
