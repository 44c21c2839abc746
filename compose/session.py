"""One swarm from the first check to the last process: :func:`run_session`."""

import asyncio
import logging
import math
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from compose import certs, certs_check, flow_folder, ports, report, run_folder
from compose.flow import Flow
from compose.flow_folder import FlowFolder
from compose.output import Output
from compose.plan import (
    LOOPBACK,
    PRIVATE_TMP,
    SERVICES,
    Kind,
    Layout,
    Planner,
    Ports,
    Request,
)
from compose.policy import SN_PATIENCE
from compose.processes import remove
from compose.swarm import Swarm
from services.common.errors import ConfigError, SwarmError
from services.common.ids import NodeKind
from services.common.sn_client import SnClient

ANSWER_PATIENCE = 5.0
"""Seconds for which the SNs of this same machine may be silent."""


@dataclass(frozen=True, slots=True)
class Options:
    """A swarm as asked for."""

    request: Request
    run_dir: Path | None = None
    """None: ``runs/<timestamp>-<label>``."""
    label: str = "swarm"
    certs: Path | None = None
    """The user's own certificates in gen-cert's layout; None makes some for this run."""
    license_port: int = 0
    sn_p2p_ports: tuple[int, ...] = ()
    sn_api_ports: tuple[int, ...] = ()
    sl_ports: tuple[int, ...] = ()
    """Ports; 0 or none: any free one."""
    wait_for_return: bool = False
    sn_patience: float = SN_PATIENCE
    """Seconds to wait for an SN to return where too few of several are left; wait_for_return: for
    ever."""
    flow: Path | None = None
    """Folder of a flow (:mod:`compose.flow_folder`) to run in place of pairs and a program."""
    jobs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Programs to run beside the swarm, by name."""
    services: Mapping[Kind, tuple[str, ...]] = field(default_factory=lambda: SERVICES)
    """Command of each service; others only in tests."""

    def check(self) -> None:
        """Check what cannot work.

        Raises:
            ConfigError: says which value and why.
        """
        self.request.check()
        if not 0 <= self.sn_patience < math.inf:
            raise ConfigError(f"--wait-for-sns {self.sn_patience}: must be a finite number from 0")


async def run_session(options: Options, output: Output) -> report.Result:
    """Run a swarm to its end, which with an empty program (`up`) is a signal.

    Whatever happens, nothing is left running: on success, errors, signals, and by
    :mod:`compose.guard` even when this process is killed.

    Raises:
        SwarmError: it could not be started at all; nothing was.
    """
    options.check()
    path = options.run_dir or run_folder.default_path(options.label, datetime.now(UTC).astimezone())
    folder = run_folder.claim(path, made=options.run_dir is None)
    try:
        try:
            swarm = prepare(options, folder, output)
        except SwarmError:
            folder.clear()
            raise
        except OSError as exc:
            folder.clear()
            raise SwarmError(f"cannot start a swarm in {run_folder.shown(path)}: {exc}") from exc
        return await _live(swarm, forever=not options.request.program and options.flow is None)
    finally:
        folder.release()


def prepare(options: Options, folder: run_folder.RunFolder, output: Output) -> Swarm:
    """Choose ports and UIDs, make certificates and folders; starts nothing but the guard.

    Raises:
        ConfigError: a port is taken, the certificates cannot be used, or the flow is none.
    """
    flow = flow_folder.read(options.flow) if options.flow is not None else None
    pairs, sns = options.request.nodes if flow is None else flow.pairs, options.request.sns
    swops = 0 if flow is None else len(flow.profiles)
    chosen = ports.choose(
        pairs, sns, license_port=options.license_port, sn_p2p=options.sn_p2p_ports,
        sn_api=options.sn_api_ports, sl=options.sl_ports,
    )  # fmt: skip
    logs = folder.path / "logs"
    logs.mkdir()
    _log_to(logs / "compose.log")
    certificates = options.certs.resolve() if options.certs else folder.path / "certs"
    if options.certs is None:
        make_certificates(certificates, pairs, sns, swops)
    check_certificates(certificates, pairs, sns, swops)
    scratch = run_folder.make_scratch(folder.path, str(os.getpid()))
    try:
        layout = Layout(folder.path, scratch, certificates)
        return _assemble(options, folder, output, layout, chosen, flow)
    except BaseException:
        remove(scratch)  # no guard knows of it yet
        raise


def _assemble(
    options: Options, folder: run_folder.RunFolder, output: Output, layout: Layout, chosen: Ports,
    flow: FlowFolder | None,
) -> Swarm:  # fmt: skip
    others = _numbered("sl", options.request.nodes)
    if flow is not None:
        others = _numbered("swop", len(flow.profiles))
    registering = (*_numbered("sn", options.request.sns), *others)
    planner = Planner(
        options.request, layout, chosen, {name: uuid.uuid4().hex for name in registering},
        os.environ, Path.cwd(), options.services,
    )  # fmt: skip
    _make_folders(options, planner)
    identity = certs_check.load(layout.certs, "swci-1", NodeKind.SWCI)
    apis = [f"{LOOPBACK}:{port}" for port in chosen.sn_api]
    client = SnClient(identity, apis, patience=ANSWER_PATIENCE)
    patience = math.inf if options.wait_for_return else options.sn_patience
    if flow is not None:
        flow_folder.copy(flow, layout, flow_folder.values(layout, chosen))
        return Flow(flow, planner, folder, client, output, options.jobs, patience)
    return Swarm(planner, folder, client, output, options.jobs, options.wait_for_return, patience)


def _make_folders(options: Options, planner: Planner) -> None:
    pairs = options.request.nodes
    names = _numbered("ml", pairs) if options.request.program else []
    for name in (*names, *options.jobs):
        planner.layout.node(name).mkdir(parents=True)
    for index in range(1, pairs + 1):
        (planner.layout.scratch / f"sl-{index}").mkdir()
    if options.request.foreign:
        _make_handovers(planner)


def _make_handovers(planner: Planner) -> None:
    """Make the hand-over folders before the SLs do: the programs start first, and mount them.

    Raises:
        ConfigError: programs cannot be given a /tmp/hpe-swarm of their own.
    """
    if sys.platform != "linux":
        raise ConfigError("--foreign-client needs mount namespaces, which only Linux has")
    for index in range(1, planner.request.nodes + 1):
        folder = Path(planner.channels(index)["SL_WEIGHTS_DIR"])
        folder.mkdir()
        folder.chmod(0o777)  # as the SL makes it; the folder around it is ours alone
    tried = subprocess.run(
        [*PRIVATE_TMP, planner.channels(1)["SL_WEIGHTS_DIR"], "true"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if tried.returncode:
        raise ConfigError(f"--foreign-client: {tried.stderr.strip()}")


def _numbered(kind: str, count: int) -> list[str]:
    return [f"{kind}-{index}" for index in range(1, count + 1)]


def check_certificates(folder: Path, pairs: int, sns: int = 1, swops: int = 0) -> None:
    """Check the certificate of every node that we are about to start, and our own.

    Raises:
        ConfigError: one is missing, unusable, of another role, or of a CA that is not trusted.
    """
    layout = Layout(folder, folder, folder)
    wanted = {"swci-1": NodeKind.SWCI, "lic-1": NodeKind.LICENSE}
    wanted |= {layout.certificate(name): NodeKind.SN for name in _numbered("sn", sns)}
    wanted |= {layout.certificate(name): NodeKind.SL for name in _numbered("sl", pairs)}
    wanted |= {layout.certificate(name): NodeKind.SWOP for name in _numbered("swop", swops)}
    for name, role in wanted.items():
        certs_check.check_node(folder, name, role)


def make_certificates(folder: Path, pairs: int, sns: int = 1, swops: int = 0) -> None:
    """Certificates for one run: pair, SN and SWOP N are an organisation's, with its own CA."""
    certs.make_certificates(folder)
    for kind, count in (("sl", pairs), ("sn", sns), ("swop", swops)):
        if count > 1:
            certs.make_certificates(folder, hosts=range(2, count + 1), nodes=[kind])


async def _live(swarm: Swarm, forever: bool) -> report.Result:
    reason = ""
    with _signals(swarm) as received:
        try:
            await swarm.start()
            if forever:
                _say_up(swarm)
                reason = await swarm.until_told()
            else:
                reason = await swarm.until_finished()
        except SwarmError as exc:
            reason = str(exc)
        except asyncio.CancelledError:
            if not received:
                await swarm.abandon()
                raise
        except OSError as exc:
            await swarm.abandon()
            raise SwarmError(f"the swarm is stopped: {exc}") from exc
        except BaseException:
            await swarm.abandon()
            raise
        number = received[0] if received else 0
        if number and not forever:
            reason = f"{signal.Signals(number).name} received"
        result = await swarm.close(reason, 0 if forever else number)
    swarm.output.finish(result, swarm.layout)
    return result


def _say_up(swarm: Swarm) -> None:
    swarm.output.say(f"up; stop it with Ctrl-C. Run folder: {run_folder.shown(swarm.layout.run)}")
    for index in range(1, swarm.request.nodes + 1):
        channels = swarm.planner.channels(index).items()
        words = " ".join(f"{name}={value}" for name, value in channels)
        swarm.output.say(f"for an ML program at sl-{index}: {words}")


@contextmanager
def _signals(swarm: Swarm) -> Iterator[list[int]]:
    """First SIGINT or SIGTERM: cancel the current task; second: kill all processes at once."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    received: list[int] = []

    def on_signal(number: int) -> None:
        received.append(number)
        if len(received) > 1:
            swarm.processes.kill_all()
        elif task is not None and not swarm.closing:
            swarm.output.say("stopping (once more to kill)")
            task.cancel()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield received
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _log_to(path: Path) -> None:
    """Send our own log lines to a file; the terminal is for progress."""
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s : %(name)s : %(levelname)s : %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)
