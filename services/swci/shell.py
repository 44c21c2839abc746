"""The prompt: history, completion, coloured errors; Ctrl-C cancels a command, Ctrl-D leaves."""

import asyncio
import signal
from collections.abc import AsyncGenerator, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, History, InMemoryHistory

from services.swci.console import Console, prompt
from services.swci.core.arguments import Source
from services.swci.core.manual import complete, wanted
from services.swci.interpreter import Interpreter

Done = TypeVar("Done")

CANCELLED = "cancelled. What it asked an SN for may have happened all the same"


class TableCompleter(Completer):
    """Completes from the table of commands, and from the names that exist.

    Args:
        interpreter: knows the names.
    """

    def __init__(self, interpreter: Interpreter) -> None:
        self._interpreter = interpreter

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> list[Completion]:
        """Unused: the prompt is asynchronous."""
        return []

    async def get_completions_async(
        self, document: Document, complete_event: CompleteEvent
    ) -> AsyncGenerator[Completion, None]:
        """What the word before the cursor may become."""
        text = document.text_before_cursor
        cut = max(text.rfind(" "), text.rfind("\t")) + 1
        _, sources = wanted(text[:cut])
        names = await self._interpreter.known(sources)
        words = complete(text, names)
        # the only one is whole, and the next word may follow; a file may be a folder
        behind = " " if len(words) == 1 and Source.FILES not in sources else ""
        for word in words:
            yield Completion(word + behind, start_position=cut - len(text))


class Shell:
    """A session at a terminal.

    Args:
        interpreter: executes.
        console: shows.
        history: file of the lines typed; where it cannot be written they are kept in memory.
    """

    def __init__(self, interpreter: Interpreter, console: Console, history: Path) -> None:
        self._interpreter = interpreter
        self._console = console
        self._session: PromptSession[str] = PromptSession(
            history=_history(history), completer=TableCompleter(interpreter),
            complete_while_typing=False, reserve_space_for_menu=4,
        )  # fmt: skip

    async def run(self) -> None:
        """Ask for commands until EXIT, Ctrl-D, or a failure under EXIT ON FAILURE."""
        while not self._interpreter.finished:
            counter = self._interpreter.counter
            try:
                line = await self._session.prompt_async(prompt(counter), handle_sigint=False)
            except KeyboardInterrupt:
                continue
            except EOFError:
                return
            told = self._interpreter.execute(line, self._console.progress)
            reply = await until_ctrl_c(told)
            if reply is None:
                self._console.error(CANCELLED)
            else:
                self._console.show(line, counter, reply)


async def until_ctrl_c(work: Coroutine[Any, Any, Done]) -> Done | None:
    """What ``work`` returns; None if SIGINT came first, and cancelled it."""
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(work)
    loop.add_signal_handler(signal.SIGINT, task.cancel)
    try:
        await asyncio.wait([task])
    finally:
        task.cancel()  # if we are cancelled ourselves
        loop.add_signal_handler(signal.SIGINT, lambda: None)  # it does not end a shell
    return None if task.cancelled() else task.result()


def _history(path: Path) -> History:
    """Commands may hold values that others should not read: the file is the owner's only."""
    try:
        path.touch(mode=0o600)
    except OSError:
        return InMemoryHistory()
    return FileHistory(str(path))
