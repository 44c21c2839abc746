"""The history of a training contract, and of tasks, verified against the chain.

    python -m services.sn.history --sn HOST:PORT [--sn HOST:PORT ...]

reads nothing but the SNs' read-only JSON-RPC (``POST /eth``) and trusts none of their read models.
The first SN's chain is verified block by block; the other SNs must hold the same blocks. The
certificate is an operator's (SWCI or SWOP) or an SN's, from SWARM_ID_* or the options.

exit codes: 0 verified, 2 bad arguments or certificate, 3 an SN does not answer, 4 the ledger is
not what it claims to be, 5 no such contract
"""

import argparse
import asyncio
import json
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificate
from eth_utils.address import is_address, to_checksum_address

from services.common.errors import ConfigError, NotFoundError, SwarmError
from services.common.ids import DEFAULT_CONTRACT, NodeKind
from services.common.settings import NodeSettings, load, service_address
from services.common.tls import load_identity, read_certificate
from services.sn.adapters.audit import Auditor
from services.sn.adapters.audit_events import Events
from services.sn.adapters.audit_reading import read_events
from services.sn.adapters.audit_run import Audit
from services.sn.adapters.audit_source import ANSWER_S, CONNECT_S, Endpoint
from services.sn.adapters.json_params import AUDITORS
from services.sn.core.chronicle import Selection, totals
from services.sn.core.chronicle_text import printable, render
from services.sn.core.task_chronicle_text import render_tasks
from services.sn.core.tasks import info_of
from services.sn.core.verdict import Verdict, Violation

TELL_EVERY_S = 5.0
"""Seconds between two lines of progress."""
API_PORT = 30304


@dataclass(frozen=True, slots=True)
class Found:
    """A history, and what its verification ended with; None where it was not verified."""

    events: Events
    verdict: Verdict | None


async def audit(options: argparse.Namespace, http: httpx.AsyncClient) -> Found:
    """Read the history that the options ask for, and verify it.

    Raises:
        SwarmError: it cannot be read, or is not what it claims to be.
    """
    sns = [Endpoint(name, http) for name in options.sn]
    if options.no_verify:
        found = await read_events(
            sns[0], options.contract, options.registry, with_tasks=options.tasks
        )
        return Found(found, None)
    auditor = Auditor(options.contract, options.registry)
    await Audit(sns, auditor, _progress()).run(options.contract)
    return Found(auditor.events, auditor.verdict)


def _progress() -> Callable[[int, int], None]:
    """Says now and then how far it is, on the error output."""
    last = time.monotonic()

    def tell(done: int, of: int) -> None:
        nonlocal last
        if time.monotonic() - last >= TELL_EVERY_S:
            last = time.monotonic()
            print(f"verified {done:,} of {of:,} blocks ({done / of:.0%})", file=sys.stderr)

    return tell


# --- output


def show(found: Found, options: argparse.Namespace) -> None:
    """Print a history.

    Raises:
        NotFoundError: the contract has no such generation.
    """
    chronicle = found.events.chronicle
    assert chronicle is not None
    selection: Selection = options.selection
    if selection.generation not in (None, *chronicle.generations):
        raise NotFoundError(
            f"{chronicle.training.name} has no generation {selection.generation}: it is in "
            f"generation {chronicle.training.generation}"
        )
    if options.json:
        told = _as_json(found, selection) | (_tasks_json(found.events) if options.tasks else {})
        print(json.dumps(told, indent=1))
        return
    for line in render(chronicle, found.events.nodes, selection):
        print(line)
    if options.tasks:
        for line in render_tasks(
            found.events.tasks, found.events.runners.values(), found.events.nodes
        ):
            print(line)
    print(found.verdict.line() if found.verdict else "not verified: told by one SN")


def _as_json(found: Found, selection: Selection) -> dict[str, object]:
    chronicle = found.events.chronicle
    assert chronicle is not None
    training = chronicle.training
    chosen = selection.chosen(chronicle.generations.values())
    return {
        "contract": training.name, "address": training.address, "created": training.created,
        "generation": training.generation, "phase": training.phase, "round": training.round,
        "generations": [
            {
                "generation": item.number,
                "terms": item.terms.model_dump() if item.terms else None,
                "rounds": [record.model_dump(mode="json") for record in item.rounds],
                "notes": [asdict(note) for note in item.notes],
            }
            for item in chosen
        ],
        "nodes": {node.uid: node.container for node in found.events.nodes.all()},
        "totals": asdict(totals(chosen)),
        "verified": found.verdict is not None,
        "verdict": asdict(found.verdict) if found.verdict else None,
    }  # fmt: skip


def _tasks_json(events: Events) -> dict[str, object]:
    tasks = events.tasks
    return {
        "tasks": [info_of(task).model_dump(mode="json") for task in tasks.tasks.all()],
        "task_notes": [asdict(note) for note in tasks.notes],
        "taskrunners": [
            {
                "taskrunner": each.runner.name, "address": each.runner.address,
                "state": each.runner.state, "runs": [asdict(run) for run in each.runs],
                "notes": [asdict(note) for note in each.notes],
            }
            for each in events.runners.values()
        ],
    }  # fmt: skip


def complain(error: SwarmError, *, as_json: bool) -> None:
    """Print one line that says what is wrong; an object for a program, too."""
    word = "NOT VERIFIED" if isinstance(error, Violation) else "error"
    print(f"{word}: {printable(str(error))}", file=sys.stderr)
    if as_json:
        said: dict[str, object] = {"verified": False, "error": str(error), "code": error.code}
        if isinstance(error, Violation):
            said |= {
                "block": error.block, "what": error.what, "found": error.found,
                "expected": error.expected,
            }  # fmt: skip
        print(json.dumps(said, indent=1))


# --- the command line


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options; ends the process with exit code 2 where they are wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m services.sn.history", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--sn", action="append", required=True, type=_sn, metavar="HOST:PORT",
        help="API of an SN (repeat it for more), or the URL of a client's JSON-RPC")  # fmt: skip
    add("--contract", default=DEFAULT_CONTRACT, metavar="NAME", help="default %(default)s")
    add("--generation", type=_positive, metavar="G", help="only this one (default all)")
    add("--rounds", type=_range, default=(1, None), metavar="A-B", help="print only these rounds")
    add("--last", type=_positive, metavar="N", help="print only the newest N of each generation")
    add("--tasks", action="store_true", help="the tasks and the taskrunners' runs, too")
    add("--json", action="store_true", help="for programs; nothing is shortened")
    add("--no-verify", action="store_true", help="believe the first SN: quick, proves nothing")
    add("--registry", type=_address, metavar="ADDRESS",
        help="SwarmRegistry; needed where another Ethereum client makes the chain")  # fmt: skip
    for name in ("cert", "key", "cacert", "capath"):
        add(f"--{name}", type=Path, metavar="PATH", help=f"default $SWARM_ID_{name.upper()}")
    options = parser.parse_args(arguments)
    if len(set(options.sn)) < len(options.sn):
        parser.error("the same --sn twice")
    options.first, options.until = options.rounds
    options.selection = Selection(options.generation, options.first, options.until, options.last)
    return options


def _sn(text: str) -> str:
    if "://" in text:
        return text
    try:
        host, port = service_address(text, API_PORT)
    except ConfigError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _positive(text: str) -> int:
    if not re.fullmatch("[1-9][0-9]{0,9}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def _range(text: str) -> tuple[int, int | None]:
    match = re.fullmatch("([1-9][0-9]{0,9})(-([1-9][0-9]{0,9})?)?", text)
    if match is None or (match[3] and int(match[3]) < int(match[1])):
        raise argparse.ArgumentTypeError(f"{text!r} is not A, A-B or A-")
    first = int(match[1])
    return first, int(match[3]) if match[3] else (None if match[2] else first)


def _address(text: str) -> str:
    if not is_address(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not an address")
    return to_checksum_address(text)


def _client(options: argparse.Namespace) -> httpx.AsyncClient:
    """Carries requests with the operator's certificate; plain URLs need none.

    Raises:
        ConfigError: the certificate will not do.
    """
    timeout = httpx.Timeout(ANSWER_S, connect=CONNECT_S)
    if all(name.startswith("http://") for name in options.sn):
        return httpx.AsyncClient(timeout=timeout, trust_env=False)
    settings = load(NodeSettings)
    given = {
        f"swarm_id_{name}": getattr(options, name)
        for name in ("cert", "key", "cacert", "capath")
        if getattr(options, name) is not None
    }
    settings = settings.model_copy(update=given)
    identity = load_identity(settings, _role(settings))
    return httpx.AsyncClient(verify=identity.client_context(), timeout=timeout, trust_env=False)


def _role(settings: NodeSettings) -> NodeKind:
    """The role that the certificate says; whatever else is wrong with it is said later.

    Raises:
        ConfigError: it may not read the chain.
    """
    try:
        pem = (settings.swarm_id_cert or Path("-")).read_bytes()
        der = load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
    except (OSError, ValueError):
        return NodeKind.SWCI
    certificate = read_certificate(der)
    if certificate.role not in AUDITORS:
        raise ConfigError(
            f"{settings.swarm_id_cert} is a certificate of role {certificate.role or 'none'}: SNs "
            f"show their chain to {', '.join(AUDITORS)}"
        )
    return certificate.role


async def _run(options: argparse.Namespace) -> Found:
    async with _client(options) as http:
        return await audit(options, http)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = parse(arguments)
    try:
        show(asyncio.run(_run(options)), options)
        sys.stdout.flush()
    except SwarmError as exc:
        complain(exc, as_json=options.json)
        return exc.exit_code
    except KeyboardInterrupt:
        return 1
    except BrokenPipeError:  # e.g. ``| head``; what is still buffered goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
