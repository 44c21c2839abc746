"""What Docker's errors mean, in a sentence that says what to do.

The text goes to the ledger, where a peer's description holds 160 characters: what matters comes
first. Docker's own words follow only where no sentence here fits them.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import docker.errors
import requests.exceptions
from requests.exceptions import ChunkedEncodingError

from services.swop.core.engine import EngineError

LONGEST = 400
"""Characters of a text; the rest of Docker's own words is cut."""

_PORT = "port {0} of this host is in use: choose another one"
_SENTENCES = (
    (r"port (?:0\.0\.0\.0|\[?[0-9a-f:.]*\]?):(\d+)/", _PORT),
    (r"Bind for \S*?:(\d+) failed: port is already allocated", _PORT),
    (r"listen \w+ \S*?:(\d+): bind: address already in use", _PORT),
    (
        r"bind source path does not exist: (.+)",
        "mount source {0} is missing on this host: make it, or correct the path",
    ),
    (
        r"could not select device driver",
        "this host gives containers no NVIDIA GPUs: install the NVIDIA container toolkit, "
        "or take 'gpus' out of the profile",
    ),
    (
        r"error gathering device information while adding custom device \"([^\"]+)\"",
        "device {0} is missing on this host: correct 'device' in the profile",
    ),
    (
        r"exec: \"([^\"]+)\":",
        "program {0} cannot be run in this image: correct Entrypoint, Command or the image",
    ),
    (
        r"No such image: (.+)",
        "image {0} is not on this host: run the task that builds or pulls it here first",
    ),
    (
        r"pull access denied for ([^,\s]+)",
        "image {0} may not be pulled: it does not exist, or Auth is missing",
    ),
    (
        r"manifest for (\S+) not found",
        "image {0} does not exist in its registry: correct its name or tag",
    ),
    (r"manifest unknown", "this image does not exist in its registry: correct its name or tag"),
    (
        r"unauthorized|denied: |no basic auth credentials",
        "the registry refused this user: correct Auth of the task",
    ),
    (
        r"dial tcp|lookup \S+ on|i/o timeout|TLS handshake timeout|x509:|connection refused",
        "the registry cannot be reached from this host ({full})",
    ),
    (
        r"invalid reference format|invalid repository name|repository name must be",
        "this is no valid image name: correct the task ({full})",
    ),
    (
        r"network (\S+) not found",
        "network {0} is missing on this host: docker network create {0}, or correct the profile",
    ),
    (
        r"IP address is supported|no configured subnet|subnets? contain",
        "this IP address does not fit the network: correct 'ip' in the profile ({full})",
    ),
    (
        r"Address already in use",
        "the container's IP address is in use in this network: correct 'ip' in the profile",
    ),
    (
        r"no space left on device",
        "this host's disk is full: free some space (docker system df shows what Docker uses)",
    ),
    (
        r"get (\S+): no such volume",
        "volume {0} is missing on this host: run the task that makes it here first",
    ),
    (
        r"the --mount option requires BuildKit",
        "RUN --mount needs BuildKit, which SWOP does not build with: change BuildSteps",
    ),
    (r"dockerfile parse error|Dockerfile \(\S+\) cannot be empty", "BuildSteps are wrong: {full}"),
    (
        r"unable to find (user|group) ([^\s:]+)",
        "{0} {1} does not exist in this image: give its number, or make it in the image",
    ),
    (r"^socket-proxy: (.+)", "the Docker socket proxy refused: {0}"),
)
"""What Docker (26, 20.10) writes, and what we say instead; the first that fits."""

_NO_DAEMON = frozenset({502, 503})
"""Statuses of a proxy in front of a daemon that is down."""
_COMPILED = tuple((re.compile(pattern, re.IGNORECASE), text) for pattern, text in _SENTENCES)


class EngineUnreachableError(EngineError):
    """No Docker daemon answers; later one may."""

    code = "engine-unreachable"


def words(text: str) -> str:
    """One line of Docker's words, bounded."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def sentence(explanation: str) -> str:
    """What to do about an error that Docker explains so."""
    full = words(explanation)
    for pattern, text in _COMPILED:
        if found := pattern.search(full):
            return words(text.format(*found.groups(), full=full))
    return f"Docker refused: {full}"


def unreachable(error: BaseException, url: str) -> EngineUnreachableError:
    """Nobody answers at this address: why, and what to do."""
    match error:
        case PermissionError():
            text = (
                f"SWOP may not use the Docker socket {url}: "
                "give it the socket's group (--docker-group-id)"
            )
        case FileNotFoundError():
            text = f"there is no Docker socket {url}: mount it into SWOP, or start Docker"
        case _:
            text = f"Docker does not answer at {url}: start it (systemctl start docker)"
    return EngineUnreachableError(text)


def translate(error: Exception, url: str) -> EngineError:
    """The error to raise instead of one of the SDK's.

    Args:
        error: what the SDK or its HTTP library raised.
        url: where the daemon is, for the text.
    """
    if isinstance(error, docker.errors.APIError):
        text = sentence(str(error.explanation or error))
        down = error.status_code in _NO_DAEMON
        return EngineUnreachableError(text) if down else EngineError(text)
    if isinstance(error, requests.exceptions.ReadTimeout):
        return EngineUnreachableError(f"Docker at {url} did not answer in time: is it stuck?")
    broken = isinstance(error, requests.exceptions.ConnectionError | ChunkedEncodingError)
    if broken or "server API version" in str(error):
        return unreachable(error, url)
    return EngineError(_other(error))


def _other(error: Exception) -> str:
    if isinstance(error, docker.errors.InvalidVersion):
        return f"this Docker is too old: version 20.10 or newer ({words(str(error))})"
    if isinstance(error, OSError) and error.strerror:  # of a file: a full disk, say
        return words(f"on this host: {error.strerror}: {error.filename}")
    return f"Docker cannot be used so: {words(str(error))}"


@contextmanager
def translated(url: str) -> Iterator[None]:
    """Turn what the SDK raises into `EngineError`."""
    try:
        yield
    except (docker.errors.DockerException, requests.exceptions.RequestException, OSError) as error:
        raise translate(error, url) from error
