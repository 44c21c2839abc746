"""The requests that SWOP sends; every other one is refused."""

import re
from dataclasses import dataclass
from enum import Enum, auto
from urllib.parse import parse_qsl, urlencode

from compose.socket_proxy.create_body import IMAGE, NAME
from compose.socket_proxy.http1 import Head
from compose.socket_proxy.refusal import Refused, malformed

OLDEST_MINOR = 30
"""Of API 1.x; before 1.24 ``start`` took a whole HostConfig."""


class Kind(Enum):
    """What a request asks for."""

    PING = auto()
    VERSION = auto()
    LIST = auto()
    CREATE = auto()
    INSPECT = auto()
    START = auto()
    STOP = auto()
    REMOVE = auto()
    LOGS = auto()
    GET_FILES = auto()
    PUT_FILES = auto()
    IMAGE = auto()
    BUILD = auto()
    PULL = auto()
    VOLUME = auto()
    MAKE_VOLUME = auto()


@dataclass(frozen=True, slots=True)
class Call:
    """A request that is on the list."""

    kind: Kind
    method: str
    version: str
    """``/v1.45``, or nothing."""
    path: str
    """Without the version; holds `name`."""
    name: str
    """Of the container, image or volume; else empty."""
    query: dict[str, str]

    def target(self, *, name: str | None = None, query: dict[str, str] | None = None) -> str:
        """Path and query to pass on, with another name or query where given."""
        path = self.path if name is None else self.path.replace(self.name, name, 1)
        encoded = urlencode(self.query if query is None else query)
        return f"{self.version}{path}{'?' if encoded else ''}{encoded}"


_CONTAINER = rf"/containers/(?P<name>{NAME})"

_ROUTES: tuple[tuple[Kind, str, str, str, str], ...] = (
    # kind, method, path, parameters passed on, parameters left out
    (Kind.PING, "GET", "/_ping", "", ""),
    (Kind.PING, "HEAD", "/_ping", "", ""),
    (Kind.VERSION, "GET", "/version", "", ""),
    (Kind.LIST, "GET", "/containers/json", "all filters", "limit size trunc_cmd"),
    (Kind.CREATE, "POST", "/containers/create", "name", ""),
    (Kind.INSPECT, "GET", rf"{_CONTAINER}/json", "", "size"),
    (Kind.START, "POST", rf"{_CONTAINER}/start", "", ""),
    (Kind.STOP, "POST", rf"{_CONTAINER}/stop", "t", ""),
    (Kind.REMOVE, "DELETE", _CONTAINER, "v force", "link"),
    (
        Kind.LOGS,
        "GET",
        rf"{_CONTAINER}/logs",
        "stdout stderr tail timestamps since until",
        "follow",
    ),
    (Kind.GET_FILES, "GET", rf"{_CONTAINER}/archive", "path", ""),
    (Kind.PUT_FILES, "PUT", rf"{_CONTAINER}/archive", "path", ""),
    (Kind.IMAGE, "GET", rf"/images/(?P<name>{IMAGE})/json", "", "manifests"),
    (Kind.BUILD, "POST", "/build", "t dockerfile rm forcerm nocache buildargs labels", ""),
    (Kind.PULL, "POST", "/images/create", "fromImage tag", ""),
    (Kind.VOLUME, "GET", rf"/volumes/(?P<name>{NAME})", "", ""),
    (Kind.MAKE_VOLUME, "POST", "/volumes/create", "", ""),
)
_COMPILED = tuple(
    (kind, method, re.compile(path), frozenset(passed.split()), frozenset(left_out.split()))
    for kind, method, path, passed, left_out in _ROUTES
)
_VERSION = re.compile(r"/v1\.([1-9][0-9]{0,2})(?=/)")
_MOST_PARAMETERS = 16
_NO = ("", "0", "false", "False", "None")


def match(head: Head) -> Call:
    """Find a request on the list.

    Raises:
        Refused: it is not there.
    """
    path, _, query = head.target.partition("?")
    version = ""
    if found := _VERSION.match(path):
        if int(found[1]) < OLDEST_MINOR:
            raise Refused(f"API version 1.{found[1]} is too old (1.{OLDEST_MINOR} or newer)", 400)
        version, path = found[0], path[found.end() :]
    path = path.replace("%40", "@").replace("%3A", ":")  # image@sha256:digest
    if "%" not in path and "//" not in path and "/./" not in path and "/../" not in path:
        for kind, method, pattern, passed, left_out in _COMPILED:
            if method == head.method and (named := pattern.fullmatch(path)):
                name = named.groupdict().get("name", "")
                return Call(kind, method, version, path, name, _query(query, passed, left_out))
    raise Refused(f"{head.method} {path[:120]} is not among the requests that SWOP needs")


def _query(text: str, passed: frozenset[str], left_out: frozenset[str]) -> dict[str, str]:
    """Read a query; each name once."""
    if ";" in text:
        raise malformed("a semicolon in the query")
    try:
        pairs = parse_qsl(
            text, keep_blank_values=True, strict_parsing=bool(text), errors="strict",
            max_num_fields=_MOST_PARAMETERS,
        )  # fmt: skip
    except ValueError as error:
        raise malformed("the query") from error
    query = dict(pairs)
    if len(query) != len(pairs):
        raise malformed("a parameter occurs twice in the query")
    for name in query.keys() - passed - left_out:
        if query[name] not in _NO:
            raise Refused(f"parameter {name[:40]} is not allowed")
    return {name: value for name, value in query.items() if name in passed}
