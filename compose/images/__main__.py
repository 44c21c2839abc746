"""Builds the container images on this machine's engine; saves them into a file, and loads them."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from compose.images import archive
from compose.images.build import Builder
from compose.images.catalogue import BY_DEFAULT, IMAGES, PREFIX, TAG, check, full_name
from compose.images.engine import require
from services.common.errors import SwarmError

EPILOG = """Needs Docker and its buildx plugin. Docker pulls the base image where it is not there;
without a registry, make one under the same tag (docs/images.md). A private CA (SSL_CERT_FILE) and
pip's settings (PIP_CONFIG_FILE) are used for the build and do not get into an image."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what is asked for; the exit code."""
    given = _parser().parse_args(arguments)
    try:
        if given.load is not None:
            require(buildx=False)
            print("\n".join(archive.load(given.load)))
            return 0
        names = given.image or BY_DEFAULT
        check(names)
        if given.save is not None:
            require(buildx=False)
            archive.save([full_name(name, given.prefix, given.tag) for name in names], given.save)
            print(f"{given.save}: {given.save.stat().st_size / 1e6:.0f} MB; elsewhere: docker load")
            return 0
        Builder(given.prefix, given.tag, given.base_image, given.wheels).build(names)
    except SwarmError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return exc.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="compose.images", description=__doc__, epilog=EPILOG)
    parser.add_argument(
        "image", nargs="*", metavar="IMAGE", help=f"of {', '.join(IMAGES)}; default: all but proxy"
    )
    parser.add_argument(
        "--tag", default=os.environ.get("SWARM_TAG") or TAG, help="$SWARM_TAG, else the version"
    )
    parser.add_argument("--prefix", default=PREFIX, help="default %(default)s")
    parser.add_argument("--base-image", default="python:3.11-slim-bookworm", help="%(default)s")
    parser.add_argument(
        "--wheels",
        type=Path,
        help="folder of wheels that pip shall find, e.g. a CPU build of torch",
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--save", type=Path, metavar="FILE", help="write them into FILE instead")
    instead.add_argument("--load", type=Path, metavar="FILE", help="take them from FILE instead")
    return parser


if __name__ == "__main__":
    sys.exit(main())
