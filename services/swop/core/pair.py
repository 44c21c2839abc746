"""`Pair`: an SL and its ML program, from their start to what is said about them on the ledger.

    STARTING --Started--> RUNNING --first of the two ended--> ENDING --other one ended--> OVER

An ML program that ends well has either had a session with its SL, which then ends by itself once
the others have the final model, or none (SWARM_LOOPBACK, or no SwarmCallback at all); then the SL
waits for nothing and is stopped.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import assert_never

from services.swop.core.engine import Role
from services.swop.core.outcome import Outcome, blames_ml, of_ml, of_sl

ML_SECONDS = 10.0
"""How long an ML program whose SL failed may take to end by itself."""
STOP_SECONDS = 10.0
"""How long a container that is told to end may take."""

STOPPED = (-15, -9, 128 + 15, 128 + 9)
"""Exit codes of what was told to end, or killed."""
TRAINED = "training complete"
NO_SESSION = "no swarm session"


# --- events


@dataclass(frozen=True, slots=True)
class Started:
    """Both run."""


@dataclass(frozen=True, slots=True)
class StartFailed:
    """One could not be started."""

    why: str


@dataclass(frozen=True, slots=True)
class Ended:
    """One of the two ended."""

    role: Role
    code: int
    lines: tuple[str, ...]
    """The last lines of its log, oldest first."""


@dataclass(frozen=True, slots=True)
class SessionKnown:
    """Whether the SL ever took part in a training."""

    had: bool


@dataclass(frozen=True, slots=True)
class TimeUp:
    """The time that `Wait` asked for is over."""


Event = Started | StartFailed | Ended | SessionKnown | TimeUp


# --- commands


@dataclass(frozen=True, slots=True)
class AskSession:
    """Find out whether the SL ever took part in a training."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Come back after some time."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop one of the two."""

    role: Role
    seconds: float


@dataclass(frozen=True, slots=True)
class Finish:
    """The pair is over."""

    outcome: Outcome


Command = AskSession | Wait | Stop | Finish


class Phase(Enum):
    """Where a pair stands."""

    STARTING = auto()
    RUNNING = auto()
    ENDING = auto()
    OVER = auto()


class Pair:
    """The decisions about one pair; `handle` takes an event and returns what to do.

    Args:
        found_over: whether its ML program had ended when a SWOP that was started again found it.
            Then the SWOP before it may have stopped the SL, and an SL that was stopped is no
            failure of its own.
    """

    def __init__(self, *, found_over: bool = False) -> None:
        self._found_over = found_over
        self._stopped: Outcome | None = None
        """What to say of an SL of which it is not clear who stopped it."""
        self.phase = Phase.STARTING
        self._ended: set[Role] = set()
        self._asked = False
        self._had_session: bool | None = None
        """None: not asked yet, or no answer yet."""
        self._failure: Outcome | None = None
        """The first one; what follows from it is not told."""
        self._is_ml_to_blame = False
        """Whether that is an SL's, which says that its ML program is the cause."""

    def handle(self, event: Event) -> list[Command]:
        """Take an event; a pair that is over wants nothing."""
        if self.phase is Phase.OVER:
            return []
        commands: list[Command] = []
        match event:
            case Started():
                self.phase = Phase.RUNNING
            case StartFailed(why):
                self._failure, self._ended = Outcome.error(why), set(Role)
            case Ended():
                commands = self._end_of(event)
            case SessionKnown(had):
                self._had_session = had
                commands = [] if had else self._stop(Role.SL)
            case TimeUp():
                commands, self._is_ml_to_blame = self._stop(Role.ML), False
            case _:
                assert_never(event)
        return commands + self._finish()

    def _end_of(self, event: Ended) -> list[Command]:
        self.phase = Phase.ENDING
        self._ended.add(event.role)
        failed = event.code != 0
        if failed:
            self._note_failure(event)
        if failed and event.role is Role.ML:
            return self._stop(Role.SL)
        if failed:
            return [] if Role.ML in self._ended else [Wait(ML_SECONDS)]
        if Role.ML not in self._ended or self._failure is not None or self._asked:
            return []
        self._asked = True
        return [AskSession()]

    def _note_failure(self, event: Ended) -> None:
        if event.role is Role.ML:
            if self._failure is None or self._is_ml_to_blame:
                self._failure = of_ml(event.code, event.lines)
        elif self._found_over and event.code in STOPPED:
            self._stopped = of_sl(event.code, event.lines)
        elif self._failure is None and self._had_session is not False:  # else we stopped it
            self._failure = of_sl(event.code, event.lines)
            self._is_ml_to_blame = blames_ml(event.lines)

    def _stop(self, role: Role) -> list[Command]:
        return [] if role in self._ended else [Stop(role, STOP_SECONDS)]

    def _finish(self) -> list[Command]:
        """What to say, once both ended and it is clear."""
        unclear = self._failure is None and self._had_session is None
        if len(self._ended) < len(Role) or unclear:
            return []
        self.phase = Phase.OVER
        if self._failure is not None:
            return [Finish(self._failure)]
        if not self._had_session:
            return [Finish(Outcome.complete(NO_SESSION))]
        return [Finish(self._stopped or Outcome.complete(TRAINED))]
