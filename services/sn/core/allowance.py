"""How much one certificate may write: who says much in no time must not fill the chain.

What is written stays for ever, on every SN. So each certificate may write a lot at once, as an
honest node does when its work begins or ends, and slowly from then on.
"""


class Allowance:
    """Writes that are left to each certificate.

    Args:
        at_once: of one that has not written for long.
        per_second: that come back.
    """

    def __init__(self, at_once: int, per_second: float) -> None:
        self.at_once = at_once
        self.per_second = per_second
        self._used: dict[str, tuple[float, float]] = {}
        """Writes that count, and when that was so, seconds."""

    def take(self, certificate: str, now: float) -> bool:
        """Count one more write, unless none is left.

        Args:
            certificate: fingerprint of who writes.
            now: present time, seconds.

        Returns:
            Whether there was one left.
        """
        since = {c: (used - (now - at) * self.per_second) for c, (used, at) in self._used.items()}
        self._used = {c: (used, now) for c, used in since.items() if used > 0}
        used, _ = self._used.get(certificate, (0.0, now))
        if used + 1 > self.at_once:
            return False
        self._used[certificate] = (used + 1, now)
        return True
