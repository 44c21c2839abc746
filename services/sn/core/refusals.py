"""How often a refusal goes onto the ledger: a peer that repeats itself must not fill the chain."""


class RefusalLimit:
    """Lets one refusal per key through in a while.

    Args:
        every: seconds between two refusals with the same key.
    """

    def __init__(self, every: float) -> None:
        self.every = every
        self._last: dict[tuple[str, ...], float] = {}

    def admits(self, key: tuple[str, ...], now: float) -> bool:
        """Whether to record this one.

        Args:
            key: what makes two refusals the same, e.g. contract, peer and code.
            now: present time, seconds.
        """
        self._last = {k: t for k, t in self._last.items() if now - t < self.every}
        if key in self._last:
            return False
        self._last[key] = now
        return True
