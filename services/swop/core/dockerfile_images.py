"""The images that a Dockerfile names. It errs towards naming too many."""

import re
from collections.abc import Iterator

_FROM = re.compile(r"\s*FROM\s+(?:--\S+\s+)*(\S+)(?:\s+AS\s+(\S+))?", re.IGNORECASE)
_OTHER_IMAGE = re.compile(r"(?:--from=|[,=\"']from=)([^\s,\"']+)", re.IGNORECASE)
_FRONTEND = re.compile(r"^\s*#\s*syntax\s*=\s*(\S+)", re.IGNORECASE)
_CONTINUED = re.compile(r"[\\`][ \t]*\n")
"""With either of the escape characters that a Dockerfile may choose."""


def images_of(dockerfile: str) -> Iterator[str]:
    """Yield each image that is built from, copied from, or used as the frontend.

    Names made of variables come as they are written: ``${BASE}``.
    """
    comments = [line for line in dockerfile.splitlines() if line.lstrip().startswith("#")]
    for line in comments:
        yield from _FRONTEND.findall(line)
    steps = [line for line in dockerfile.splitlines() if not line.lstrip().startswith("#")]
    stages = {"scratch"}
    for line in _CONTINUED.sub(" ", "\n".join(steps)).splitlines():
        yield from (
            name
            for name in _OTHER_IMAGE.findall(line)
            if not name.isdigit() and name.lower() not in stages
        )
        start = _FROM.match(line)
        if start and start[1].lower() not in stages:
            yield start[1]
        if start and start[2]:
            stages.add(start[2].lower())
