"""The one door to the Docker SDK: connects when first needed, works in threads, translates errors.

Each call runs in a daemon thread of its own instead of `asyncio.to_thread`: the pool behind the
latter has six threads on two cores, fewer than the containers that a SWOP may have to stop at once,
and a process does not end before all of them have returned (`threads`), which a stuck daemon never
lets them.
"""

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self, TypeVar

import docker.auth
import docker.errors
from docker import APIClient
from docker.tls import TLSConfig
from docker.types import CancellableStream
from docker.utils import parse_repository_tag
from requests import Response

from services.swop.adapters.docker_errors import translated, unreachable
from services.swop.adapters.threads import in_thread
from services.swop.core.engine import BuildSpec

T = TypeVar("T")

DEFAULT_URL = "unix:///var/run/docker.sock"
ANSWER_SECONDS = 120
"""For one answer; a loaded host takes its time to create a container."""
MOST_WAITING = 100
"""Progress messages that nobody has looked at yet."""
LONGEST_LINE = 1 << 20
"""Bytes of one progress message."""


@dataclass(frozen=True, slots=True)
class Access:
    """Where the daemon is (accesstype FROMENV of the profile)."""

    url: str = DEFAULT_URL
    certs: Path | None = None
    """Folder with ca.pem, cert.pem and key.pem, for a daemon behind TLS."""

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Read DOCKER_HOST, DOCKER_TLS_VERIFY and DOCKER_CERT_PATH, as the docker command does."""
        url = env.get("DOCKER_HOST") or DEFAULT_URL
        if not env.get("DOCKER_TLS_VERIFY"):
            return cls(url)
        home = Path(env.get("HOME") or "/root")
        return cls(url, Path(env.get("DOCKER_CERT_PATH") or home / ".docker"))


def knock(url: str) -> None:
    """See whether anybody listens on a Unix socket, before the SDK tries.

    The SDK hides why it could not connect, and forgets to close the socket.

    Raises:
        EngineUnreachableError: nobody does, or SWOP may not use it.
    """
    scheme, _, path = url.partition("://")
    if scheme not in ("unix", "http+unix"):
        return
    with socket.socket(socket.AF_UNIX) as door:
        door.settimeout(ANSWER_SECONDS)
        try:
            door.connect("/" + path.lstrip("/"))
        except OSError as error:
            raise unreachable(error, url) from error


class _Api(APIClient):
    """The SDK's client, but no proxy of the environment stands between SWOP and its engine."""

    @property
    def trust_env(self) -> bool:
        """Whether to use proxies of the environment; `requests` asks, and would set it."""
        return False

    @trust_env.setter
    def trust_env(self, _: bool) -> None:
        pass


class Client:
    """A connection to the daemon that comes back by itself after Docker was restarted."""

    def __init__(self, access: Access) -> None:
        self.url = access.url
        self._access = access
        self._api: APIClient | None = None
        self._connecting = threading.Lock()

    async def call(self, doing: Callable[[APIClient], T]) -> T:
        """Do something with the SDK in a thread.

        When cancelled, the thread ends by itself and its result is dropped.

        Raises:
            EngineError: it failed; `EngineUnreachableError` where no daemon answers.
        """
        return await in_thread(lambda: self._do(doing))

    async def follow(self, request: "Request", line: Callable[[Mapping[str, Any]], None]) -> None:
        """Send a request that is answered by JSON lines, and hand each of them to ``line``.

        When cancelled, the connection is cut, upon which the daemon ends a build or a pull.

        Raises:
            EngineError: as for `call`; and whatever ``line`` raises.
        """
        following = _Following(request, line, asyncio.get_running_loop())
        try:
            await in_thread(lambda: self._do(following.work))
        finally:
            following.cut()
        if following.failed is not None:
            raise following.failed

    def _do(self, doing: Callable[[APIClient], T]) -> T:
        knock(self.url)
        with translated(self.url):
            return doing(self._connected())

    def _connected(self) -> APIClient:
        with self._connecting:
            if self._api is None:
                certs = self._access.certs
                self._api = _Api(
                    self.url,
                    version="auto",
                    timeout=ANSWER_SECONDS,
                    tls=TLSConfig(
                        client_cert=(str(certs / "cert.pem"), str(certs / "key.pem")),
                        ca_cert=str(certs / "ca.pem"),
                        verify=True,
                    )
                    if certs
                    else False,
                )
            return self._api

    async def close(self) -> None:
        """Let go of the connections."""
        if self._api is not None:
            self._api.close()
            self._api = None


@dataclass(frozen=True, slots=True)
class Request:
    """A POST whose answer is followed; the SDK's own build and pull cannot be cut off."""

    path: str
    params: Mapping[str, str]
    headers: Mapping[str, str]
    body: IO[bytes] | None = None

    @classmethod
    def build(cls, spec: BuildSpec, dockerfile_name: str, context: IO[bytes]) -> Self:
        """Build an image with the classic builder.

        Args:
            spec: what to build.
            dockerfile_name: its name in the context.
            context: the tar archive.
        """
        params = {
            "t": spec.tag,
            "dockerfile": dockerfile_name,
            "rm": "1",
            "forcerm": "1",
            "buildargs": json.dumps(dict(spec.build_args)),
            "labels": json.dumps(dict(spec.labels)),
        }
        return cls("/build", params, {"Content-Type": "application/x-tar"}, context)

    @classmethod
    def pull(cls, image: str, auth: Mapping[str, Any] | None) -> Self:
        """Pull an image; ``auth`` as the daemon wants it, None for nobody in particular."""
        repository, tag = parse_repository_tag(image)
        headers = {}
        if auth is not None:
            headers["X-Registry-Auth"] = docker.auth.encode_header(dict(auth)).decode()
        return cls("/images/create", {"fromImage": repository, "tag": tag or "latest"}, headers)

    def send(self, api: APIClient) -> Response:
        """Send it, and raise the SDK's errors."""
        response = api.post(
            f"{api.base_url}/v{api.api_version}{self.path}",
            params=self.params,
            headers=dict(self.headers),
            data=self.body,
            stream=True,
            timeout=(ANSWER_SECONDS, None),
        )
        if not response.ok:
            raise docker.errors.APIError(
                response.reason, response=response, explanation=_explanation(response)
            )
        return response


def _explanation(response: Response) -> str:
    """What the daemon says of its refusal."""
    try:
        return str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        return response.text[:LONGEST_LINE]


class _Following:
    """A request whose answer one thread reads and another, that of the loop, looks at and ends."""

    def __init__(
        self,
        request: Request,
        line: Callable[[Mapping[str, Any]], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.failed: Exception | None = None
        """What ``line`` raised."""
        self._request = request
        self._line = line
        self._loop = loop
        self._room = threading.Semaphore(MOST_WAITING)
        self._cut = threading.Event()
        self._stream: CancellableStream[Any] | None = None

    def work(self, api: APIClient) -> None:
        """Read the answer to its end, or to the cut; in a thread."""
        with self._request.send(api) as response:
            self._stream = CancellableStream(_messages(response), response)
            for message in self._stream:
                while not self._room.acquire(timeout=1) and not self._cut.is_set():
                    pass  # a step that prints without end waits until somebody has looked
                if self._cut.is_set():
                    return
                self._loop.call_soon_threadsafe(self._take, message)

    def _take(self, message: Mapping[str, Any]) -> None:
        self._room.release()
        try:
            if self.failed is None:
                self._line(message)
        except Exception as error:  # noqa: BLE001 - raised in the caller's task
            self.failed = error

    def cut(self) -> None:
        """End it now; harmless where it has ended."""
        self._cut.set()
        stream, self._stream = self._stream, None
        if stream is not None:
            try:
                stream.close()
            except (OSError, AttributeError):  # it has ended, and urllib3 took its parts away
                return


def _messages(response: Response) -> Iterator[Mapping[str, Any]]:
    """Split an answer into its JSON lines; one that is too long or no object is left out."""
    rest = b""
    for chunk in response.iter_content(chunk_size=None):
        *lines, rest = (rest + chunk).split(b"\n")
        for text in lines:
            if text.strip():
                yield from _message(text)
        rest = rest[:LONGEST_LINE]
    if rest.strip():
        yield from _message(rest)


def _message(text: bytes) -> Iterator[Mapping[str, Any]]:
    try:
        value = json.loads(text)
    except ValueError:
        return
    if isinstance(value, dict):
        yield value
