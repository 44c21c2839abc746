"""Commands about the session itself."""

from services.swci.adapters.session import Session, Talk
from services.swci.core import commands as c
from services.swci.core.manual import help_reply
from services.swci.core.reply import Layout, Reply, success


async def exit_on_failure(session: Session, command: c.ExitOnFailure, _talk: Talk) -> Reply:
    """EXIT ON FAILURE [ON/OFF]."""
    session.exit_on_failure = command.switch
    word = "ON" if command.switch else "OFF"
    return success(
        f"EXIT ON FAILURE IS TURNED {word}",
        data={"exit_on_failure": command.switch},
        layout=Layout.PROMPT,
    )


async def leave(session: Session, _command: c.Exit, _talk: Talk) -> Reply:
    """EXIT."""
    session.finished = True
    return success("EXITING SWCI", data={"exit": True})


async def show_help(_session: Session, command: c.Help, _talk: Talk) -> Reply:
    """HELP [command]."""
    return help_reply(command.command)
