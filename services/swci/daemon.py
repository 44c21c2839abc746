"""A SWCI's life: identity, licence, then what it was asked for.

It is no node of the swarm: it does not register, contexts name the SNs, LIST NODES does not show
it. It needs a licence as nodes do.
"""

import asyncio
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from services.common.errors import ConfigError
from services.common.identity_watch import kept_identity
from services.common.ids import NodeId, NodeKind
from services.common.license_api import Feature
from services.common.license_client import held_license
from services.common.tls import Identity
from services.swci import web
from services.swci.adapters.connection import Connector
from services.swci.console import Console
from services.swci.interpreter import Interpreter
from services.swci.script import CommandFailedError, Run, piped_lines, read_script
from services.swci.settings import SwciSettings
from services.swci.shell import Shell, until_ctrl_c

log = logging.getLogger("swarm.swci")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asks for; nothing in a container."""

    commands: tuple[str, ...] = ()
    script: Path | None = None
    as_json: bool = False


async def serve(settings: SwciSettings, asked: Asked) -> None:
    """Be a SWCI until its script, its operator or a signal ends it.

    Raises:
        SwarmError: it cannot start.
        CommandFailedError: a script failed.
    """
    async with kept_identity(settings, NodeKind.SWCI) as identity:
        await _serve(settings, asked, identity)


async def _serve(settings: SwciSettings, asked: Asked, identity: Identity) -> None:
    lines = _lines(settings, asked)
    uid = NodeId(settings.swarm_node_uid or uuid4().hex)
    patience = settings.swarm_start_patience
    async with held_license(settings, identity, Feature.SWCI, uid, "SWCI", patience=patience):
        interpreter = Interpreter(settings, Connector(identity))
        colour = sys.stdout.isatty() and not asked.as_json
        run = Run(interpreter, Console(sys.stdout, colour=colour, as_json=asked.as_json))
        try:
            if asked.commands or asked.script:
                await _only(run, lines)
            else:
                await _session(settings, run, lines, identity)
        finally:
            await interpreter.close()


def _lines(settings: SwciSettings, asked: Asked) -> list[str]:
    """What to execute first.

    Raises:
        ConfigError: a script cannot be read.
    """
    if asked.commands:
        return list(asked.commands)
    if asked.script:
        return read_script(asked.script)
    script = settings.swci_usr_dir / settings.swci_startup_script
    if script.is_file():
        return read_script(script)
    if settings.swci_startup_script != SwciSettings.model_fields["swci_startup_script"].default:
        raise ConfigError(
            f"SWCI_STARTUP_SCRIPT={settings.swci_startup_script}: no such file in "
            f"{settings.swci_usr_dir}"
        )
    return []


async def _only(run: Run, lines: list[str]) -> None:
    """Execute lines and nothing else; one that is interrupted did not succeed."""
    try:
        await run.lines(lines)
    except asyncio.CancelledError:
        raise CommandFailedError("interrupted before the last command ended") from None
    run.verdict()


async def _session(settings: SwciSettings, run: Run, lines: list[str], identity: Identity) -> None:
    """The init script, then the web mode, or the prompt unless the script ended the session."""
    is_web = settings.swci_mode == "WEB"
    at_terminal = sys.stdin.isatty() and not run.console.as_json and not is_web
    if not run.console.as_json:
        run.console.banner()
    if not at_terminal:
        await run.lines(lines)
    elif await until_ctrl_c(run.lines(lines)) is None:
        run.console.error("the script is cancelled")
    if run.interpreter.failed:
        run.verdict()
    if is_web:
        await web.serve(settings, run.interpreter, identity)
    elif at_terminal:
        await _prompt(settings, run)
    elif not run.interpreter.finished:
        await _piped(run)


async def _prompt(settings: SwciSettings, run: Run) -> None:
    history = settings.swci_history_file or Path.home() / ".swci_history"
    await Shell(run.interpreter, run.console, history).run()
    if run.interpreter.failed:
        raise CommandFailedError("a command failed under EXIT ON FAILURE")


async def _piped(run: Run) -> None:
    async for line in piped_lines():
        await run.line(line)
        if run.interpreter.finished:
            break
    run.verdict()
