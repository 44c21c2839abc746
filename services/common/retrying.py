"""When to say that an SN which does not answer is asked again, and in which words."""

import math

NOTICES = 12
"""Lines of one wait, spread over the patience (HPE: 12)."""
ENDLESS_SECONDS = 60.0
"""Between two lines of a wait without end."""
_WORDS = "Failed to connect to the API server. Retrying"
"""HPE's."""


class Notices:
    """The lines of one wait.

    Args:
        patience: seconds that the wait may take; may be infinite.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._told = 0

    def due(self, waited: float, why: str) -> str | None:
        """The line that is due after so many seconds; None if none is.

        Args:
            waited: since the first try.
            why: nobody answered.
        """
        number = self._number(waited)
        if number <= self._told:
            return None
        self._told = number
        if math.isinf(self._patience):
            return f"{_WORDS}, after {waited:.0f} s: {why}"
        return f"{_WORDS} {number} of {NOTICES}: {why}"

    def _number(self, waited: float) -> int:
        if math.isinf(self._patience):
            return 1 + int(waited / ENDLESS_SECONDS)
        if not self._patience:
            return 0
        return min(NOTICES, 1 + int(waited * NOTICES / self._patience))
