"""Makes the client's wheel from these sources, without pip and without a network.

    python -m compose.wheel OUT_DIR

For ML images: a build task copies it from its BuildContext (``docs/flow.md``).
"""

import base64
import hashlib
import sys
import tomllib
import zipfile
from collections.abc import Sequence
from pathlib import Path

from compose.plan import REPOSITORY
from services.common.errors import ConfigError

SUFFIXES = frozenset({".py", ".pyi", ".proto", ".typed"})
WHEEL = "Wheel-Version: 1.0\nGenerator: compose.wheel\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
EPOCH = (2020, 1, 1, 0, 0, 0)
"""Time of all files in it, so that equal sources give equal wheels."""


def make_wheel(out: Path) -> Path:
    """Write ``swarmlearning-VERSION-py3-none-any.whl`` into ``out``; return its path.

    Raises:
        ConfigError: it cannot be written.
    """
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    name, version = project["name"], project["version"]
    sources = sorted(p for p in (REPOSITORY / name).rglob("*") if p.suffix in SUFFIXES)
    files = {str(path.relative_to(REPOSITORY)): path.read_bytes() for path in sources}
    info = f"{name}-{version}.dist-info"
    requires = "".join(f"Requires-Dist: {each}\n" for each in project["dependencies"])
    files[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        f"Summary: {project['description']}\nRequires-Python: {project['requires-python']}\n"
        f"{requires}"
    ).encode()
    files[f"{info}/WHEEL"] = WHEEL.encode()
    record = [f"{path},sha256={_digest(content)},{len(content)}" for path, content in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""]).encode()
    wheel = out / f"{name}-{version}-py3-none-any.whl"
    try:
        out.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
            for path, content in files.items():
                archive.writestr(zipfile.ZipInfo(path, EPOCH), content, zipfile.ZIP_DEFLATED)
    except OSError as exc:
        raise ConfigError(f"cannot write {wheel}: {exc.strerror}") from exc
    return wheel


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code (0, or 2 where it cannot be written)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if len(given) != 1 or given[0].startswith("-"):
        print(__doc__)
        return ConfigError.exit_code
    try:
        print(make_wheel(Path(given[0])))
    except ConfigError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return exc.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
