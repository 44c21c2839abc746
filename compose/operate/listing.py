"""``swarm list``: what of a swarm is on this host."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from typing import Sequence

from compose.operate.engine import Engine
from compose.operate.find import Found, read
from compose.operate.plain import line

HEAD = ("COMPONENT", "NAME", "STATE", "STARTED (UTC)", "PORTS", "NETWORKS", "IMAGE")


def main(argv: list[str]) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="swarm list", description="Show the swarm's containers on this host, running or not."
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument(
        "--filter", action="append", default=[], metavar="KEY=VALUE",
        help="only those that `docker ps --filter` shows, e.g. network=host-1-net",
    )  # fmt: skip
    parser.add_argument("--sudo", action="store_true", help="run Docker with sudo")
    options = parser.parse_args(argv)
    found = look(Engine(options.sudo), options.filter)
    if options.json:
        for each in found:
            print(json.dumps(asdict(each)))
    elif found:
        print(table(found))
    else:
        print("nothing of a swarm is here")
    return 0


def look(engine: Engine, filters: Sequence[str]) -> list[Found]:
    """The swarm's containers on this host.

    Args:
        engine: whom to ask.
        filters: of ``docker ps``; ML containers go with their SLs, also where they are on no
            network of the swarm's.
    """
    chosen = engine.containers(*filters)
    beside = engine.containers() if filters else []
    return read(chosen, os.environ.get("SWARM_IMAGES", ""), beside)


def table(found: Sequence[Found]) -> str:
    """As columns; pure."""
    rows = [HEAD, *(_row(each) for each in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    lines = ("  ".join(text.ljust(width) for text, width in zip(row, widths)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _row(each: Found) -> Sequence[str]:
    started = "" if each.started.startswith("0001") else each.started[:19].replace("T", " ")
    ports, networks = ", ".join(each.ports) or "-", ", ".join(each.networks) or "-"
    cells = (each.component, each.name, each.state, started or "-", ports, networks, each.image)
    return [line(cell) for cell in cells]
