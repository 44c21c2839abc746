"""``python -m compose.images``: build the container images on this machine's engine."""

import argparse
import sys
from pathlib import Path

from compose.images.build import Builder
from compose.images.catalogue import IMAGES, TAG
from services.common.errors import SwarmError

EPILOG = """Needs Docker and its buildx plugin. Docker pulls the base image where it is not there;
without a registry, make one under the same tag (docs/images.md). A private CA (SSL_CERT_FILE) and
pip's settings (PIP_CONFIG_FILE) are used for the build and do not get into an image."""


def main() -> int:
    """Build what is asked for; the exit code."""
    parser = argparse.ArgumentParser(prog="compose.images", description=__doc__, epilog=EPILOG)
    parser.add_argument(
        "image", nargs="*", metavar="IMAGE", help=f"of {', '.join(IMAGES)}; default: all"
    )
    parser.add_argument("--tag", default=TAG, help="default %(default)s")
    parser.add_argument("--prefix", default="swarm-learning", help="default %(default)s")
    parser.add_argument("--base-image", default="python:3.11-slim-bookworm", help="%(default)s")
    parser.add_argument(
        "--wheels",
        type=Path,
        help="folder of wheels that pip shall find, e.g. a CPU build of torch",
    )
    given = parser.parse_args()
    try:
        builder = Builder(given.prefix, given.tag, given.base_image, given.wheels)
        builder.build(given.image or list(IMAGES))
    except SwarmError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return exc.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
