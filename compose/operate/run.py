"""``swarm run-sn``, ``run-sl``, ``run-swop``, ``run-swci`` and ``run-license``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from compose.operate.docker_options import BUILT_IN
from compose.operate.engine import SOCKET, Engine, words_of_docker
from compose.operate.errors import OperateError, UnknownOptionError, UsageError
from compose.operate.find import address_on, read
from compose.operate.host import IMAGES, VERSION, Host, docker_gid, gid_of
from compose.operate.launch import launch, say
from compose.operate.options import RUN_COMMANDS, Command
from compose.operate.parse import Parsed, parse
from compose.operate.plan import make_plan
from compose.operate.script import render
from compose.operate.usage import render as render_usage

FIND_SOCKET = ("find", "/search", "-type", "s", "-print", "-quit")


def sn(argv: list[str]) -> int:
    """``swarm run-sn``."""
    return _run(RUN_COMMANDS["sn"], argv)


def sl(argv: list[str]) -> int:
    """``swarm run-sl``."""
    return _run(RUN_COMMANDS["sl"], argv)


def swop(argv: list[str]) -> int:
    """``swarm run-swop``."""
    return _run(RUN_COMMANDS["swop"], argv)


def swci(argv: list[str]) -> int:
    """``swarm run-swci``."""
    return _run(RUN_COMMANDS["swci"], argv)


def license_server(argv: list[str]) -> int:
    """``swarm run-license``."""
    return _run(RUN_COMMANDS["license"], argv)


def _run(command: Command, argv: list[str]) -> int:
    before = argv[: argv.index("--")] if "--" in argv else argv
    if any(word.lower() == "--help" for word in before):
        print(render_usage(command), end="")
        return 0
    given = _parse(command, argv)
    plan = make_plan(command, given, this_host(given))
    for note in plan.notes:
        say(f"note: {note}")
    if plan.is_dry:
        print(render(plan, words_of_docker(plan.with_sudo)), end="")
        return 0
    return launch(plan, Engine(plan.with_sudo))


def _parse(command: Command, argv: list[str]) -> Parsed:
    """Read the options; ask this Docker for its own where we know one not."""
    try:
        return parse(argv, command)
    except UnknownOptionError as unknown:
        try:
            options = Engine("--sudo" in argv).options()
        except OperateError:
            raise unknown from None
        return parse(argv, command, {**BUILT_IN, **options})


def this_host(given: Parsed) -> Host:
    """The machine that we are on."""
    engine = Engine(given.flag("sudo"))
    socket = _socket(engine)
    images, tag = os.environ.get("SWARM_IMAGES", ""), os.environ.get("SWARM_TAG", "")
    image = given.get("image") or f"{images or IMAGES}/tools:{tag or VERSION}"

    def find_sn(name: str) -> str:
        return _find_sn(engine, name, given.given("network", "net") or "")

    def find_socket(name: str) -> str:
        return _find_socket(engine, name, image)

    return Host(
        cwd=str(Path.cwd()), uid=os.getuid(), gid=os.getgid(),
        is_terminal=sys.stdin.isatty() and sys.stdout.isatty(),
        docker_gid=docker_gid(socket), engine_socket=socket, gid_of=gid_of,
        images=images, tag=tag, find_sn=find_sn, find_socket=find_socket,
    )  # fmt: skip


def _socket(engine: Engine) -> str:
    """The engine's socket on this host."""
    url = os.environ.get("DOCKER_HOST", "")
    if url.startswith("unix://"):
        return url[len("unix://") :]
    if engine.is_podman:
        done = engine.try_run("info", "--format={{.Host.RemoteSocket.Path}}")
        path = done.stdout.decode().strip()
        return path[len("unix://") :] if path.startswith("unix://") else path or SOCKET
    return SOCKET


def _find_sn(engine: Engine, name: str, network: str) -> str:
    """Address of a local SN."""
    wanted = "mandatory parameter --sn-ip not specified (or --sn-api-service)"
    inspected = engine.inspect([name]) if name else engine.containers("status=running")
    if name and not inspected:
        raise UsageError(f"--sn-docker-name {name}: there is no such container")
    if not name:
        found = read(inspected, os.environ.get("SWARM_IMAGES", ""))
        ids = [each.id for each in found if each.component == "sn"]
        inspected = [each for each in inspected if each.get("Id") in ids]
    addresses = [address_on(each, network) for each in inspected]
    address = next((each for each in addresses if each), "")
    if not address:
        raise UsageError(f"{wanted}, and no SN runs on this host")
    return address


def _find_socket(engine: Engine, name: str, image: str) -> str:
    """First socket in a volume, or in the volumes of a container: ``VOLUME:PATH``."""
    volumes = [name] if engine.inspect([name], "volume") else []
    for container in engine.inspect([name]) if not volumes else []:
        mounts = container.get("Mounts") or ()
        volumes += [str(each.get("Name")) for each in mounts if each.get("Type") == "volume"]
    for volume in volumes:
        look = (
            f"--volume={volume}:/search:ro",
            f"--entrypoint={FIND_SOCKET[0]}",
            image,
            *FIND_SOCKET[1:],
        )
        found = engine.run("run", "--rm", "--pull=never", "--network=none", *look)
        if found:
            return f"{volume}:{found[len('/search/') :]}"
    return ""
