"""MAKE_SWARM_USER_CONTENT: downloads from a real server, archives that mean harm."""

import gzip
import io
import random
import stat
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from services.common.task_body import ContentStep, Operation
from services.swop.adapters.content import Limits, fetch_text, make_content
from services.swop.core.engine import EngineError

LIMITS = Limits(seconds=20, download_bytes=10_000, unpacked_bytes=20_000, files=20)


class Server:
    """Serves bytes by path; a path in `moved` redirects."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.moved: dict[str, str] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path in outer.moved:
                    self.send_response(302)
                    self.send_header("location", outer.moved[self.path])
                    self.end_headers()
                elif self.path in outer.files:
                    self.send_response(200)
                    self.end_headers()
                    self.wfile.write(outer.files[self.path])
                else:
                    self.send_error(404)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.http.serve_forever)
    thread.start()
    yield made
    made.http.shutdown()
    thread.join()
    made.http.server_close()


def download(url: str, out: str | None = None) -> ContentStep:
    return ContentStep(Operation.DOWNLOAD, url, out)


def extract(name: str, out: str | None = None) -> ContentStep:
    return ContentStep(Operation.EXTRACT, name, out)


async def make(folder: Path, *steps: ContentStep) -> set[str]:
    """Carry out steps; the files that are there then."""
    await make_content(folder, steps, LIMITS, lambda _: None)
    return {str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file()}


def tar(*members: tuple[str, bytes | tarfile.TarInfo]) -> bytes:
    """A tar archive; a member is a name with its content, or a whole entry."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, content in members:
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def entry(name: str, kind: bytes, target: str = "") -> tuple[str, tarfile.TarInfo]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return name, info


def zipped(*members: tuple[str, bytes], mode: int = 0) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return file.getvalue()


@pytest.mark.parametrize(
    ("out", "there"),
    [(None, "a b.csv"), ("data/", "data/a b.csv"), ("x/y.csv", "x/y.csv"), (".", "a b.csv")],
    ids=["named-by-the-url", "into-a-folder", "renamed", "at-the-top"],
)
async def test_download(server, tmp_path, out, there):
    server.files["/files/a%20b.csv?x=1"] = b"1,2\n"
    assert await make(tmp_path, download(f"{server.url}/files/a%20b.csv?x=1", out)) == {there}
    assert (tmp_path / there).read_bytes() == b"1,2\n"


@pytest.mark.parametrize("pack", [tar, zipped])
async def test_download_and_extract(server, tmp_path, pack):
    server.files["/d"] = pack(("sub/a.csv", b"a"), ("b.csv", b"b"))
    found = await make(tmp_path, download(f"{server.url}/d"), extract("d", "out"))
    assert found == {"d", "out/sub/a.csv", "out/b.csv"}


async def test_redirects_are_held_against_the_policy(server, tmp_path):
    server.files["/secret"] = b"x"
    server.moved |= {"/a": "/b", "/b": f"{server.url}/secret"}
    assert await make(tmp_path, download(f"{server.url}/a", "f")) == {"f"}
    step = download(f"{server.url}/a", "g")
    with pytest.raises(EngineError, match=r"DOWNLOAD 1 .*/secret is not for you"):
        await make_content(
            tmp_path, [step], LIMITS, lambda u: f"{u} is not for you" if "secret" in u else None
        )


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/none", "the server answered 404"),
        ("/round", "more than 5 redirects"),
        ("/large", "it has more than 10000 bytes"),
        ("/file", "neither http nor https"),
        ("/", "the URL names no file"),
        ("/..%2fx", "the URL names no file"),
    ],
)
async def test_downloads_that_fail(server, tmp_path, path, error):
    server.moved |= {"/round": "/round", "/file": "file:///etc/passwd"}
    server.files["/large"] = b"x" * 10_001
    with pytest.raises(EngineError, match=error):
        await make(tmp_path, download(f"{server.url}{path}"))


async def test_nobody_answers(tmp_path):
    with pytest.raises(EngineError, match=r"DOWNLOAD 1 \(http://127.0.0.1:1/x\): "):
        await make(tmp_path, download("http://127.0.0.1:1/x"))


SHORT = list("abcdefghijklmnop")
LONG_WAY = tuple(
    each
    for at, name in enumerate(SHORT)
    for each in (
        entry("/".join([*SHORT[:at], "d" * 240]), tarfile.DIRTYPE),
        entry("/".join([*SHORT[:at], name]), tarfile.SYMTYPE, "d" * 240),
    )
)
HOSTILE = {
    "absolute": (tar(("/etc/x", b"")), "leads out"),
    "above": (tar(("a/../../x", b"")), "leads out"),
    "link-out": (tar(entry("l", tarfile.SYMTYPE, "../../x")), "leads out"),
    "link-absolute": (tar(entry("l", tarfile.SYMTYPE, "/etc")), "leads out"),
    "hard-link-out": (tar(entry("l", tarfile.LNKTYPE, "../x")), "leads out"),
    "through-a-link": (
        tar(entry("l", tarfile.SYMTYPE, "."), ("l/x", b"")), "below a link",
    ),
    "up-behind-a-link": (
        tar(entry("l", tarfile.SYMTYPE, "."), entry("m", tarfile.SYMTYPE, "l/../../x")),
        "link m leads out",
    ),
    "long-way-through-links": (
        # tarfile's own filter lets this one out in some versions of Python (CVE-2025-4517)
        tar(*LONG_WAY, entry("/".join(SHORT) + "/up", tarfile.SYMTYPE, "../" * len(SHORT))),
        "below a link",
    ),
    "device": (tar(entry("null", tarfile.CHRTYPE)), "neither a file nor a folder"),
    "pipe": (tar(entry("p", tarfile.FIFOTYPE)), "neither a file nor a folder"),
    "bomb": (tar(("x", bytes(20_001))), "more than 20000 bytes"),
    "many": (tar(*((str(n), b"") for n in range(21))), "more than 20 files"),
    "zip-above": (zipped(("../x", b"")), "leads out"),
    "zip-absolute": (zipped(("/x", b"")), "leads out"),
    "zip-windows": (zipped(("a\\..\\..\\x", b"")), "leads out"),
    "zip-bomb": (zipped(("x", bytes(20_001))), "more than 20000 bytes"),
    "zip-link": (zipped(("l", b"/etc"), mode=stat.S_IFLNK | 0o777), "is a link"),
    "no-archive": (b"hello", "could not be opened"),
    "cut-off": (tar(("x", random.Random(1).randbytes(9000)))[:5000], "end-of-stream"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
async def test_archives_that_mean_harm(tmp_path, case):
    content, error = HOSTILE[case]
    folder = tmp_path / "in" / "content"
    folder.mkdir(parents=True)
    (folder / "archive").write_bytes(content)
    with pytest.raises(EngineError, match=rf"EXTRACT 1 \(archive\): .*{error}"):
        await make(folder, extract("archive", "out"))
    outside = [each for each in tmp_path.rglob("*") if folder not in (each, *each.parents)]
    assert outside == [tmp_path / "in"]


async def test_an_endless_header_does_not_fill_the_memory(tmp_path):
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 1 << 30
    (tmp_path / "archive").write_bytes(gzip.compress(info.tobuf() + bytes(1 << 20)))
    with pytest.raises(EngineError, match="too long a name or too many attributes"):
        await make(tmp_path, extract("archive"))


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x"])
async def test_paths_that_lead_out(server, tmp_path, path):
    server.files["/x"] = b""
    for step in (download(f"{server.url}/x", path), extract(path), extract("archive", path)):
        (tmp_path / "archive").write_bytes(tar(("x", b"")))
        with pytest.raises(EngineError, match="leads out"):
            await make(tmp_path, step)


async def test_nothing_to_extract(tmp_path):
    with pytest.raises(EngineError, match="no such file; a DOWNLOAD before it"):
        await make(tmp_path, extract("missing.tar"))


async def test_text(server):
    server.files |= {"/d": b"FROM x\n", "/l": b"x" * 101, "/b": b"\xff"}
    assert await fetch_text(f"{server.url}/d", 100, LIMITS, lambda _: None) == "FROM x\n"
    for path, error in (("/l", "more than 100 bytes"), ("/b", "it is no text")):
        with pytest.raises(EngineError, match=error):
            await fetch_text(f"{server.url}{path}", 100, LIMITS, lambda _: None)
