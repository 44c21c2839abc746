"""What operators are told of a refusal: the contracts say what is wrong, and we what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

from services.common.errors import ProtocolError
from services.sn.core.directory import Directory
from services.sn.core.ledger import TASKRUNNER_KIND, TRAINING_KIND

TAKEN = "name-taken"
_KINDS = {TRAINING_KIND: "a training contract", TASKRUNNER_KIND: "a taskrunner"}
_SENTENCES = {
    TAKEN: "{subject} exists already: choose another name",
    "unknown-task": "{text}: LIST TASKS shows those there are",
    "final": "{text}. It never changes again: CREATE TASK makes another one",
    "no-swop": "{text}. LIST NODES shows the SWOPs; the profile of each names its taskrunner",
}
"""By code. Where a name is taken the contracts answer it alone, so the subject stands there."""


@contextmanager
def told(subject: str) -> Iterator[None]:
    """Make a sentence of a contract's refusal.

    Args:
        subject: what the call is about, e.g. ``task T``.

    Raises:
        ProtocolError: as the body raised it, with advice.
    """
    try:
        yield
    except ProtocolError as exc:
        if exc.code not in _SENTENCES:
            raise
        sentence = _SENTENCES[exc.code].format(subject=subject, text=exc)
        raise type(exc)(sentence, exc.code) from exc


def check_free(directory: Directory, what: str, name: str) -> None:
    """Check that a new contract's name is free.

    Args:
        directory: of the swarm.
        what: the contract is to be.
        name: its name.

    Raises:
        ProtocolError: it is taken.
    """
    taken = directory.contracts.get(name)
    if taken is None:
        return
    kind = _KINDS.get(taken.kind, "a contract of the system")
    there = f"{what} {name} exists already"
    if not kind.endswith(what):
        there = f"{name} is the name of {kind}"
    raise ProtocolError(f"{there}: choose another name", TAKEN)
