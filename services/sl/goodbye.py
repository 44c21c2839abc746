"""How a training ended for an SL: its last log line, and the file SL_RESULT_FILE."""

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from services.common.ids import NodeId
from services.sl.core.round import Training

log = logging.getLogger("swarm.startSL")


@dataclass(frozen=True, slots=True)
class Result:
    """What SL_RESULT_FILE gets."""

    uid: str
    outcome: str
    """``completed``, or ``left`` for any other end."""
    reason: str
    rounds: int
    final_digest: str

    @classmethod
    def of(cls, uid: NodeId, training: Training | None, reason: str) -> Self:
        """The result of a training.

        Args:
            uid: our node.
            training: None where it never began.
            reason: why it ended early; empty where it did not.
        """
        return cls(
            uid=uid,
            outcome="left" if reason else "completed",
            reason=reason,
            rounds=training.installed_round if training else 0,
            final_digest=training.installed.digest if training else "",
        )


def write_result(path: Path | None, result: Result) -> None:
    """Write it down, and say it; a file that cannot be written is only logged."""
    if path is not None:
        try:
            path.write_text(json.dumps(asdict(result)) + "\n")
        except OSError as exc:
            log.warning("cannot write SL_RESULT_FILE: %s", exc)
    if result.outcome == "completed":
        log.info("training complete after %d rounds, final model %s",
                 result.rounds, result.final_digest)  # fmt: skip
