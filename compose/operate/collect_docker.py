"""Gathers what Docker knows of the swarms of this host."""

from __future__ import annotations

import io
import json
import sys
import tarfile
import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Callable, Iterator

from compose.operate import collect_engine as engine
from compose.operate.collect_bundle import Bundle
from compose.operate.collect_certs import certificates
from compose.operate.collect_select import (
    Inspected,
    environment_of,
    kind_of,
    labels_of,
    name_of,
    ours,
)
from compose.operate.collect_summary import Node, last_errors, last_lines, node_of
from compose.operate.collect_texts import is_wanted, is_wanted_text

USER_FOLDER = "/platform/swarm/usr"
"""Where SWOP has its profile and SWCI its scripts and task definitions."""
MOST_FILES = 300
MOST_FOLDER = 64 << 20
LEDGER_SECONDS = 60
"""For an SN's answer about its whole chain."""
MOST_SNS = 3
"""SNs that are asked where the first do not answer."""
_BETWEEN = "\x1e"
_HISTORY = """
import sys
from services.sn.history import main
code = main([*sys.argv[1:], "--tasks"])
print("\x1e", flush=True)
sys.exit(code or main([*sys.argv[1:], "--tasks", "--json"]))
"""
"""The ledger as text and as JSON by one program: most of its time goes into starting."""
LOG_SECONDS = 180.0


@dataclass(frozen=True)
class Limits:
    """How much is taken."""

    since: str = ""
    tail: str = "all"
    log_bytes: int = 16 << 20
    """Of each log; the newest lines are kept."""
    names: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    ledger: bool = True


@dataclass
class Found:
    """What was found."""

    containers: list[Inspected] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)


def gather(bundle: Bundle, limits: Limits) -> list[Node]:
    """Put all of it into the archive.

    Raises:
        EngineError: the engine does not answer at all.
    """
    engine.ask("version")
    bundle.part("docker's versions", lambda: _versions(bundle))
    found = Found(_containers(limits))
    print(f"{len(found.containers)} containers of swarms; gathering", file=sys.stderr)
    for each in found.containers:  # all secrets are known before anything is written
        bundle.redactor.learn_environment((each.get("Config") or {}).get("Env") or [])
    for each in found.containers:
        node = node_of(each, name_of(each), kind_of(each), labels_of(each))
        found.nodes.append(node)
        bundle.part(f"inspect of {node.name}", _inspect(bundle, each))
        if node.kind in ("swop", "swci"):
            bundle.part(f"profiles and scripts of {node.name}", _user_files(bundle, each))
        bundle.part(f"certificates of {node.name}", _certificates(bundle, each, node))
    bundle.part("images", lambda: _images(bundle, found.containers))
    bundle.part("networks and volumes", lambda: _names(bundle, found.containers))
    bundle.part("events", lambda: _events(bundle, found.containers))
    if limits.ledger:
        _ledger(bundle, found.containers)
    for each, node in zip(found.containers, found.nodes):
        bundle.part(f"log of {node.name}", _log(bundle, each, node, limits))
    return found.nodes


def _containers(limits: Limits) -> list[Inspected]:
    ids = engine.ask("ps", "--all", "--quiet", "--no-trunc").split()
    inspected = list(_inspected(ids))
    return ours(inspected, limits.names, limits.images)


def _inspected(ids: list[str]) -> Iterator[Inspected]:
    """One by one where one of them is gone meanwhile."""
    try:
        yield from engine.ask_json("container", "inspect", *ids) if ids else []
    except engine.EngineError:
        for each in ids:
            try:
                yield from engine.ask_json("container", "inspect", each)
            except engine.EngineError:
                continue


def _versions(bundle: Bundle) -> None:
    bundle.json("docker/version.json", engine.ask_json("version", "--format", "{{json .}}"))
    bundle.part("docker info", lambda: bundle.json(
        "docker/info.json", engine.ask_json("info", "--format", "{{json .}}")))  # fmt: skip
    bundle.part("compose's version", lambda: bundle.text(
        "docker/compose-version.txt", engine.ask("compose", "version")))  # fmt: skip
    bundle.part("docker's disk use", lambda: bundle.text(
        "docker/disk.txt", engine.ask("system", "df")))  # fmt: skip


def _inspect(bundle: Bundle, each: Inspected) -> Callable[[], object]:
    return lambda: bundle.json(f"containers/{name_of(each)}/inspect.json", each)


def _images(bundle: Bundle, containers: list[Inspected]) -> None:
    told = []
    for each in sorted({str(each.get("Image")) for each in containers}):
        try:
            image = engine.ask_json("image", "inspect", each)[0]
        except engine.EngineError as exc:
            bundle.problem(f"image {each}: {exc}")
            continue
        config = image.get("Config") or {}
        told.append(
            {
                "Id": image.get("Id"), "RepoTags": image.get("RepoTags"),
                "RepoDigests": image.get("RepoDigests"), "Created": image.get("Created"),
                "Size": image.get("Size"), "Labels": config.get("Labels"),
            }
        )  # fmt: skip
    bundle.json("docker/images.json", told)


def _names(bundle: Bundle, containers: list[Inspected]) -> None:
    networks = {
        name
        for each in containers
        for name in (each.get("NetworkSettings") or {}).get("Networks") or {}
    }
    volumes = {
        str(mount.get("Name"))
        for each in containers
        for mount in each.get("Mounts") or []
        if mount.get("Type") == "volume"
    }
    told: dict[str, Any] = {"volumes": sorted(volumes), "networks": {}}
    for name in sorted(networks):
        try:
            network = engine.ask_json("network", "inspect", name)[0]
        except engine.EngineError as exc:
            bundle.problem(f"network {name}: {exc}")
            continue
        told["networks"][name] = {k: network.get(k) for k in ("Driver", "IPAM", "Options")}
    bundle.json("docker/networks-volumes.json", told)


def _events(bundle: Bundle, containers: list[Inspected]) -> None:
    if not containers:
        return
    words = [f"--filter=container={each.get('Id')}" for each in containers[:200]]
    now = str(int(time.time()))
    content, _ = engine.tail(
        "events", "--since=24h", f"--until={now}", "--format={{json .}}", *words, most=4 << 20
    )
    bundle.text("docker/events.jsonl", content.decode("utf-8", "replace"))


def _ledger(bundle: Bundle, containers: list[Inspected]) -> None:
    """What an SN that runs says of the chain, verified."""
    running = [
        each
        for each in containers
        if kind_of(each) == "sn" and (each.get("State") or {}).get("Running")
    ]
    for each in running[:MOST_SNS]:
        port = environment_of(each).get("SN_API_SERVER_PORT") or "30304"
        words = ["exec", name_of(each), "timeout", str(LEDGER_SECONDS), "python3", "-c", _HISTORY]
        try:
            told = engine.ask(*words, "--sn", f"127.0.0.1:{port}", seconds=LEDGER_SECONDS + 10)
            text, _, value = told.partition(_BETWEEN)
            bundle.text(f"ledger/{name_of(each)}.txt", text)
            bundle.json(f"ledger/{name_of(each)}.json", json.loads(value))
        except (engine.EngineError, ValueError) as exc:
            bundle.problem(f"ledger, by {name_of(each)}: {exc}")
        else:
            return
    if not running and any(kind_of(each) == "sn" for each in containers):
        bundle.problem("ledger: no SN runs here")


def _user_files(bundle: Bundle, each: Inspected) -> Callable[[], None]:
    def gather_files() -> None:
        taken = 0
        for name, content in _copied(name_of(each), USER_FOLDER):
            if taken < MOST_FILES and is_wanted(name) and is_wanted_text(content):
                text = content.decode("utf-8", "replace")
                bundle.text(f"containers/{name_of(each)}/files/{name}", text)
                taken += 1

    return gather_files


def _certificates(bundle: Bundle, each: Inspected, node: Node) -> Callable[[], None]:
    """What is to be said of the certificates that a container was given; keys are not opened."""

    def look() -> None:
        variables, now = environment_of(each), datetime.now(timezone.utc)
        lines = []
        for variable in ("SWARM_ID_CERT", "SWARM_ID_CACERT", "SWARM_ID_CAPATH"):
            if not variables.get(variable):
                continue
            for name, content in _copied(name_of(each), variables[variable]):
                for found in certificates(content) if name.endswith((".pem", ".crt")) else []:
                    lines.append(
                        f"{variable} {name}: {found.common_name}, "
                        f"{found.not_before:%Y-%m-%d} to {found.not_after:%Y-%m-%d %H:%M}"
                    )
                    if verdict := found.verdict(now):
                        node.certificates.append(f"{name} ({found.common_name}) {verdict}")
        if lines:
            bundle.text(f"containers/{node.name}/certificates.txt", "\n".join(lines) + "\n")

    return look


def _copied(container: str, place: str) -> Iterator[tuple[str, bytes]]:
    """Files of a container, also of one that has stopped; links are followed at the top only."""
    content, dropped = engine.tail(
        "cp", "--follow-link", f"{container}:{place}", "-", most=MOST_FOLDER, both=False
    )
    if dropped:
        raise engine.EngineError(f"{place} is larger than {MOST_FOLDER >> 20} MB")
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for member in archive:
            stream = archive.extractfile(member) if member.isfile() else None
            if stream is not None:
                yield member.name, stream.read()


def _log(bundle: Bundle, each: Inspected, node: Node, limits: Limits) -> Callable[[], None]:
    def gather_log() -> None:
        words = ["logs", "--timestamps", f"--tail={limits.tail}"]
        words += [f"--since={limits.since}"] if limits.since else []
        content, dropped = engine.tail(
            *words, name_of(each), most=limits.log_bytes, seconds=LOG_SECONDS
        )
        text = content.decode("utf-8", "replace")
        if dropped:
            text = f"({dropped} bytes of older lines were left out: --max-mb)\n{text}"
        cleaned = bundle.text(f"containers/{node.name}/log.txt", text)
        node.last_errors = last_errors(cleaned) or (last_lines(cleaned) if node.failed else [])

    return gather_log
