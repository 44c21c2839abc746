"""Images of the process engine: a folder with the files that build steps copied, and a record.

Nothing of a task is executed here. COPY and ADD from the build context are done, ENV, WORKDIR,
ENTRYPOINT and CMD remembered; for ``RUN pip install`` it is checked that what it names is there for
the interpreter that will run the program; any other RUN is skipped, and the log says so.
"""

import fcntl
import importlib.metadata
import importlib.util
import json
import os
import posixpath
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path

from services.common.errors import ConfigError
from services.swop.adapters.shim import write
from services.swop.core.dockerfile import Step, filled, parse, pip_installs, variables
from services.swop.core.engine import BuildSpec, EngineError

LEFTOVER_SECONDS = 24 * 3600.0
"""What a build has under way is taken for one of a killed SWOP after this time."""
_UNDER_WAY = ".build-"
_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


@dataclass(slots=True)
class Image:
    """What a container made from an image starts with."""

    tag: str
    env: dict[str, str] = field(default_factory=dict)
    working_dir: str = "/"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    copied: list[str] = field(default_factory=list)
    """Absolute paths in the container that COPY and ADD made."""
    steps: list[str] = field(default_factory=list)
    """The build steps, for people."""


def full_tag(tag: str) -> str:
    """Return the name of an image with ``:latest`` where it has no tag."""
    return tag if ":" in tag.rpartition("/")[2] else f"{tag}:latest"


class Images:
    """The images in a folder, which several SWOPs may share; the last build of a tag wins.

    Args:
        folder: theirs.
        refused: patterns of variables that ENV must not set.
    """

    def __init__(self, folder: Path, refused: Sequence[str] = ()) -> None:
        self._folder, self._refused = folder, refused

    def find(self, tag: str) -> tuple[Image, Path] | None:
        """Return an image and the folder of its files; None where there is none."""
        place = self._place(tag)
        try:
            with self._lock(tag, fcntl.LOCK_SH):
                known = json.loads((place / "image.json").read_text())
        except FileNotFoundError:
            return None
        return Image(**known), place / "files"

    @contextmanager
    def held(self, tag: str) -> Iterator[None]:
        """Keep an image as it is while its files are copied."""
        with self._lock(tag, fcntl.LOCK_SH):
            yield

    def remove_leftovers(self) -> None:
        """Remove what SWOPs that were killed while they built left behind. Blocks."""
        for each in self._folder.glob(f"{_UNDER_WAY}*"):
            try:
                old = each.stat().st_mtime < time.time() - LEFTOVER_SECONDS
            except FileNotFoundError:
                continue
            if old:
                shutil.rmtree(each, ignore_errors=True)

    def build(self, spec: BuildSpec, context: Path | None, log: Callable[[str], None]) -> None:
        """Carry out the steps that can be, and keep the result under its tag. Blocks.

        Args:
            spec: what to build.
            context: the build context; None: an empty one.
            log: gets a line per step.

        Raises:
            EngineError: a step cannot be done.
        """
        try:
            with tempfile.TemporaryDirectory(
                prefix=_UNDER_WAY, dir=self._folder, ignore_cleanup_errors=True
            ) as work:
                self._build(spec, context, log, Path(work))
        except ConfigError as exc:
            raise EngineError(str(exc)) from exc
        except (OSError, ValueError) as exc:
            raise EngineError(f"building {spec.tag}: {exc}") from exc

    def _build(
        self, spec: BuildSpec, context: Path | None, log: Callable[[str], None], work: Path
    ) -> None:
        draft = work / "image"
        build = _Build(
            full_tag(spec.tag), draft / "files", context, dict(spec.build_args), self._refused
        )
        build.root.mkdir(parents=True)
        for step in parse(spec.dockerfile):
            log(f"Step {step.line}: {step.instruction} {step.text}")
            build.do(step, log)
        write(draft / "image.json", asdict(build.image))
        place = self._place(spec.tag)
        with self._lock(spec.tag, fcntl.LOCK_EX):
            if place.exists():
                place.rename(work / "before")
            draft.rename(place)

    @contextmanager
    def _lock(self, tag: str, how: int) -> Iterator[None]:
        """Hold an image against others, in this process and elsewhere."""
        place = self._place(tag)
        lock = os.open(place.with_name(f"{place.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, how)
            yield
        finally:
            os.close(lock)

    def _place(self, tag: str) -> Path:
        name = full_tag(tag)
        readable = re.sub(r"[^A-Za-z0-9.-]", "_", name)[:80]
        return self._folder / f"{readable}-{sha256(name.encode()).hexdigest()[:12]}"


class _Build:
    """One build under way."""

    def __init__(
        self, tag: str, root: Path, context: Path | None, arguments: dict[str, str],
        refused: Sequence[str],
    ) -> None:  # fmt: skip
        self.image = Image(tag)
        self.root, self._refused = root, refused
        self._context, self._arguments = context, arguments

    def do(self, step: Step, log: Callable[[str], None]) -> None:
        """Carry out a step."""
        self.image.steps.append(f"{step.instruction} {step.text}")
        match step.instruction:
            case "COPY" | "ADD":
                self._copy(step)
            case "ENV":
                self._set(step)
            case "WORKDIR":
                self.image.working_dir = self._inside(filled(step.text, self._known()))
            case "ENTRYPOINT":
                self.image.entrypoint = step.words()
            case "CMD":
                self.image.command = step.words()
            case "RUN":
                _check_installed(step, log)
            case _:
                log("  nothing to do in a process")

    def _set(self, step: Step) -> None:
        known = self._known()
        for name, value in variables(step).items():
            if any(fnmatchcase(name, pattern) for pattern in self._refused):
                raise EngineError(f"build step {step.line} would set {name}: no policy allows it")
            self.image.env[name] = filled(value, known)

    def _known(self) -> dict[str, str]:
        return {**self._arguments, **self.image.env}

    def _inside(self, path: str) -> str:
        """Make a path of the container absolute; ``..`` does not lead out of it."""
        return posixpath.normpath(posixpath.join("/", self.image.working_dir, path))

    def _copy(self, step: Step) -> None:
        words = [filled(word, self._known()) for word in step.words()]
        options = [word for word in words if word.startswith("--")]
        *sources, target = [word for word in words if not word.startswith("--")] or [""]
        if not sources or any(option.startswith("--from") for option in options):
            raise EngineError(f"build step {step.line}: only files of the build context are copied")
        place = self._inside(target)
        into = self.root / place.lstrip("/")
        several = len(sources) > 1 or target.endswith("/") or into.is_dir()
        for source in sources:
            for found in self._found(step, source):
                self._copy_one(found, into / found.name if several or found.is_dir() else into)
        self.image.copied.append(place)

    def _copy_one(self, source: Path, target: Path) -> None:
        links = source.is_symlink() or any(each.is_symlink() for each in source.rglob("*"))
        if links:
            raise EngineError(f"{source.name}: symbolic links are not copied")
        if source.is_dir():  # a folder's content is copied, not the folder
            shutil.copytree(source, target.parent, symlinks=True, dirs_exist_ok=True)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target, follow_symlinks=False)

    def _found(self, step: Step, source: str) -> Iterator[Path]:
        """The files of the context that a source of COPY or ADD names."""
        where = f"build step {step.line}: {source}"
        if "://" in source or (step.instruction == "ADD" and source.endswith(_ARCHIVES)):
            raise EngineError(f"{where}: ADD of a URL or an archive is not supported in a process")
        if self._context is None:
            raise EngineError(f"{where}: the task names no BuildContext to copy it from")
        pattern = posixpath.normpath(posixpath.join("/", source)).lstrip("/") or "."
        found = [self._context] if pattern == "." else sorted(self._context.glob(pattern))
        top = self._context.resolve()
        if not found or any(not each.resolve().is_relative_to(top) for each in found):
            raise EngineError(f"{where} is not in the build context")
        yield from found


def _check_installed(step: Step, log: Callable[[str], None]) -> None:
    """Check what a RUN step would install; its other commands are not run.

    Raises:
        EngineError: something is missing.
    """
    wanted = pip_installs(step)
    if not wanted:
        log("  skipped: a process engine executes no build steps")
    for name in wanted:
        if not _is_installed(name):
            raise EngineError(
                f"build step {step.line}: {name} is not installed for the Python of this SWOP; "
                "install it there, or use SWOP_ENGINE=docker"
            )
        log(f"  {name} is installed")


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return importlib.util.find_spec(re.sub(r"[-.]", "_", name)) is not None
    return True
