"""MAKE_SWARM_USER_CONTENT: downloads files and unpacks archives into a folder of our own.

Nothing from outside is trusted: not the length a server announces, not the names in an archive, not
how much comes out of it. The folder's content goes into volumes afterwards (`Engine.put_files`).
"""

import asyncio
import lzma
import posixpath
import shutil
import stat
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import httpx

from services.common.task_body import ContentStep, Operation
from services.swop.adapters.threads import in_thread
from services.swop.core.engine import EngineError

CONNECT_SECONDS = 10.0
REDIRECTS = 5
PIECE = 1024 * 1024
LONGEST_NAME = 50
"""Characters of a URL or a path in an error, so that the reason after it fits on the ledger."""
LONGEST_EXTRA_HEADER = 64 * 1024
"""Bytes of a name or of attributes in a tar archive; tarfile reads these into memory."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a task may fetch and unpack."""

    seconds: float = 1800.0
    """For one download."""
    download_bytes: int = 8 * 1024**3
    unpacked_bytes: int = 32 * 1024**3
    files: int = 200_000


UrlCheck = Callable[[str], str | None]
"""Says why a URL must not be fetched; None: it may."""


async def make_content(
    folder: Path, steps: Sequence[ContentStep], limits: Limits, refused: UrlCheck
) -> None:
    """Carry out the steps in an empty folder.

    Args:
        folder: gets the files.
        steps: in order.
        limits: for each step.
        refused: is asked before each URL, those of redirects included.

    Raises:
        EngineError: a step cannot be done, or asks for too much.
    """
    for number, step in enumerate(steps, start=1):
        with _named(f"{step.operation} {number} ({_brief(step.target)})"):
            if step.operation is Operation.DOWNLOAD:
                await _download(folder, step, limits, refused)
            else:
                await _extracted(folder, step, limits)


async def _extracted(folder: Path, step: ContentStep, limits: Limits) -> None:
    budget = _Budget(limits)
    try:
        await in_thread(lambda: _extract(folder, step, budget))
    finally:
        budget.is_broken_off.set()  # where we were cancelled the thread ends soon, too


async def fetch_text(url: str, most: int, limits: Limits, refused: UrlCheck) -> str:
    """Fetch a text (the Dockerfile of a REMOTE build).

    Raises:
        EngineError: it cannot be had, is longer than `most` bytes, or no UTF-8.
    """
    parts: list[bytes] = []

    def take(piece: bytes) -> None:
        parts.append(piece)
        if sum(map(len, parts)) > most:
            raise EngineError(f"it has more than {most} bytes")

    with _named(f"fetching {_brief(url)}"):
        await _fetch(url, limits, refused, take)
        try:
            return b"".join(parts).decode()
        except UnicodeDecodeError as exc:
            raise EngineError("it is no text") from exc


@contextmanager
def _named(what: str) -> Iterator[None]:
    """Turn what can go wrong into an `EngineError` that says where."""
    try:
        yield
    except EngineError as exc:
        raise EngineError(f"{what}: {exc}") from exc
    except (
        OSError, tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError,
        RuntimeError, ValueError, OverflowError,
    ) as exc:  # fmt: skip
        raise EngineError(f"{what}: {str(exc) or type(exc).__name__}") from exc


def _brief(text: str) -> str:
    half = LONGEST_NAME // 2 - 2
    return text if len(text) <= LONGEST_NAME else f"{text[:half]}...{text[-half:]}"


def _inside(folder: Path, path: str) -> Path:
    """A path below the folder, whatever links are in it.

    Raises:
        EngineError: it leads out.
    """
    found = folder / path
    if path.startswith("/") or not found.resolve().is_relative_to(folder.resolve()):
        raise EngineError(f"{path} leads out of the volume")
    return found


# --- downloads


async def _download(folder: Path, step: ContentStep, limits: Limits, refused: UrlCheck) -> None:
    out = step.out or ""
    target = _inside(folder, out)
    if not out or out.endswith("/") or target.is_dir():
        name = unquote(posixpath.basename(urlsplit(step.target).path))
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            raise EngineError("the URL names no file: say its name with Out")
        target = _inside(folder, posixpath.join(out, name))
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with target.open("wb") as file:

        def take(piece: bytes) -> None:
            nonlocal written
            written += len(piece)
            if written > limits.download_bytes:
                raise EngineError(f"it has more than {limits.download_bytes} bytes")
            file.write(piece)

        await _fetch(step.target, limits, refused, take)


async def _fetch(
    url: str, limits: Limits, refused: UrlCheck, take: Callable[[bytes], None]
) -> None:
    """Follow a few redirects; every URL on the way is checked."""
    timeout = httpx.Timeout(60.0, connect=CONNECT_SECONDS)
    try:
        async with asyncio.timeout(limits.seconds), httpx.AsyncClient(timeout=timeout) as client:
            for _ in range(REDIRECTS + 1):
                _check(url, refused)
                async with client.stream("GET", url) as answer:
                    if answer.next_request is not None:
                        url = urljoin(url, answer.headers.get("location", ""))
                        continue
                    if not answer.is_success:
                        raise EngineError(f"the server answered {answer.status_code}")
                    async for piece in answer.aiter_bytes(PIECE):
                        take(piece)
                    return
    except TimeoutError as exc:
        raise EngineError(f"it took more than {limits.seconds:.0f} s") from exc
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        raise EngineError(str(exc) or type(exc).__name__) from exc
    raise EngineError(f"more than {REDIRECTS} redirects")


def _check(url: str, refused: UrlCheck) -> None:
    if urlsplit(url).scheme not in ("http", "https"):
        raise EngineError(f"{url} is neither http nor https")
    if (why := refused(url)) is not None:
        raise EngineError(why)


# --- archives


class _Budget:
    """What an archive may still bring."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._bytes = self._files = 0
        self.is_broken_off = threading.Event()
        """Set: nobody wants the files any more."""

    def spend(self, size: int, files: int = 1) -> None:
        """Take note of a file, or of more bytes of one.

        Raises:
            EngineError: it is too much.
        """
        if self.is_broken_off.is_set():
            raise EngineError("the task was broken off")
        self._bytes += size
        self._files += files
        if self._bytes > self._limits.unpacked_bytes:
            raise EngineError(f"it unpacks to more than {self._limits.unpacked_bytes} bytes")
        if self._files > self._limits.files:
            raise EngineError(f"it holds more than {self._limits.files} files")


def _extract(folder: Path, step: ContentStep, budget: _Budget) -> None:
    archive = _inside(folder, step.target)
    if not archive.is_file():
        raise EngineError("no such file; a DOWNLOAD before it must have fetched it")
    target = _inside(folder, step.out or "")
    target.mkdir(parents=True, exist_ok=True)
    if zipfile.is_zipfile(archive):
        _unzip(archive, target, budget)
    else:
        _untar(archive, target, budget)


class _Member(tarfile.TarInfo):
    """An entry whose name and attributes have a length that fits into memory."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        special = self.type not in tarfile.SUPPORTED_TYPES or self.type in (
            tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
        )  # fmt: skip
        pax = self.type in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
        if (special or pax) and self.size > LONGEST_EXTRA_HEADER:
            raise EngineError("an entry has too long a name or too many attributes")
        found: tarfile.TarInfo = super()._proc_member(tar)  # type: ignore[misc]
        return found


def _untar(archive: Path, target: Path, budget: _Budget) -> None:
    with tarfile.open(archive, "r:*", tarinfo=_Member) as tar:
        for member in tar:
            _check_name(member.name)
            budget.spend(member.size)
            if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
                raise EngineError(f"{member.name} is neither a file nor a folder")
            _check_way(target, member.name)
            if member.issym() or member.islnk():
                _check_link(member)
            tar.extract(member, target, filter="data")  # refuses links that lead out, too


def _unzip(archive: Path, target: Path, budget: _Budget) -> None:
    with zipfile.ZipFile(archive) as packed:
        for member in packed.infolist():
            _check_name(member.filename)
            if stat.S_ISLNK(member.external_attr >> 16):
                raise EngineError(f"{member.filename} is a link")
            place = _inside(target, member.filename)
            budget.spend(0)
            if member.is_dir():
                place.mkdir(parents=True, exist_ok=True)
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            with packed.open(member) as source, place.open("wb") as file:
                while piece := source.read(PIECE):  # not what the archive says of its length
                    budget.spend(len(piece), 0)
                    file.write(piece)


def _check_name(name: str) -> None:
    if name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/") or "\0" in name:
        raise EngineError(f"the archive holds a file {name!r}, which leads out of the volume")


def _check_way(target: Path, name: str) -> None:
    """No entry is unpacked through a link, be it of this archive or of an earlier one.

    The filter of tarfile resolves links itself; in some versions of Python very long ways through
    links escape it.
    """
    place = target
    for part in Path(name).parts[:-1]:
        place /= part
        if place.is_symlink():
            raise EngineError(f"the archive holds a file {_brief(name)} below a link")


def _check_link(member: tarfile.TarInfo) -> None:
    """A link may go up only at its beginning, and not out: then it says itself where it leads."""
    steps = [step for step in member.linkname.split("/") if step not in ("", ".")]
    ups = next((at for at, step in enumerate(steps) if step != ".."), len(steps))
    depth = len([step for step in member.name.split("/") if step not in ("", ".")]) - 1
    most = depth if member.issym() else 0
    if member.linkname.startswith("/") or ups > most or ".." in steps[ups:]:
        raise EngineError(f"the link {_brief(member.name)} leads out of the volume")


def clean(folder: Path) -> Path:
    """Make a folder of ours, empty whatever was left there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def remove(folder: Path) -> None:
    """Remove a folder of ours. Blocks."""
    shutil.rmtree(folder, ignore_errors=True)
